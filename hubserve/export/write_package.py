"""Writes a package: exports every format, proves each one, and puts the folder in place in one step."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from hubserve.atomic import replace_folder, staged_folder
from hubserve.errors import PackageError
from hubserve.export.model_source import ModelSource
from hubserve.export.parity_proof import ProvenFormats, write_proven
from hubserve.export.rebuild_model import rebuild_model
from hubserve.host import versions
from hubserve.hub.registry import SPACES
from hubserve.package import trust
from hubserve.package.add_files import check_target
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import DEFAULT_FORMATS, FileEntry, Format, Manifest, TensorEntry
from hubserve.package.onnx_runner import INPUT, OUTPUT
from hubserve.package.package import EXAMPLE, LABELS, MANIFEST, PARITY, WEIGHTS, Package, file_entry, read_package
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
    """Exports a model in every format, proves each one, and puts the package in place in one step.

    Args:
        source: Model to export.
        folder: Folder of the package; it and its parents are made.
        formats: Formats to export, at least one.
        images: Batches of prepared real images, each (n, 3, height, width) float32. All formats are compared on them, beside
            generated ones; "onnx-int8" is calibrated on every second batch and compared on the others.
        classes: True class of each of these images, in order, -1 where unknown; the accuracy of each format is then reported.
        overwrite: Whether to replace a package that exists.

    Raises:
        PackageError: The folder exists, or holds something that is not a package.
        ExportError: A format cannot be written, or (ParityError) its logits differ. Nothing is left then.
        WeightsError: Space, settings and arch do not rebuild the model; nothing is left either.
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
        manifest = _manifest(source, proven, {path.name: file_entry(path) for path in sorted(stage.iterdir())})
        (stage / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        if source.space in SPACES:
            rebuild_model(Package(stage, manifest))
        check_target(folder, overwrite)  # An export takes seconds, in which others may write.
        replace_folder(stage, folder)
    trust.record_written(manifest.files[FORMATS[name].file].sha256 for name in formats)
    return read_package(folder, trusted=True)


def _manifest(source: ModelSource, proven: ProvenFormats, files: dict[str, FileEntry]) -> Manifest:
    size = source.preprocess.input_size
    return Manifest(
        name=source.name,
        space=source.space,
        settings=dict(source.settings),
        arch=dict(source.arch),
        preprocess=source.preprocess,
        input=TensorEntry(name=INPUT, dtype="float32", shape=("batch", 3, size, size)),
        output=TensorEntry(name=OUTPUT, dtype="float32", shape=("batch", proven.outputs)),
        exports=proven.exports,
        provenance=source.provenance,
        versions=versions(),
        files=files,
    )
