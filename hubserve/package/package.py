"""Opens and verifies packages, each a folder with a frozen model and all that serving needs.

    manifest.json          what the model is, where it came from, and the hash of every file
    weights.safetensors    under the names of `space.freeze(arch)`
    model.onnx             prepared images in, logits out, any batch size
    model.torchscript.pt   the same; a program, which is loaded only where its author is trusted
    model.pt2              the same, written by torch.export; a program, too
    labels.txt             one class per line, in the order of the logits
    parity.json            how far the logits of each format are from those of eager PyTorch
    run_onnx.py            classifies images with onnxruntime, numpy and pillow alone
    profile.json           latency report, once it was measured

On request also `model.fp16.onnx` and `model.int8.onnx`. The exported formats run without hubserve.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from hubserve.bounded_files import read_bounded_text
from hubserve.errors import ExportError, PackageError
from hubserve.package import first_load, trust
from hubserve.package.accuracy_report import ACCURACY_REPORT, AccuracyReport
from hubserve.package.file_hashes import file_entry, hash_file, hash_once
from hubserve.package.first_load import FirstLoad
from hubserve.package.formats import FORMATS
from hubserve.package.labels_parity_profile import read_labels, read_parity, read_profile
from hubserve.package.manifest import Format, Manifest
from hubserve.package.onnx_contents import LOOPS, check_external_data, read_onnx_contents
from hubserve.package.onnx_runner import Device, OnnxRunner, cuda_available
from hubserve.package.openvino_runner import OpenVinoRunner
from hubserve.package.parity import ParityReport
from hubserve.package.runner import DAY, Runner
from hubserve.storage_faults import denial, is_there
from hubserve.validation_sentence import first_mistake

MANIFEST, WEIGHTS, LABELS, PARITY = "manifest.json", "weights.safetensors", "labels.txt", "parity.json"
PROFILE, EXAMPLE = "profile.json", "run_onnx.py"

LONGEST_NAME = 255
"""Longest file name in bytes that file systems take."""

Backend = Format | Literal["openvino"]
"""What runs a package: one of its formats, or OpenVINO with the file of the format "onnx"."""


@dataclass(frozen=True)
class Package:
    """A package on disk.

    Attributes:
        path: Folder of the package.
        manifest: Content of manifest.json.
        trusted: Whether its author may run code on this machine; see `check_trust`.
    """

    path: Path
    manifest: Manifest
    trusted: bool = False

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits. Raises PackageError where labels.txt is not text."""
        return read_labels(self.path / LABELS)

    @cached_property
    def parity(self) -> tuple[ParityReport, ...]:
        """One report for each exported format. Raises PackageError where parity.json holds anything else."""
        return read_parity(self.path / PARITY)

    @cached_property
    def profile(self) -> dict[str, Any] | None:
        """The latency report in the package, as `hubserve.latency.profile_report` defines it; None where there is none.

        Raises:
            PackageError: profile.json is not a JSON object.
        """
        return read_profile(self.path / PROFILE) if PROFILE in self.manifest.files else None

    @cached_property
    def accuracy(self) -> AccuracyReport | None:
        """The accuracy on test images; None where it was not measured.

        Raises:
            PackageError: The file is corrupt.
        """
        if ACCURACY_REPORT not in self.manifest.files:
            return None
        path = self.path / ACCURACY_REPORT
        try:
            return AccuracyReport.model_validate_json(read_bounded_text(path))
        except (OSError, ValueError) as error:
            raise PackageError(f"{path} cannot be read: {error}") from error

    def verify(self) -> None:
        """Checks all files: hashes, external data of ONNX files, parity of every format, and the number of labels.

        Raises:
            PackageError: The length or hash of a file differs from the manifest's; a file cannot be read; a file in ONNX names
                a file that is not in the package; a format has not passed the comparison with eager PyTorch; or the number of
                labels is not that of the classes.
            ExportError: A file in ONNX is not in that format.
        """
        for name, entry in self.manifest.files.items():
            try:
                unchanged = file_entry(self.path / name) == entry
            except OSError as error:
                why = denial(error, self.path / name) or error.strerror or error
                raise PackageError(f"{self.path / name} cannot be read: {why}") from error
            if not unchanged:
                raise PackageError(f"{self.path / name} was changed since the package was written; export it again")
        for name in self.manifest.exports:
            self._check_onnx(name)
        passed = {report.format for report in self.parity if report.passed}
        unproven = [name for name in self.manifest.exports if name not in passed]
        if unproven:
            raise PackageError(f"{self.path}: {unproven[0]} has not passed the comparison with eager PyTorch; export it again")
        if len(self.labels) != self.manifest.classes:
            raise PackageError(
                f"{self.path / LABELS} has {len(self.labels)} labels for {self.manifest.classes} classes; export it again"
            )

    def check_trust(self, name: Format) -> None:
        """Raises PackageError where a format is a program, this user did not write it here, and its author is not trusted."""
        reason, path = FORMATS[name].program, self.path / FORMATS[name].file
        # The hash of the file itself: the manifest's was written by the author, too.
        if reason is None or self.trusted or trust.was_written_here(hash_file(path)):
            return
        raise PackageError(
            f"{path} was not written here by this user, and {reason}; where you trust its author, say so with --trust "
            "(read_package(..., trusted=True)); else use onnx, which only computes"
        )

    def first_load(self, backend: Backend, *, device: Device = "cpu", **limits: Any) -> FirstLoad | None:
        """Starts a process that loads a file for the first time; None where it is known, or a program.

        Args:
            backend: The format, or "openvino".
            device: "cpu", "cuda", or "auto" for a GPU where there is one.
            limits: Further arguments of `FirstLoad`.
        """
        name: Format = "onnx" if backend == "openvino" else backend
        path = self.path / FORMATS[name].file
        if FORMATS[name].program is not None or not path.is_file():
            return None
        self._check_onnx(backend)
        where = "cuda" if device != "cpu" and backend != "openvino" and cuda_available() else "cpu"
        sha256 = hash_once(path)
        # The answers of OpenVINO are compared with those of ONNX Runtime.
        unknown = [used for used in dict.fromkeys((name, backend)) if not first_load.is_known(sha256, used, where)]
        if not unknown:
            return None
        return FirstLoad(path, sha256, unknown, input_size=self.manifest.preprocess.input_size, device=where, **limits)

    def runner(
        self, backend: Backend, *, threads: int = 1, device: Device = "cpu", callers: int = 1, seconds: float = DAY
    ) -> Runner:
        """Loads an exported format; or "openvino", which runs the format "onnx" on the CPU.

        A file in ONNX that was neither written nor loaded here before is loaded by another process first, see `FirstLoad`.

        Args:
            backend: The format, or "openvino".
            threads: Number of threads that one call may use; the formats of torch use torch's own setting.
            device: "cpu", "cuda", or "auto" for a GPU where there is one.
            callers: Number of threads that will call it at the same time; only OpenVINO needs to know.
            seconds: Time in seconds after which a call is ended; the formats of torch have no limit.

        Raises:
            LoadLimitError: Loading it for the first time took too much time or memory.
            PackageError: The package does not have the format, or it is a program whose author is not trusted; or a file in
                ONNX names files that are not in the package, or has loops and is to be run by OpenVINO.
            ExportError: The file cannot be loaded, or the format is for GPUs and there is none.
        """
        name: Format = "onnx" if backend == "openvino" else backend
        if name not in self.manifest.exports:
            raise PackageError(f"{self.path} has no {name}; it has {', '.join(self.manifest.exports)}")
        if backend == "openvino":
            self._load_first(backend, "cpu")
            compiled = OpenVinoRunner(self.path / FORMATS[name].file, threads=threads, callers=callers)
            compiled.seconds = seconds
            return compiled
        self.check_trust(name)
        reason = FORMATS[name].only_cuda
        if reason is not None and (device == "cpu" or not cuda_available()):
            raise ExportError(
                f"{name} is for CUDA, and device is {device!r} on a machine without a GPU for it: {reason}; use onnx here"
            )
        self._load_first(backend, device)
        runner = FORMATS[name].load(self.path / FORMATS[name].file, threads, device)
        if isinstance(runner, OnnxRunner):
            runner.seconds = seconds
        return runner

    def _check_onnx(self, backend: Backend) -> None:
        """Checks a file in ONNX before a runtime opens it; see `runner` for what is refused. Programs are not checked."""
        name: Format = "onnx" if backend == "openvino" else backend
        if FORMATS[name].program is not None:
            return
        path = self.path / FORMATS[name].file
        contents = read_onnx_contents(path)
        check_external_data(path, contents, self.manifest.files)
        loops = sorted(contents.operators & LOOPS)
        if backend == "openvino" and loops and not self.trusted and not trust.was_written_here(hash_once(path)):
            raise PackageError(
                f"{path} was not written here by this user and has the operator {loops[0]}: OpenVINO cannot end a loop that "
                "runs too long; use onnx, or where you trust its author, say so with --trust (read_package(..., trusted=True))"
            )

    def _load_first(self, backend: Backend, device: Device) -> None:
        load = self.first_load(backend, device=device)
        if load is not None:
            load.check()


