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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from hubserve.errors import ExportError, PackageError
from hubserve.package import trust
from hubserve.package.formats import FORMATS
from hubserve.package.labels_parity_profile import read_labels, read_parity, read_profile
from hubserve.package.manifest import FileEntry, Format, Manifest
from hubserve.package.onnx_runner import Device, cuda_available
from hubserve.package.openvino_runner import OpenVinoRunner
from hubserve.package.parity import ParityReport
from hubserve.package.runner import Runner

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
        """The latency report in the package, as `hubserve.latency.profile_report` defines it; None where nobody measured.

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
                unchanged = file_entry(self.path / name) == entry
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
        reason, path = FORMATS[form].program, self.path / FORMATS[form].file
        if reason is None or self.trusted or trust.is_noted(hash_file(path)):
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
            return OpenVinoRunner(self.path / FORMATS[form].file, threads=threads, callers=callers)
        self.check_trust(form)
        reason = FORMATS[form].only_cuda
        if reason is not None and (device == "cpu" or not cuda_available()):
            raise ExportError(
                f"{form} is for CUDA, and device is {device!r} on a machine without a GPU for it: {reason}; use onnx here"
            )
        return FORMATS[form].load(self.path / FORMATS[form].file, threads, device)


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
        name for name in (WEIGHTS, LABELS, PARITY, *(FORMATS[f].file for f in manifest.exports)) if name not in manifest.files
    ]
    if absent:
        raise PackageError(f"{path} is incomplete: its manifest does not list {absent[0]}")
    return Package(path, manifest, trusted)


def file_entry(path: Path) -> FileEntry:
    """The length and hash of a file, for the manifest."""
    return FileEntry(bytes=path.stat().st_size, sha256=hash_file(path))


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
