"""The engine: a package in, answers out. It knows no web framework and no training code."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hubserve.errors import PackageError, ParityError, TensorError, TopKError
from hubserve.package.formats import FORMATS, page_locked
from hubserve.package.onnx_runner import Device
from hubserve.package.package import Backend, Package
from hubserve.package.parity import check_parity, made_up_batches
from hubserve.package.runner import Batch
from hubserve.preprocess import MAX_PIXELS, decode_pixels

TOP_K = 5


class Prediction(BaseModel):
    """One class with its probability.

    Attributes:
        label: readable name of the class.
        index: of the class, counted from 0.
        probability: between 0 and 1; those of all classes add up to 1.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Answer:
    """What the model says of one picture.

    Attributes:
        predictions: most likely class first.
        decode_ms: from bytes to a prepared tensor.
        infer_ms: from there to logits, of the batch that the picture was in.
        batch_size: pictures in it.
        logits: (classes,) float32, as the model gave them.
    """

    predictions: tuple[Prediction, ...]
    decode_ms: float
    infer_ms: float
    batch_size: int
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """A picture on its way.

    Attributes:
        pixels: (3, input_size, input_size) float32, as the network wants them.
        top_k: classes to name.
        decode_ms: what it took.
    """

    pixels: Batch
    top_k: int
    decode_ms: float


class Engine:
    """One package, ready to classify; calls from several threads run side by side.

    Args:
        package: with the form that `backend` runs.
        backend: see Package.runner.
        device: see OnnxRunner.
        callers: threads that will call it at once.
        threads: cores that one call may use for inference. One: the next picture is a better use of the second core than a
            half of this one, on most machines.
        max_pixels: of a picture.

    Raises:
        PackageError: the package was changed, is unproven, does not have that form, or that does not answer for every class.
        ExportError: it cannot be loaded or run, or (ParityError) OpenVINO answers differently from the form "onnx".
    """

    def __init__(
        self,
        package: Package,
        *,
        backend: Backend = "onnx",
        device: Device = "auto",
        threads: int = 1,
        callers: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        package.verify()
        self.manifest = package.manifest
        self.labels = package.labels
        self._preprocess = package.manifest.preprocess
        self._max_pixels = max_pixels
        self._runner = package.runner(backend, threads=threads, device=device, callers=callers)
        if backend != "openvino" and (set_threads := FORMATS[backend].set_threads):
            set_threads(threads)
        self._check_answers(package)
        if backend == "openvino":
            self._check_parity(package, threads)
        self.device = self._runner.device
        self._staging = _Staging() if self.device == "cuda" else None

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Empty pictures in batches of these sizes, so that the first visitors do not wait for allocations."""
        size = self._preprocess.input_size
        for count in batch_sizes:
            self._runner(np.zeros((count, 3, size, size), np.float32))

    def classify(self, data: bytes, *, top_k: int | None = None) -> Answer:
        """The `top_k` most likely classes of the picture in `data`; five unless given, or all where there are fewer.

        Raises:
            ImageError: not a readable picture, or too large.
            TopKError: `top_k` is not between 1 and the number of classes.
        """
        return self.answer([self.prepare(data, top_k=top_k)])[0]

    def prepare(self, data: bytes | Batch, *, top_k: int | None = None) -> Prepared:
        """The first half of `classify`: all that can go wrong with a picture goes wrong here.

        Args:
            data: bytes of a picture, or (3, input_size, input_size) float32 that is prepared already.
            top_k: classes to name.
        """
        if top_k is None:
            top_k = min(TOP_K, len(self.labels))
        if not 1 <= top_k <= len(self.labels):
            raise TopKError(f"top_k = {top_k} is not between 1 and {len(self.labels)}, the number of classes of this model")
        start = time.perf_counter()
        if isinstance(data, bytes):
            pixels = self._preprocess.fast(decode_pixels(data, max_pixels=self._max_pixels))
        else:
            pixels = self._checked(data)
        return Prepared(pixels, top_k, (time.perf_counter() - start) * 1e3)

    def answer(self, pictures: Sequence[Prepared]) -> list[Answer]:
        """The second half, for several pictures in one batch."""
        start = time.perf_counter()
        pixels = [picture.pixels for picture in pictures]
        logits = self._runner(self._staging.stack(pixels) if self._staging else np.stack(pixels))
        infer_ms = (time.perf_counter() - start) * 1e3
        return [
            Answer(self._best(row.astype(np.float64), picture.top_k), picture.decode_ms, infer_ms, len(pictures), row)
            for row, picture in zip(logits, pictures, strict=True)
        ]

    def _check_answers(self, package: Package) -> None:
        size, wanted = self._preprocess.input_size, (1, len(self.labels))
        found = self._runner(np.zeros((1, 3, size, size), np.float32)).shape
        if found != wanted:
            raise PackageError(
                f"{package.path}: {self._runner.name} answers one picture with logits of shape {found}, and there are "
                f"{len(self.labels)} labels; expected {wanted}; export it again"
            )

    def _check_parity(self, package: Package, threads: int) -> None:
        """The package proves its forms; who else runs them is held to them here, on this machine."""
        onnx = package.runner("onnx", threads=threads, device="cpu")
        try:
            check_parity(onnx, self._runner, made_up_batches(self._preprocess), bounds=FORMATS["onnx"].bounds)
        except ParityError as error:
            raise ParityError(f"{package.path}: {error.args[0]}; serve it with the backend onnx", *error.args[1:]) from error

    def _checked(self, pixels: Batch) -> Batch:
        size = self._preprocess.input_size
        if pixels.shape != (3, size, size):
            raise TensorError(f"a picture of shape {pixels.shape}; this model takes (3, {size}, {size})")
        return pixels

    def _best(self, logits: NDArray[np.float64], top_k: int) -> tuple[Prediction, ...]:
        probabilities = softmax(logits)
        best = np.argsort(-logits, kind="stable")[:top_k]
        return tuple(Prediction(label=self.labels[i], index=int(i), probability=float(probabilities[i])) for i in best)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of the classes; the last axis adds up to 1."""
    likelihood = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = likelihood / likelihood.sum(axis=-1, keepdims=True)
    return shares


class _Staging(threading.local):
    """A buffer of each thread for the batch that a GPU is to copy, in page-locked memory, from which it copies directly."""

    def __init__(self) -> None:
        self._buffer: Batch | None = None

    def stack(self, pixels: Sequence[Batch]) -> Batch:
        shape = (len(pixels), *pixels[0].shape)
        if self._buffer is None or self._buffer.shape[0] < shape[0] or self._buffer.shape[1:] != shape[1:]:
            self._buffer = page_locked(shape)
        batch = self._buffer[: len(pixels)]
        np.stack(pixels, out=batch)
        return batch
