"""Writes a package: exports every format, proves each one, and puts the folder in place in one step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from hubserve.atomic import replace_folder, staged_folder
from hubserve.errors import PackageError
from hubserve.export.prove import Proven, write_proven
from hubserve.export.rebuild import rebuild
from hubserve.host import versions
from hubserve.hub.registry import SPACES
from hubserve.package import trust
from hubserve.package.add_files import check_target
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import DEFAULT_FORMATS, FileEntry, Format, Manifest, Provenance, TensorEntry
from hubserve.package.onnx_runner import INPUT, OUTPUT
from hubserve.package.package import EXAMPLE, LABELS, MANIFEST, PARITY, WEIGHTS, Package, file_entry, read_package
from hubserve.package.runner import Batch
from hubserve.preprocess import Preprocess


@dataclass(frozen=True)
class Source:
    """A frozen model and what is known of it: what a package is written from.

    Attributes:
        name: of the model.
        model: with its weights; left as it is.
        space: class name of its model space.
        settings: of the space.
        arch: label -> value.
        preprocess: how pictures become input.
        labels: of the classes, in the order of the logits.
        provenance: where it came from.
    """

    name: str
    model: nn.Module
    space: str
    settings: Mapping[str, Any]
    arch: Mapping[str, Any]
    preprocess: Preprocess
    labels: Sequence[str]
    provenance: Provenance


def write_package(
    source: Source,
    folder: Path,
    *,
    formats: Sequence[Format] = DEFAULT_FORMATS,
    pictures: Sequence[Batch] = (),
    classes: Sequence[int] = (),
    overwrite: bool = False,
) -> Package:
    """Exports a model in every format, proves each one, and puts the package in place in one step.

    Args:
        source: the model.
        folder: to be made; its parents too.
        formats: to export.
        pictures: batches of prepared real pictures. All forms are compared on them, beside made-up ones; "onnx-int8" learns
            its ranges from every second batch and is judged by the others.
        classes: the true class of each of these pictures, -1 where unknown: accuracy of both is then reported too.
        overwrite: replace a package that is there.

    Raises:
        PackageError: the folder exists, or holds something that is not a package.
        ExportError: a format cannot be written, or (ParityError) answers differently. Nothing is left then.
        WeightsError: space, settings and arch do not rebuild the model; nothing is left either.
    """
    unknown = [form for form in formats if form not in FORMATS]
    if unknown or not formats:
        raise PackageError(f"formats = {tuple(formats)}: choose from {', '.join(FORMATS)}, at least one")
    if any("\n" in label for label in source.labels):
        raise PackageError(f"{source.name}: a label has a line break; labels.txt holds one label a line")
    if classes and len(classes) != sum(map(len, pictures)):
        raise PackageError(
            f"{len(classes)} classes for {sum(map(len, pictures))} pictures: give one for each, -1 where unknown"
        )
    check_target(folder, overwrite)
    with staged_folder(folder.parent, folder.name) as stage:
        proven = write_proven(
            source.model,
            source.preprocess,
            stage,
            formats=formats,
            n_labels=len(source.labels),
            pictures=pictures,
            classes=classes,
        )
        if "onnx" in formats:
            shutil.copyfile(Path(__file__).with_name(EXAMPLE), stage / EXAMPLE)
        save_file({k: t.detach().cpu().contiguous() for k, t in source.model.state_dict().items()}, stage / WEIGHTS)
        (stage / LABELS).write_text("".join(f"{label}\n" for label in source.labels), "utf-8")
        (stage / PARITY).write_text(json.dumps([r.model_dump(mode="json") for r in proven.reports], indent=2) + "\n", "utf-8")
        manifest = _manifest(source, proven, {path.name: file_entry(path) for path in sorted(stage.iterdir())})
        (stage / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        if source.space in SPACES:
            rebuild(Package(stage, manifest))
        check_target(folder, overwrite)  # An export takes seconds, in which others may write.
        replace_folder(stage, folder)
    trust.note(manifest.files[FORMATS[form].file].sha256 for form in formats if FORMATS[form].program)
    return read_package(folder, trusted=True)


def _manifest(source: Source, proven: Proven, files: dict[str, FileEntry]) -> Manifest:
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
