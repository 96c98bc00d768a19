"""The engine: classifies images with one package. It uses no web framework and no training code."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hubserve.errors import LogitsError, PackageError, ParityError, TensorError
from hubserve.package.formats import FORMATS, page_locked
from hubserve.package.onnx_runner import Device
from hubserve.package.package import Backend, Package
from hubserve.package.parity import check_parity, made_up_batches
from hubserve.package.predictions import Prediction, best_predictions, number_of_predictions
from hubserve.package.runner import DAY, Batch, check_finite
from hubserve.preprocess import MAX_PIXELS, decode_pixels


@dataclass(frozen=True)
class Answer:
    """The result for one image.

    Attributes:
        predictions: The most likely classes, most likely first.
        decode_ms: Milliseconds from the bytes to the prepared array.
        infer_ms: Milliseconds of inference of the batch that the image was in.
        batch_size: Number of images in that batch.
        logits: Logits of the model, (classes,) float32.
    """

    predictions: tuple[Prediction, ...]
    decode_ms: float
    infer_ms: float
    batch_size: int
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """An image that is ready for inference.

    Attributes:
        pixels: Input of the network, (3, input_size, input_size) float32.
        top_k: Number of classes in the answer.
        decode_ms: Milliseconds that decoding and preparing took.
    """

    pixels: Batch
    top_k: int
    decode_ms: float


class Engine:
    """One package, ready to classify; calls from several threads run at the same time.

    Args:
        package: Package with the format that `backend` runs.
        backend: Exported format that runs, or "openvino".
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        callers: Number of threads that will call it at the same time.
        threads: Number of threads that one call may use for inference. On most machines a second core is better used for
            another image.
        max_pixels: Largest allowed width x height of an image.
        seconds: Time after which inference of a batch is ended.

    Raises:
        PackageError: The package was changed, has no proven parity or not that format, or gives too few or many logits.
        ExportError: The format cannot be loaded or run; ParityError where OpenVINO's logits differ from those of "onnx".
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
        seconds: float = DAY,
    ) -> None:
        # Hashed again, although publishing did: files may have changed on disk since.
        package.verify()
        self.manifest = package.manifest
        self.labels = package.labels
        self.temperature = package.manifest.temperature or 1.0
        self._preprocess = package.manifest.preprocess
        self._max_pixels = max_pixels
        self._runner = package.runner(backend, threads=threads, device=device, callers=callers, seconds=seconds)
        if backend != "openvino" and (set_threads := FORMATS[backend].set_threads):
            set_threads(threads)
        self._check_answers(package)
        if backend == "openvino":
            self._check_parity(package, threads)
        self.device = self._runner.device
        self._staging = _Staging() if self.device == "cuda" else None

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Runs empty images in batches of these sizes, so that the first requests do not wait for allocations."""
        size = self._preprocess.input_size
        for count in batch_sizes:
            self._runner(np.zeros((count, 3, size, size), np.float32))

    def classify(self, data: bytes, *, top_k: int | None = None) -> Answer:
        """The `top_k` most likely classes of the image in `data`; None for five, or all where there are fewer.

        Raises:
            ImageError: Not a readable image, or too large.
            TopKError: `top_k` is not between 1 and the number of classes.
            LogitsError: The model's answer is not finite.
        """
        (found,) = self.answer([self.prepare(data, top_k=top_k)])
        if isinstance(found, LogitsError):
            raise found
        return found

    def prepare(self, data: bytes | Batch, *, top_k: int | None = None) -> Prepared:
        """The first half of `classify`, decoding and preparing; it raises the same errors, and TensorError.

        Args:
            data: Bytes of an image file, or a prepared array (3, input_size, input_size) float32.
            top_k: Number of classes in the answer.
        """
        top_k = number_of_predictions(top_k, len(self.labels))
        start = time.perf_counter()
        if isinstance(data, bytes):
            pixels = self._preprocess.fast(decode_pixels(data, max_pixels=self._max_pixels))
        elif data.shape == (shape := (3, self._preprocess.input_size, self._preprocess.input_size)):
            pixels = data
        else:
            raise TensorError(f"an image of shape {data.shape}; this model takes {shape}")
        return Prepared(pixels, top_k, (time.perf_counter() - start) * 1e3)

    def answer(self, images: Sequence[Prepared]) -> list[Answer | LogitsError]:
        """The second half of `classify`: inference for several images in one batch; an error for one leaves the others."""
        start = time.perf_counter()
        pixels = [image.pixels for image in images]
        logits = self._runner(self._staging.stack(pixels) if self._staging else np.stack(pixels))
        infer_ms = (time.perf_counter() - start) * 1e3
        return [self._answer(row, image, infer_ms, len(images)) for row, image in zip(logits, images, strict=True)]

    def _answer(self, logits: NDArray[np.float32], image: Prepared, infer_ms: float, batch_size: int) -> Answer | LogitsError:
        try:
            check_finite(logits)
        except LogitsError as error:
            return error
        predictions = best_predictions(logits, self.labels, image.top_k, temperature=self.temperature)
        return Answer(predictions, image.decode_ms, infer_ms, batch_size, logits)

    def _check_answers(self, package: Package) -> None:
        size, wanted = self._preprocess.input_size, (1, len(self.labels))
        found = self._runner(np.zeros((1, 3, size, size), np.float32)).shape
        if found != wanted:
            raise PackageError(
                f"{package.path}: {self._runner.name} answers one image with logits of shape {found}, and there are "
                f"{len(self.labels)} labels; expected {wanted}; export it again"
            )

    def _check_parity(self, package: Package, threads: int) -> None:
        """Compares another runtime with the package's proven ONNX file, on this machine."""
        onnx = package.runner("onnx", threads=threads, device="cpu")
        try:
            check_parity(onnx, self._runner, made_up_batches(self._preprocess), bounds=FORMATS["onnx"].bounds)
        except ParityError as error:
            raise ParityError(f"{package.path}: {error.args[0]}; serve it with the backend onnx", *error.args[1:]) from error


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
