"""Packages: a frozen model on disk with all that serving needs, written whole or not at all.

    manifest.json          what the model is, where it came from, and the hash of every file
    weights.safetensors    under the names of `space.freeze(arch)`
    model.onnx             logits of prepared pictures, any batch size
    model.torchscript.pt   the same; a program, which is not loaded where a stranger wrote it
    model.pt2              the same, for torch.export; likewise
    labels.txt             one class per line, in the order of the logits
    parity.json            how far each exported form is from eager PyTorch
    run_onnx.py            classifies pictures with onnxruntime, numpy and pillow alone
    profile.json           how fast it is, once that was measured

On request also `model.fp16.onnx` and `model.int8.onnx`. The exported forms run without hubserve.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from hubserve.errors import ArchError, ExportError, PackageError, SpaceError
from hubserve.export import made_here
from hubserve.export.contents import read_labels, read_parity, read_profile
from hubserve.export.forms import FORMS
from hubserve.export.manifest import FORMATS, FileEntry, Format, Manifest, Provenance, TensorEntry, versions
from hubserve.export.onnx import INPUT, OUTPUT, Device, cuda_available
from hubserve.export.openvino import OpenVinoRunner
from hubserve.export.parity import ParityReport
from hubserve.export.proof import Proven, write_proven
from hubserve.export.runner import Batch, Runner
from hubserve.hub.load import load_weights
from hubserve.hub.registry import SPACES, get_space
from hubserve.preprocess import Preprocess

MANIFEST, WEIGHTS, LABELS, PARITY = "manifest.json", "weights.safetensors", "labels.txt", "parity.json"
PROFILE, EXAMPLE = "profile.json", "run_onnx.py"

LONGEST_NAME = 255
"""Bytes that file systems take."""

Backend = Format | Literal["openvino"]
"""What runs a package: one of its forms, or OpenVINO with the file of the form "onnx"."""


@dataclass(frozen=True)
class Package:
    """A package on disk.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
        trusted: whoever wrote it may run code here, see `check_trust`.
    """

    path: Path
    manifest: Manifest
    trusted: bool = False

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits. Raises PackageError where labels.txt is no text."""
        return read_labels(self.path / LABELS)

    @cached_property
    def parity(self) -> tuple[ParityReport, ...]:
        """One report for each exported form. Raises PackageError where parity.json holds none."""
        return read_parity(self.path / PARITY)

    @cached_property
    def profile(self) -> dict[str, Any] | None:
        """The latency report in the package, as `hubserve.latency.report` defines it; None where nobody measured.

        Raises:
            PackageError: it is there and no JSON object.
        """
        return read_profile(self.path / PROFILE) if PROFILE in self.manifest.files else None

    def verify(self) -> None:
        """Reads all of it.

        Raises:
            PackageError: a file has not the length and hash of the manifest, or is not what it should be; a form has not passed
                the comparison; or there is not one label for each class.
        """
        for name, entry in self.manifest.files.items():
            try:
                unchanged = _entry(self.path / name) == entry
            except OSError as error:
                raise PackageError(f"{self.path / name} cannot be read: {error.strerror or error}") from error
            if not unchanged:
                raise PackageError(f"{self.path / name} was changed since the package was written; export it again")
        passed = {report.format for report in self.parity if report.passed}
        unproven = [form for form in self.manifest.exports if form not in passed]
        if unproven:
            raise PackageError(f"{self.path}: {unproven[0]} has not passed the comparison with eager PyTorch; export it again")
        if len(self.labels) != self.manifest.classes:
            raise PackageError(
                f"{self.path / LABELS} has {len(self.labels)} labels for {self.manifest.classes} classes; export it again"
            )

    def check_trust(self, form: Format) -> None:
        """Raises PackageError where a form is a program that was neither written here nor by somebody who is trusted."""
        reason, path = FORMS[form].program, self.path / FORMS[form].file
        if reason is None or self.trusted or made_here.is_noted(_hash(path)):
            return
        raise PackageError(
            f"{path} was not written here by this user, and {reason}; where you trust its author, say so with --trust "
            "(read_package(..., trusted=True)); else use onnx, which only computes"
        )

    def runner(self, backend: Backend, *, threads: int = 1, device: Device = "cpu", callers: int = 1) -> Runner:
        """An exported form, loaded; or "openvino", which runs the form "onnx" on the CPU.

        Args:
            backend: which.
            threads: that one call may use.
            device: see OnnxRunner.
            callers: threads that will call it at once; all but OpenVINO take any number.

        Raises:
            PackageError: the package does not have it, or it is a program of a stranger's.
            ExportError: it cannot be loaded, or is of no use on this machine.
        """
        form: Format = "onnx" if backend == "openvino" else backend
        if form not in self.manifest.exports:
            raise PackageError(f"{self.path} has no {form}; it has {', '.join(self.manifest.exports)}")
        if backend == "openvino":
            return OpenVinoRunner(self.path / FORMS[form].file, threads=threads, callers=callers)
        self.check_trust(form)
        reason = FORMS[form].only_cuda
        if reason is not None and (device == "cpu" or not cuda_available()):
            raise ExportError(f"{form} is for CUDA, and device is {device!r} on a machine {_gpus()}: {reason}; use onnx here")
        return FORMS[form].load(self.path / FORMS[form].file, threads, device)

    def rebuild(self) -> nn.Module:
        """The PyTorch module, built anew from space, settings, arch and weights, in eval mode.

        Raises:
            PackageError: the space is not one of the hub.
            WeightsError: the weights do not fit.
        """
        try:
            space = get_space(self.manifest.space, self.manifest.settings)
            return load_weights(space, self.manifest.arch, self.path / WEIGHTS)
        except (SpaceError, ArchError) as error:
            raise PackageError(f"{self.path} cannot be rebuilt as a PyTorch module here: {error}") from error