def read_package(path: Path, *, trusted: bool = False) -> Package:
    """The package in a folder. Reads the manifest and checks that the files exist; `verify` checks their content.

    Args:
        path: Folder of the package.
        trusted: Whether its author may run code on this machine. If False, formats that are programs can be loaded only where
            this user wrote them on this machine; reading the package never runs code.

    Raises:
        PackageError: The folder is not a package, its manifest cannot be read or is not valid, or a file is missing.
    """
    try:
        manifest = Manifest.model_validate_json(read_bounded_text(path / MANIFEST))
    except PermissionError as error:
        raise PackageError(f"{path / MANIFEST} cannot be read: {denial(error, path / MANIFEST)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{path} is not a package: it has no readable {MANIFEST}. `hubserve export` writes one") from error
    except ValidationError as error:
        mistake = first_mistake(error)
        raise PackageError(f"{path / MANIFEST} is not a manifest that this version reads: {mistake}") from error
    check_file_names(manifest, str(path / MANIFEST))
    for name in manifest.files:
        if not is_there(path / name):
            raise PackageError(f"{path} is incomplete: {name} is missing")
    absent = [
        name for name in (WEIGHTS, LABELS, PARITY, *(FORMATS[f].file for f in manifest.exports)) if name not in manifest.files
    ]
    if absent:
        raise PackageError(f"{path} is incomplete: its manifest does not list {absent[0]}")
    return Package(path, manifest, trusted)


def check_file_names(manifest: Manifest, where: str) -> None:
    """Checks that a manifest lists plain file names: without a folder, not too long, and not that of the manifest itself.

    Args:
        manifest: The manifest.
        where: Its path or address, for the message.

    Raises:
        PackageError: It lists another name.
    """
    for name in manifest.files:
        plain = PurePosixPath(name).name == name and "\0" not in name and name not in ("", ".", "..", MANIFEST)
        if not plain or len(name.encode(errors="surrogatepass")) > LONGEST_NAME:
            raise PackageError(f"{where} lists {name!r}: files lie in the package's own folder, by plain names")
