"""Reads and verifies packages, and loads their exported formats. A package is a folder with a model and the files to serve it.

    manifest.json          what the model is, where it came from, and the hash of every other file
    weights.safetensors    weights of PyTorch, under the parameter names of `space.freeze(arch)`
    model.onnx             model in ONNX, of any batch size: for an image classifier, prepared images in, logits out
    model.torchscript.pt   the same model in TorchScript; may run code, so it is loaded only if its author is trusted
    model.pt2              the same model, written by torch.export; may run code, too
    labels.txt             one label for each class and line, in the order of the logits; only of classifiers
    tokenizer.json         what turns texts into token ids; only of text classifiers
    parity.json            how far the logits of each format are from those of eager PyTorch
    run_onnx.py            program that classifies images with onnxruntime, numpy and pillow alone; only of image classifiers
    profile.json           latency report; only if latency was measured
    accuracy.json          accuracy on test images or texts; only if it was measured

An export writes the formats that are asked for, which may also be `model.fp16.onnx` and `model.int8.onnx`, and for phones and
boards `model.pte`, `model.int8.pte`, `model.tflite`, `model.int8.tflite`, and `model.ncnn.param` with `model.ncnn.bin`. The
exported formats run without hubserve.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from hubserve.bounded_files import read_bounded_text
from hubserve.errors import ExportError, PackageError
from hubserve.package import first_load, trust
from hubserve.package.accuracy_report import ACCURACY_REPORT, AccuracyReport
from hubserve.package.file_hashes import file_entry, hash_file, hash_once
from hubserve.package.file_names import check_file_names
from hubserve.package.first_load import FirstLoad
from hubserve.package.formats import FORMATS, TENSOR_FORMATS
from hubserve.package.labels_parity_profile import read_labels, read_parity, read_profile
from hubserve.package.manifest import Format, Manifest
from hubserve.package.onnx_contents import LOOPS, check_external_data, read_onnx_contents
from hubserve.package.onnx_runner import Device, OnnxRunner, cuda_available
from hubserve.package.onnx_tensor_runner import OnnxTensorRunner
from hubserve.package.openvino_runner import OpenVinoRunner
from hubserve.package.parity import ParityReport
from hubserve.package.runner import DAY, Runner, TensorRunner
from hubserve.storage_faults import denial, is_there
from hubserve.validation_sentence import first_mistake

MANIFEST, WEIGHTS, LABELS, PARITY = "manifest.json", "weights.safetensors", "labels.txt", "parity.json"
PROFILE, EXAMPLE = "profile.json", "run_onnx.py"

Backend = Format | Literal["openvino"]
"""What runs the model of a package: the name of one of its formats, or "openvino", which runs the file of the format "onnx"."""


@dataclass(frozen=True)
class Package:
    """A package on disk.

    Attributes:
        path: Folder of the package.
        manifest: Content of manifest.json.
        trusted: Whether formats other than ONNX are loaded even if this user did not write them here; see `check_trust`.
    """

    path: Path
    manifest: Manifest
    trusted: bool = False

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels of the classes, in the order of the logits; empty if the model is no classifier.

        Raises:
            PackageError: labels.txt cannot be read, or is not UTF-8.
        """
        if not self.manifest.classes:
            return ()
        return read_labels(self.path / LABELS)

    @cached_property
    def parity(self) -> tuple[ParityReport, ...]:
        """The comparisons with eager PyTorch, one report for each exported format.

        Raises:
            PackageError: parity.json cannot be read, or does not hold a list of such reports.
        """
        return read_parity(self.path / PARITY)

    @cached_property
    def profile(self) -> dict[str, Any] | None:
        """The latency report in the package, as `hubserve.latency.profile_report` defines it; None if there is none.

        Raises:
            PackageError: profile.json cannot be read, or does not hold a JSON object.
        """
        return read_profile(self.path / PROFILE) if PROFILE in self.manifest.files else None

    @cached_property
    def accuracy(self) -> AccuracyReport | None:
        """The accuracy of the model on test images or texts; None if it was not measured.

        Raises:
            PackageError: accuracy.json cannot be read, or does not hold such a report.
        """
        if ACCURACY_REPORT not in self.manifest.files:
            return None
        path = self.path / ACCURACY_REPORT
        try:
            return AccuracyReport.model_validate_json(read_bounded_text(path))
        except (OSError, ValueError) as error:
            raise PackageError(f"{path} cannot be read: {error}") from error

    def verify(self) -> None:
        """Checks the hashes of all files, the external data of ONNX files, the parity of every format, and the labels.

        Raises:
            PackageError: A file cannot be read, or its length or hash is not that of the manifest. An ONNX file names external
                data outside the package. parity.json or labels.txt is not as expected, a format has not passed the comparison
                with eager PyTorch, or the number of labels is not the number of classes.
            ExportError: An ONNX file is not in that format.
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
        """Checks that a format may be loaded: it is in ONNX, this user wrote its files here, or its author is trusted.

        Raises:
            PackageError: The format is not in ONNX, this user did not write its files here, and `trusted` is False.
            OSError: A file of such a format cannot be read.
        """
        reason, paths = FORMATS[name].program, [self.path / file for file in FORMATS[name].files]
        if reason is None or self.trusted:
            return
        # The hash of the file itself: the manifest's was written by the author, too.
        path = next((path for path in paths if not trust.was_written_here(hash_file(path))), None)
        if path is None:
            return
        raise PackageError(
            f"{path} was not written here by this user, and {reason}; where you trust its author, say so with --trust "
            "(read_package(..., trusted=True)); else use onnx, which only computes"
        )

    def first_load(self, backend: Backend, *, device: Device = "cpu", **limits: Any) -> FirstLoad | None:
        """Starts a process that loads an ONNX file for the first time, and returns it; None if no first load is needed.

        None is needed if the file was loaded before or written by this user here, is not in ONNX, or does not exist.

        Args:
            backend: The name of the format, or "openvino".
            device: "cpu", "cuda" or "auto". "auto" takes a GPU if there is one.
            limits: The arguments `batches`, `seconds`, `memory_bytes` and `nice` of `FirstLoad`.

        Raises:
            PackageError: The ONNX file names external data outside the package, or it has loops, OpenVINO is to run it, and its
                author is not trusted.
            ExportError: The file is not in ONNX.
            OSError: The file cannot be read, or the process cannot be started.
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
        return FirstLoad(path, sha256, unknown, inputs=self.manifest.inputs, device=where, **limits)

    def runner(
        self, backend: Backend, *, threads: int = 1, device: Device = "cpu", callers: int = 1, seconds: float = DAY
    ) -> Runner:
        """Loads the model of this package in one of its formats, or in OpenVINO, and returns the runner that runs it.

        An ONNX file that was neither written by this user nor loaded here before is loaded by a separate process first; see
        `FirstLoad`.

        Args:
            backend: The name of the format; or "openvino", which runs the file of the format "onnx" on the CPU.
            threads: Number of threads that one call may use. "torchscript" and "pt2" ignore it: torch has one setting for the
                process.
            device: "cpu", "cuda" or "auto". "auto" takes a GPU if there is one. "openvino" and formats for phones ignore it.
            callers: Number of threads that may call the runner at the same time. Only "openvino" uses it.
            seconds: Time in seconds after which a call raises LateAnswerError, in "openvino" and the formats in ONNX only.

        Raises:
            OtherInputsError: The model does not classify images.
            PackageError: The package does not have the format, the format is not in ONNX and its author is not trusted, an ONNX
                file names external data outside the package, or it has loops, OpenVINO is to run it, and its author is not
                trusted.
            LoadLimitError: The first load of the file took too much time or memory, or crashed.
            ExportError: The file cannot be loaded, `device` is "cuda" and there is no GPU, or the format runs on GPUs only and
                there is none or `device` is "cpu".
            OSError: The file cannot be read, or the process of the first load cannot be started.
        """
        self.manifest.image_preprocess  # noqa: B018 - raises OtherInputsError
        name: Format = "onnx" if backend == "openvino" else backend
        self._check_has(name)
        if backend == "openvino":
            self._load_first(backend, "cpu")
            compiled = OpenVinoRunner(self.path / FORMATS[name].file, threads=threads, callers=callers)
            compiled.seconds = seconds
            return compiled
        self._check_loadable(name, device)
        runner = FORMATS[name].load(self.path / FORMATS[name].file, threads, device)
        if isinstance(runner, OnnxRunner):
            runner.seconds = seconds
        return runner

    def tensor_runner(self, name: Backend, *, threads: int = 1, device: Device = "cpu", seconds: float = DAY) -> TensorRunner:
        """Loads the model of this package, of any inputs and outputs, in one of its formats, and returns its runner.

        Its inputs and outputs are those of the manifest, in their order. A first load is made as in `runner`.

        >>> read_package(Path("my-model")).tensor_runner("onnx").run([token_ids])

        Args:
            name: Name of the format, one of `hubserve.package.formats.TENSOR_FORMATS`.
            threads: Number of threads that one call may use. "torchscript" and "pt2" ignore it.
            device: "cpu", "cuda" or "auto". "auto" takes a GPU if there is one.
            seconds: Time in seconds after which a call raises LateAnswerError, in "onnx" only.

        Raises:
            ExportError: The format is for image classifiers only, or as `runner`.
            PackageError, LoadLimitError, OSError: As `runner`.
        """
        if name != "openvino" and name not in FORMATS:
            self._check_has(name)
        load = None if name == "openvino" else FORMATS[name].load_tensors
        if name == "openvino" or load is None:
            raise ExportError(f"{name} runs image classifiers only; {self.manifest.name} runs in {', '.join(TENSOR_FORMATS)}")
        self._check_has(name)
        self._check_loadable(name, device)
        runner = load(self.path / FORMATS[name].file, threads, device)
        if isinstance(runner, OnnxTensorRunner):
            runner.seconds = seconds
        return runner

    def _check_has(self, name: Format) -> None:
        """Raises PackageError if the package does not have a format."""
        if name not in self.manifest.exports:
            raise PackageError(f"{self.path} has no {name}; it has {', '.join(self.manifest.exports)}")

    def _check_loadable(self, name: Format, device: Device) -> None:
        """Checks that a format may be loaded on a device, and makes its first load if it needs one. Raises as `runner` does."""
        self.check_trust(name)
        reason = FORMATS[name].only_cuda
        if reason is not None and (device == "cpu" or not cuda_available()):
            raise ExportError(
                f"{name} is for CUDA, and device is {device!r} on a machine without a GPU for it: {reason}; use onnx here"
            )
        self._load_first(name, device)

    def _check_onnx(self, backend: Backend) -> None:
        """Checks an ONNX file before a runtime opens it; does nothing for other formats.

        Raises:
            PackageError: The file names external data outside the package, or it has loops, OpenVINO is to run it, and its
                author is not trusted.
            ExportError: The file cannot be read, or is not in ONNX.
        """
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
    """Reads the manifest of the package in a folder, checks that all files in it exist, and returns the package.

    The content of the files is not checked; `Package.verify` does that. Reading a package never runs code from it.

    Args:
        path: Folder of the package.
        trusted: Whether formats other than ONNX can be loaded later even if this user did not write them on this machine.

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
    check_file_names(manifest, str(path / MANIFEST), reserved=MANIFEST)
    for name in manifest.files:
        if not is_there(path / name):
            raise PackageError(f"{path} is incomplete: {name} is missing")
    needed = [WEIGHTS, *([LABELS] if manifest.classes else []), PARITY]
    needed += [file for name in manifest.exports for file in FORMATS[name].files]
    absent = [name for name in needed if name not in manifest.files]
    if absent:
        raise PackageError(f"{path} is incomplete: its manifest does not list {absent[0]}")
    return Package(path, manifest, trusted)