def read_package(path: Path, *, trusted: bool = False) -> Package:
    """The package in a folder. Reads the manifest and sees that the files are there; `verify` reads them too.

    Args:
        path: of the folder.
        trusted: whoever wrote it may run code here: forms that are programs are loaded.

    Raises:
        PackageError: not a package, or incomplete.
    """
    try:
        manifest = Manifest.model_validate_json((path / MANIFEST).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{path} is not a package: it has no readable {MANIFEST}. `hubserve export` writes one") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PackageError(f"{path / MANIFEST} is not a manifest that this version reads: {where}: {first['msg']}") from error
    for name in manifest.files:
        if PurePosixPath(name).name != name or name in ("", ".", "..") or len(name.encode()) > LONGEST_NAME:
            raise PackageError(f"{path / MANIFEST} lists {name!r}: files lie in the package's own folder, by plain names")
        if not (path / name).is_file():
            raise PackageError(f"{path} is incomplete: {name} is missing")
    absent = [
        name for name in (WEIGHTS, LABELS, PARITY, *(FORMS[f].file for f in manifest.exports)) if name not in manifest.files
    ]
    if absent:
        raise PackageError(f"{path} is incomplete: its manifest does not list {absent[0]}")
    return Package(path, manifest, trusted)


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
    formats: Sequence[Format] = FORMATS,
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
    unknown = [form for form in formats if form not in FORMS]
    if unknown or not formats:
        raise PackageError(f"formats = {tuple(formats)}: choose from {', '.join(FORMS)}, at least one")
    if any("\n" in label for label in source.labels):
        raise PackageError(f"{source.name}: a label has a line break; labels.txt holds one label a line")
    if classes and len(classes) != sum(map(len, pictures)):
        raise PackageError(
            f"{len(classes)} classes for {sum(map(len, pictures))} pictures: give one for each, -1 where unknown"
        )
    _check_target(folder, overwrite)
    with _staged(folder) as stage:
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
        manifest = _manifest(source, proven, {path.name: _entry(path) for path in sorted(stage.iterdir())})
        (stage / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        if source.space in SPACES:
            Package(stage, manifest).rebuild()
        _put_in_place(stage, folder, overwrite)
    made_here.note(manifest.files[FORMS[form].file].sha256 for form in formats if FORMS[form].program)
    return read_package(folder, trusted=True)


def add_profile(package: Package, text: str) -> Package:
    """The package with a latency report, as JSON, in it; see `add_files`."""
    return add_files(package, {PROFILE: text.encode()})


def add_files(package: Package, files: Mapping[str, bytes]) -> Package:
    """The package with further files in it, put in place in one step; the folder is never seen half changed.

    Args:
        package: a folder of one's own. One in the store never changes: publish a package that has the files.
        files: name -> content; one of that name that was added before is replaced.

    Raises:
        PackageError: a name that is taken by what makes it a package, or is no plain name; or the folder cannot be replaced.
    """
    taken = {MANIFEST, WEIGHTS, LABELS, PARITY, EXAMPLE, *(form.file for form in FORMS.values())}
    for name in files:
        if name in taken or PurePosixPath(name).name != name or name in ("", ".", ".."):
            raise PackageError(
                f"cannot add {name!r} to {package.path}: choose a plain name that is none of {', '.join(sorted(taken))}"
            )
    with _staged(package.path) as stage:
        for name in package.manifest.files:
            shutil.copy2(package.path / name, stage / name)
        for name, content in files.items():
            (stage / name).write_bytes(content)
        entries = package.manifest.files | {name: _entry(stage / name) for name in files}
        manifest = package.manifest.model_copy(update={"files": dict(sorted(entries.items()))})
        (stage / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", "utf-8")
        _put_in_place(stage, package.path, overwrite=True)
    return read_package(package.path, trusted=package.trusted)


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


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise PackageError(f"{folder} exists; choose another folder or replace it with overwrite=True / --overwrite")
    if not (folder / MANIFEST).is_file():
        raise PackageError(f"{folder} exists and is not a package, so it is not replaced; choose another folder")


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the target, gone afterwards whatever happens."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        stage.chmod(0o755)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _put_in_place(stage: Path, folder: Path, overwrite: bool) -> None:
    """Renames; what was there is put back if that fails. Looks again: an export takes seconds, in which others may write."""
    _check_target(folder, overwrite)
    if not folder.exists():
        os.rename(stage, folder)
        return
    old = stage.with_name(stage.name + ".old")
    os.rename(folder, old)
    try:
        os.rename(stage, folder)
    except OSError:
        os.rename(old, folder)
        raise
    shutil.rmtree(old)


def _gpus() -> str:
    return f"with {torch.cuda.device_count()} GPUs" if torch.cuda.is_available() else "without a GPU"


def _entry(path: Path) -> FileEntry:
    return FileEntry(bytes=path.stat().st_size, sha256=_hash(path))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
