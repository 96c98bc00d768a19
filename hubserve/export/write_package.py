"""Writes a package: exports the formats of a model, compares each with eager PyTorch, and makes the folder in one step."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from hubserve.atomic import apply_umask, replace_folder, staged_folder
from hubserve.code_source import source_of_code
from hubserve.errors import PackageError
from hubserve.export.model_source import ModelSource
from hubserve.export.parity_proof import ProvenFormats, write_proven
from hubserve.export.rebuild_model import rebuild_model
from hubserve.host import versions
from hubserve.hub.package_space import record_own_space
from hubserve.hub.registry import SPACES
from hubserve.own_code import is_import_path
from hubserve.package import trust
from hubserve.package.accuracy_report import ACCURACY_REPORT, AccuracyReport
from hubserve.package.add_files import check_target
from hubserve.package.file_hashes import file_entry
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import DEFAULT_FORMATS, FileEntry, Format, InputEntry, Manifest, OutputEntry, TestFigures
from hubserve.package.onnx_runner import FEATURES, INPUT, OUTPUT
from hubserve.package.package import EXAMPLE, LABELS, MANIFEST, PARITY, WEIGHTS, Package, read_package
from hubserve.package.runner import Batch


def write_package(
    source: ModelSource,
    folder: Path,
    *,
    formats: Sequence[Format] = DEFAULT_FORMATS,
    images: Sequence[Batch] = (),
    classes: Sequence[int] = (),
    overwrite: bool = False,
) -> Package:
    """Exports a model in the given formats, compares each with eager PyTorch, and writes the package folder in one step.

    If it raises, no new folder is left, and an existing package is unchanged.

    Args:
        source: Model to export.
        folder: Folder of the package; it and its parents are created.
        formats: Formats to export, at least one.
        images: Batches of preprocessed real images, each (n, 3, height, width) float32. Floating-point formats are compared on
            them and on generated images; "onnx-int8" is calibrated on every second batch and compared on the others.
        classes: Index of the true class of each of these images, in order, -1 if unknown. If given, the accuracy of each format
            is written to its parity report.
        overwrite: Whether to replace an existing package at `folder`.

    Raises:
        PackageError: `formats` is empty or has an unknown name, a label has a line break, the number of `classes` or labels is
            wrong, `folder` exists and may not be replaced, or the model cannot be rebuilt from its space, settings and arch.
        ExportError: A format cannot be written, or (ParityError) its logits differ by more than allowed.
        WeightsError: The weights do not fit the network that its space, settings and arch give.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise PackageError(f"formats = {tuple(formats)}: choose from {', '.join(FORMATS)}, at least one")
    if any("\n" in label for label in source.labels):
        raise PackageError(f"{source.name}: a label has a line break; labels.txt holds one label a line")
    if classes and len(classes) != sum(map(len, images)):
        raise PackageError(f"{len(classes)} classes for {sum(map(len, images))} images: give one for each, -1 where unknown")
    check_target(folder, overwrite)
    with staged_folder(folder.parent, folder.name) as stage:
        proven = write_proven(
            source.model, source.preprocess, stage, formats=formats, n_labels=len(source.labels), images=images, classes=classes
        )
        if "onnx" in formats:
            shutil.copyfile(Path(__file__).with_name(EXAMPLE), stage / EXAMPLE)
        save_file({k: t.detach().cpu().contiguous() for k, t in source.model.state_dict().items()}, stage / WEIGHTS)
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
    trust.record_written(manifest.files[FORMATS[name].file].sha256 for name in formats)
    package = read_package(folder, trusted=True)
    record_own_space(package)
    return package


def _manifest(source: ModelSource, proven: ProvenFormats, files: dict[str, FileEntry]) -> Manifest:
    size = source.preprocess.input_size
    return Manifest(
        name=source.name,
        space=source.space,
        space_source=source_of_code(source.space) if is_import_path(source.space) else None,
        settings=dict(source.settings),
        arch=dict(source.arch),
        preprocess=source.preprocess,
        inputs=(InputEntry(name=INPUT, dtype="float32", shape=("batch", 3, size, size)),),
        outputs=_outputs(proven),
        temperature=source.temperature,
        test=_test_figures(source.accuracy),
        exports=proven.exports,
        provenance=source.provenance,
        versions=versions(),
        files=files,
    )


def _outputs(proven: ProvenFormats) -> tuple[OutputEntry, ...]:
    logits = OutputEntry(name=OUTPUT, dtype="float32", shape=("batch", proven.outputs))
    if proven.feature_width is None:
        return (logits,)
    return logits, OutputEntry(name=FEATURES, dtype="float32", shape=("batch", proven.feature_width), meaning="features")


def _test_figures(report: AccuracyReport | None) -> TestFigures | None:
    if report is None:
        return None
    return TestFigures(
        images=report.images,
        top1=report.top1,
        top1_interval=report.top1_interval,
        calibration_error=report.calibration_error,
    )
