"""Writes a package: exports the formats of a model, compares each with eager PyTorch, and makes the folder in one step."""

import json
from collections.abc import Sequence
from pathlib import Path

from hubserve.atomic import apply_umask, replace_folder, staged_folder
from hubserve.code_source import source_of_code
from hubserve.errors import ExportError, PackageError
from hubserve.export.exportable_model import Classifier
from hubserve.export.litert_metadata import LITERT_FORMATS, stretched_images
from hubserve.export.model_source import ModelSource
from hubserve.export.packaged_script import packaged_script
from hubserve.export.parity_proof import ProvenFormats, write_proven
from hubserve.export.rebuild_model import rebuild_model
from hubserve.export.tensor_proof import write_proven_tensors
from hubserve.export.write_weights import write_weights
from hubserve.find_named import is_import_path
from hubserve.host import versions
from hubserve.hub.package_space import record_own_space
from hubserve.hub.registry import SPACES
from hubserve.package import trust
from hubserve.package.accuracy_report import ACCURACY_REPORT, AccuracyReport
from hubserve.package.add_files import check_target
from hubserve.package.file_hashes import file_entry
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import DEFAULT_FORMATS, FileEntry, Format, InputEntry, Manifest, OutputEntry, TestFigures
from hubserve.package.onnx_runner import FEATURES, INPUT, OUTPUT
from hubserve.package.package import EXAMPLE, LABELS, MANIFEST, PARITY, WEIGHTS, Package, read_package
from hubserve.package.runner import Batch
from hubserve.package.signature import Array, ModelSignature
from hubserve.package.text_tokenizer import TOKENIZER, TextTokenizer
from hubserve.weights_warning import warn_of_weights

TEXT_BATCH = 16
"""Largest number of texts in a batch on which the formats of a text classifier are compared."""


