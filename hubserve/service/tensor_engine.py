"""`TensorEngine`: runs one package of any inputs and outputs. Image classifiers are run by `hubserve.service.engine.Engine`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from hubserve.errors import LogitsError, PackageError
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import Format
from hubserve.package.onnx_runner import Device
from hubserve.package.package import Backend, Package
from hubserve.package.runner import DAY, check_finite
from hubserve.package.signature import Array, ModelSignature


@dataclass(frozen=True)
class TensorAnswer:
    """The outputs for the inputs of one request.

    Attributes:
        outputs: Outputs of the model, in the order of its signature.
        infer_ms: Milliseconds that inference of the whole batch took.
        batch_size: Number of rows in the batch, those of other requests included.
    """

    outputs: tuple[Array, ...]
    infer_ms: float
    batch_size: int


@dataclass(frozen=True)
class PreparedTensors:
    """The checked inputs of one request.

    Attributes:
        inputs: Inputs of the model, in the order of its signature.
    """

    inputs: tuple[Array, ...]


class TensorEngine:
    """Runs one package of any inputs and outputs. It may be called by several threads at once.

    Args:
        package: The package. It is verified (`Package.verify`), because its files may have changed since it was published.
        backend: Format of the package to run; for "openvino", which runs image classifiers only, it is "onnx".
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        threads: Number of threads that one call may use for inference.
        seconds: Seconds after which inference of a batch is ended; the formats of torch have no limit.

    Attributes:
        backend: Format that runs.
        manifest: Manifest of the package.
        labels: Label of each class, in the order of the logits; empty if the model is no classifier.
        signature: Inputs and outputs of the model.
        feature_width: None: only image classifiers have features.
        device: Device that runs the model, "cpu" or "cuda".

    Raises:
        PackageError: The package was changed, has no proven parity, lacks the format, or has other outputs than it says; or the
            format may run code, and its author is not trusted.
        LoadLimitError: A file that was never loaded on this machine takes too much time or memory to load.
        ExportError: The format cannot be loaded or run, or is for image classifiers only.
        LateAnswerError: Running made-up inputs took longer than `seconds`.
        OSError: A file of the package cannot be read, or the process of its first load cannot be started.
    """

    def __init__(
        self,
        package: Package,
        *,
        backend: Backend = "onnx",
        device: Device = "auto",
        threads: int = 1,
        seconds: float = DAY,
    ) -> None:
        package.verify()
        self.manifest = package.manifest
        self.labels = package.labels
        self.signature = ModelSignature.of(package.manifest)
        self.feature_width: int | None = None
        # OpenVINO runs image classifiers only; others of the same server run in ONNX Runtime, which reads the same file.
        self.backend: Format = "onnx" if backend == "openvino" else backend
        self._runner = package.tensor_runner(self.backend, threads=threads, device=device, seconds=seconds)
        if set_threads := FORMATS[self.backend].set_threads:
            set_threads(threads)
        self.device = self._runner.device
        known = {axis for entry in self.signature.inputs for axis in entry.shape if isinstance(axis, str)}
        self._joins = all(isinstance(axis, int) or axis in known for entry in self.signature.outputs for axis in entry.shape)
        self._check_outputs(package)

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Runs the network on made-up inputs in batches of these sizes, so that no request has to wait for allocations.

        Raises:
            ExportError: The network cannot be run.
            LateAnswerError: A batch took longer than `seconds`.
        """
        for count in batch_sizes:
            self._runner.run(self.signature.batch(count))

    def prepare(self, data: Any, *, top_k: int | None = None, features: bool = False) -> PreparedTensors:
        """Checks the inputs of one request and returns them in the order of the signature, for `answer`.

        Args:
            data: Arrays by the names of the inputs.
            top_k: Ignored: it is for image classifiers.
            features: Ignored: it is for image classifiers.

        Raises:
            TensorError: The inputs do not fit the model; see `ModelSignature.check`.
        """
        return PreparedTensors(self.signature.check(data))

    def answer(self, requests: Sequence[PreparedTensors]) -> list[TensorAnswer | LogitsError]:
        """Runs inference for several requests; those whose inputs have the same shapes, but for the batch, are one batch.

        Requests are run one by one if an output has a named axis that no input has, since its length depends on all rows.

        Returns:
            For each request, in order, its answer, or a LogitsError if an element of an output is NaN or infinite.

        Raises:
            ExportError: The network cannot be run.
            LateAnswerError: Inference took longer than `seconds`.
        """
        groups: dict[Any, list[int]] = {}
        for place, request in enumerate(requests):
            lengths = tuple(array.shape[1:] for array in request.inputs)
            groups.setdefault(lengths if self._joins else place, []).append(place)
        found: dict[int, TensorAnswer | LogitsError] = {}
        for places in groups.values():
            found |= zip(places, self._batch([requests[place].inputs for place in places]), strict=True)
        return [found[place] for place in range(len(requests))]

    def _batch(self, requests: Sequence[tuple[Array, ...]]) -> list[TensorAnswer | LogitsError]:
        """Runs requests, whose inputs have the same shapes but for the batch, as one batch. Returns the outcome of each."""
        start = time.perf_counter()
        joined = requests[0] if len(requests) == 1 else [np.concatenate(column) for column in zip(*requests, strict=True)]
        outputs = self._runner.run(joined)
        infer_ms, rows = (time.perf_counter() - start) * 1e3, len(joined[0])
        ends = list(accumulate(len(inputs[0]) for inputs in requests))
        parts = [
            tuple(output[end - len(inputs[0]) : end] for output in outputs) for inputs, end in zip(requests, ends, strict=True)
        ]
        return [_finite(part, infer_ms, rows) for part in parts]

    def _check_outputs(self, package: Package) -> None:
        """Checks the outputs for two made-up rows. Raises PackageError if they are not those of the manifest."""
        found = self._runner.run(self.signature.batch(2))
        fits = len(found) == len(self.signature.outputs) and all(
            output.dtype == entry.dtype
            and output.ndim == len(entry.shape)
            and all(isinstance(axis, str) or axis == length for axis, length in zip(entry.shape, output.shape, strict=True))
            and len(output) == 2
            for entry, output in zip(self.signature.outputs, found, strict=False)
        )
        if not fits:
            shapes = ", ".join(f"{output.dtype} {output.shape}" for output in found)
            raise PackageError(
                f"{package.path}: {self._runner.name} answers two rows with {shapes}, and its manifest says "
                f"{self.signature.described_outputs}; export it again"
            )


def _finite(outputs: tuple[Array, ...], infer_ms: float, rows: int) -> TensorAnswer | LogitsError:
    try:
        for output in outputs:
            if output.dtype.kind == "f":
                check_finite(output)
    except LogitsError as error:
        return error
    return TensorAnswer(outputs, infer_ms, rows)