def write_package(
    source: ModelSource,
    folder: Path,
    *,
    formats: Sequence[Format] = DEFAULT_FORMATS,
    images: Sequence[Batch] = (),
    classes: Sequence[int] = (),
    texts: Sequence[str] = (),
    overwrite: bool = False,
    failed: dict[Format, ExportError] | None = None,
) -> Package:
    """Exports a model in the given formats, compares each with eager PyTorch, and writes the package folder in one step.

    If it raises, no new folder is left, and an existing package is unchanged. It warns, with WeightsWarning, if MediaPipe will
    prepare images for a LiteRT file otherwise than the model was trained.

    Args:
        source: Model to export.
        folder: Folder of the package; it and its parents are created.
        formats: Formats to export, at least one.
        images: Batches of preprocessed real images, each (n, 3, height, width) float32. Floating-point formats are compared on
            them and on generated images; 8-bit integers are calibrated on every second batch and compared on the others. A
            model of other inputs is compared on made-up ones, and none may be given.
        classes: Index of the true class of each of these images, in order, -1 if unknown. If given, the accuracy of each format
            is written to its parity report.
        texts: Real texts for a model that has a tokenizer: its formats are compared on their tokens, too.
        overwrite: Whether to replace an existing package at `folder`.
        failed: Empty dictionary that gets the error of each format that cannot be written or has other logits than eager
            PyTorch; the package then has the other formats, at least one. None raises the first such error, and so does a model
            of other inputs than images.

    Raises:
        OtherInputsError: `images` are given for a model of other inputs.
        PackageError: `formats` is empty or has an unknown name, a label has a line break, the number of `classes` or labels is
            wrong, `folder` exists and may not be replaced, the model cannot be rebuilt from its space, settings and arch, its
            tokenizer is not allowed, or `texts` are given for a model without one.
        TextError: A text is not allowed.
        MissingExtraError: The model has a tokenizer, and the library `tokenizers` is not installed.
        ExportError: The outputs of eager PyTorch are not finite or, for an image or row alone, not those in a batch
            (ParityError). A format cannot be written, or its logits differ by more than allowed (ParityError); with `failed`,
            only if that holds for all of them. An entry of the state dict is not a tensor.
        WeightsError: The weights do not fit the network that its space, settings and arch give.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise PackageError(f"formats = {tuple(formats)}: choose from {', '.join(FORMATS)}, at least one")
    broken = next((label for label in source.labels if "\n" in label or "\r" in label), None)
    if broken is not None:
        raise PackageError(f"{source.name}: the label {broken!r} has a line break; labels.txt holds one label a line")
    if images and source.signature is not None:
        source.image_preprocess  # noqa: B018 - raises OtherInputsError
    if classes and len(classes) != sum(map(len, images)):
        raise PackageError(f"{len(classes)} classes for {sum(map(len, images))} images: give one for each, -1 where unknown")
    check_target(folder, overwrite)
    stretched = None if source.preprocess is None else stretched_images(source.preprocess)
    if LITERT_FORMATS.intersection(formats) and stretched is not None:
        warn_of_weights(f"{source.name} in LiteRT: {stretched}")
    with staged_folder(folder.parent, folder.name) as stage:
        if source.signature is not None:
            batches = _text_batches(source, source.signature, stage, texts)
            proven = write_proven_tensors(source.model, source.signature, stage, formats=formats, batches=batches)
        else:
            proven = write_proven(
                source.model,
                Classifier(source.name, source.image_preprocess, source.labels, source.temperature),
                stage,
                formats=formats,
                images=images,
                classes=classes,
                failed=failed,
            )
        if not proven.exports:
            reasons = "; ".join(f"{name}: {error}" for name, error in (failed or {}).items())
            raise ExportError(f"{source.name} can be exported in none of the formats {', '.join(formats)}: {reasons}")
        if "onnx" in proven.exports and source.signature is None:
            (stage / EXAMPLE).write_text(packaged_script(), "utf-8")
        write_weights(source.model.state_dict(), stage / WEIGHTS)
        if source.labels:
            (stage / LABELS).write_text("".join(f"{label}\n" for label in source.labels), "utf-8")
        (stage / PARITY).write_text(json.dumps([r.model_dump(mode="json") for r in proven.reports], indent=2) + "\n", "utf-8")
        if source.accuracy is not None:
            (stage / ACCURACY_REPORT).write_text(source.accuracy.model_dump_json(indent=2) + "\n", "utf-8")
        manifest = _manifest(source, proven, {path.name: file_entry(path) for path in sorted(stage.iterdir())})
        (stage / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        if source.space in SPACES or manifest.space_source is not None:
            rebuild_model(Package(stage, manifest, trusted=True))
        apply_umask(stage)
        check_target(folder, overwrite)  # Checked again, as another process may have written there during the export.
        replace_folder(stage, folder)
    trust.record_written(manifest.files[file].sha256 for name in proven.exports for file in FORMATS[name].files)
    package = read_package(folder, trusted=True)
    record_own_space(package)
    return package


def _text_batches(source: ModelSource, signature: ModelSignature, stage: Path, texts: Sequence[str]) -> list[tuple[Array]]:
    """Writes tokenizer.json, if the model has a tokenizer, reads it again, and returns the tokens of `texts` in batches.

    Raises PackageError, TextError and MissingExtraError as `write_package` does.
    """
    if source.tokenizer is None:
        if texts:
            raise PackageError(f"{source.name} has no tokenizer, and {len(texts)} texts are given to compare its formats on")
        return []
    (stage / TOKENIZER).write_text(source.tokenizer, "utf-8")
    tokenizer = TextTokenizer.read(stage, signature.inputs[0])
    starts = range(0, len(texts), TEXT_BATCH)
    return [(tokenizer.encode(texts[start : start + TEXT_BATCH]),) for start in starts]


def _manifest(source: ModelSource, proven: ProvenFormats, files: dict[str, FileEntry]) -> Manifest:
    signature = source.signature or _image_signature(source.image_preprocess.input_size, proven)
    return Manifest(
        name=source.name,
        space=source.space,
        space_source=source_of_code(source.space) if is_import_path(source.space) else None,
        settings=dict(source.settings),
        arch=dict(source.arch),
        preprocess=source.preprocess,
        inputs=signature.inputs,
        outputs=signature.outputs,
        temperature=source.temperature,
        test=_test_figures(source.accuracy),
        exports=proven.exports,
        provenance=source.provenance,
        versions=versions(),
        files=files,
    )


def _image_signature(size: int, proven: ProvenFormats) -> ModelSignature:
    """Returns the signature of an image classifier for images of `size` pixels in height and width."""
    images = InputEntry(name=INPUT, dtype="float32", shape=("batch", 3, size, size))
    outputs = [OutputEntry(name=OUTPUT, dtype="float32", shape=("batch", proven.outputs))]
    if proven.feature_width is not None:
        width = ("batch", proven.feature_width)
        outputs.append(OutputEntry(name=FEATURES, dtype="float32", shape=width, meaning="features"))
    return ModelSignature((images,), tuple(outputs))


def _test_figures(report: AccuracyReport | None) -> TestFigures | None:
    if report is None:
        return None
    return TestFigures(
        images=report.images,
        top1=report.top1,
        top1_interval=report.top1_interval,
        calibration_error=report.calibration_error,
    )
