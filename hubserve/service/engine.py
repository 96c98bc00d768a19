"""`Engine`: classifies images with one package. It needs neither a web framework nor the code for training."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from hubserve.errors import ExportError, LogitsError, NoFeaturesError, PackageError, ParityError, TensorError
from hubserve.package.formats import FORMATS, page_locked
from hubserve.package.onnx_runner import Device, OnnxRunner
from hubserve.package.openvino_runner import OpenVinoRunner
from hubserve.package.package import Backend, Package
from hubserve.package.parity import check_features, check_parity, made_up_batches
from hubserve.package.predictions import Prediction, best_predictions, number_of_predictions
from hubserve.package.runner import DAY, Batch, FeatureRunner, check_finite
from hubserve.preprocess import MAX_PIXELS, decode_pixels


@dataclass(frozen=True)
class Answer:
    """The result for one image, or for a text from `TextEngine`.

    Attributes:
        predictions: The most likely classes, the most likely one first.
        decode_ms: Milliseconds that decoding and preprocessing the image took, or turning the text into tokens.
        infer_ms: Milliseconds that inference of the whole batch took.
        batch_size: Number of images in the batch.
        logits: Logits of the image or text, (classes,) float32, not divided by the temperature.
        features: Features of the image, (width,) float32; None if they were not asked for.
    """

    predictions: tuple[Prediction, ...]
    decode_ms: float
    infer_ms: float
    batch_size: int
    logits: NDArray[np.float32]
    features: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Prepared:
    """A decoded and preprocessed image.

    Attributes:
        pixels: Input of the network, (3, input_size, input_size) float32.
        top_k: Number of classes in the answer.
        decode_ms: Milliseconds that decoding and preprocessing took.
        features: If True, the answer has features.
    """

    pixels: Batch
    top_k: int
    decode_ms: float
    features: bool = False


class Engine:
    """Classifies images with one package. It may be called by several threads at once.

    Args:
        package: The package. It is verified (`Package.verify`), because its files may have changed since it was published.
        backend: Format of the package to run, or "openvino".
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        threads: Number of threads that one call may use for inference. On most machines it is faster to use a second core for
            another image.
        callers: Number of threads that will call the engine at once; only OpenVINO needs it.
        max_pixels: Largest number of pixels, width x height, of an image.
        seconds: Seconds after which inference of a batch is ended; the formats of torch have no limit.

    Attributes:
        backend: Format that runs, or "openvino".
        manifest: Manifest of the package.
        labels: Label of each class, in the order of the logits.
        temperature: Number by which the logits are divided before the softmax.
        feature_width: Number of features of an image; None if the package, or the format that runs, has none.
        device: Device that runs the model, "cpu" or "cuda".

    Raises:
        OtherInputsError: The model of the package does not classify images.
        PackageError: The package was changed, has no proven parity, lacks the format, or gives the wrong number of logits or
            features; or the format may run code, and its author is not trusted.
        LoadLimitError: A file that was never loaded on this machine takes too much time or memory to load.
        ExportError: The format cannot be loaded or run; `ParityError` if OpenVINO's logits differ from those of "onnx".
        LateAnswerError: Running one image took longer than `seconds`.
        OSError: A file of the package cannot be read, or the process of a first load cannot be started.
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
        self.backend = backend
        self.manifest = package.manifest
        self.labels = package.labels
        self.temperature = package.manifest.temperature or 1.0
        self._preprocess = package.manifest.image_preprocess
        self._max_pixels = max_pixels
        self._runner = package.runner(backend, threads=threads, device=device, callers=callers, seconds=seconds)
        # TorchScript files and .pt2 archives have the logits alone.
        has_features = self.manifest.features is not None and isinstance(self._runner, OnnxRunner | OpenVinoRunner)
        self._feature_runner = cast("FeatureRunner", self._runner) if has_features else None
        if backend != "openvino" and (set_threads := FORMATS[backend].set_threads):
            set_threads(threads)
        self._check_answers(package)
        self.feature_width = self._measured_width(package)
        if backend == "openvino":
            self._check_parity(package, threads)
        self.device = self._runner.device
        self._staging = _Staging() if self.device == "cuda" else None

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Runs the network on zeros in batches of these sizes, so that no request has to wait for allocations.

        Raises:
            ExportError: The network cannot be run.
            LateAnswerError: A batch took longer than `seconds`.
        """
        size = self._preprocess.input_size
        for count in batch_sizes:
            self._runner(np.zeros((count, 3, size, size), np.float32))

    def classify(self, data: bytes, *, top_k: int | None = None, features: bool = False) -> Answer:
        """Classifies the image in `data`.

        Args:
            data: Bytes of an image file.
            top_k: Number of classes in the answer; None takes 5, or all if the model has fewer.
            features: Whether the answer has features.

        Raises:
            ImageError: The bytes are not a readable image, or the image is too large (`ImageTooLargeError`).
            TopKError: `top_k` is not between 1 and the number of classes.
            NoFeaturesError: `features` is True, and there are none.
            LogitsError: A logit, or a feature if `features` is True, is NaN or infinite.
            ExportError: The network cannot be run.
            LateAnswerError: Inference took longer than `seconds`.
        """
        (found,) = self.answer([self.prepare(data, top_k=top_k, features=features)])
        if isinstance(found, LogitsError):
            raise found
        return found

    def check_features(self) -> None:
        """Checks that the answers of this engine can have features.

        Raises:
            NoFeaturesError: They cannot; the message says how to get a model whose answers can.
        """
        if self.feature_width is not None:
            return
        if self.manifest.features is not None:
            raise NoFeaturesError(f"{self._runner.name} gives no features of {self.manifest.name}; run the format onnx instead")
        raise NoFeaturesError(
            f"the package of {self.manifest.name} has no features: it was exported by an earlier hubserve, or neither a linear "
            f"layer nor a convolution computes its logits; export it again (hubserve export {self.manifest.name})"
        )

    def prepare(self, data: bytes | Batch, *, top_k: int | None = None, features: bool = False) -> Prepared:
        """Decodes and preprocesses an image; this is the first step of `classify`.

        Args:
            data: Bytes of an image file; or a prepared array (3, input_size, input_size) float32, which is used as it is.
            top_k: Number of classes in the answer; None takes 5, or all if the model has fewer.
            features: If True, the answer has features.

        Raises:
            ImageError: The bytes are not a readable image, or the image is too large (`ImageTooLargeError`).
            TopKError: `top_k` is not between 1 and the number of classes.
            TensorError: The array has another shape.
            NoFeaturesError: `features` is True, and there are none.
        """
        if features:
            self.check_features()
        top_k = number_of_predictions(top_k, len(self.labels))
        start = time.perf_counter()
        if isinstance(data, bytes):
            pixels = self._preprocess.fast(decode_pixels(data, max_pixels=self._max_pixels))
        elif data.shape == (shape := (3, self._preprocess.input_size, self._preprocess.input_size)):
            pixels = data
        else:
            raise TensorError(f"an image of shape {data.shape}; this model takes {shape}")
        return Prepared(pixels, top_k, (time.perf_counter() - start) * 1e3, features)

    def answer(self, images: Sequence[Prepared]) -> list[Answer | LogitsError]:
        """Runs inference on a batch of prepared images, at least one; this is the second step of `classify`.

        Returns:
            For each image its answer, or a LogitsError if a logit, or a feature that was asked for, is NaN or infinite.

        Raises:
            ExportError: The network cannot be run.
            LateAnswerError: Inference took longer than `seconds`.
        """
        start = time.perf_counter()
        pixels = [image.pixels for image in images]
        if self._staging is not None:
            batch = self._staging.stack(pixels)
        else:  # A single image is not copied.
            batch = pixels[0][None] if len(pixels) == 1 else np.stack(pixels)
        features: Sequence[NDArray[np.float32] | None] = [None] * len(images)
        if self._feature_runner is not None and any(image.features for image in images):
            logits, features = self._feature_runner.with_features(batch)  # type: ignore[assignment]
        else:
            logits = self._runner(batch)
        infer_ms = (time.perf_counter() - start) * 1e3
        return [
            self._answer(row, found if image.features else None, image, infer_ms, len(images))
            for row, found, image in zip(logits, features, images, strict=True)
        ]

    def _answer(
        self,
        logits: NDArray[np.float32],
        features: NDArray[np.float32] | None,
        image: Prepared,
        infer_ms: float,
        batch_size: int,
    ) -> Answer | LogitsError:
        """Returns the answer of an image with these logits and features, or a LogitsError if one of them is NaN or infinite."""
        try:
            check_finite(logits)
            if features is not None:
                check_finite(features)
        except LogitsError as error:
            return error
        predictions = best_predictions(logits, self.labels, image.top_k, temperature=self.temperature)
        return Answer(predictions, image.decode_ms, infer_ms, batch_size, logits, features)

    def _check_answers(self, package: Package) -> None:
        """Checks on one image that there is a logit for each label. Raises PackageError."""
        size, wanted = self._preprocess.input_size, (1, len(self.labels))
        found = self._runner(np.zeros((1, 3, size, size), np.float32)).shape
        if found != wanted:
            raise PackageError(
                f"{package.path}: {self._runner.name} answers one image with logits of shape {found}, and there are "
                f"{len(self.labels)} labels; expected {wanted}; export it again"
            )

    def _measured_width(self, package: Package) -> int | None:
        """Runs one image and returns the number of its features; None if there are none. Raises PackageError."""
        if self._feature_runner is None or self.manifest.features is None:
            return None
        size, shape = self._preprocess.input_size, self.manifest.features.shape
        try:
            found = self._feature_runner.with_features(np.zeros((1, 3, size, size), np.float32))[1].shape
        except ExportError as error:
            raise PackageError(f"{package.path}: {error}") from error
        if found != (1, *shape[1:]):
            raise PackageError(
                f"{package.path}: {self._runner.name} answers one image with features of shape {found}, and its manifest says "
                f"{shape}; export it again"
            )
        return int(found[1])

    def _check_parity(self, package: Package, threads: int) -> None:
        """Compares the logits of OpenVINO with those of ONNX Runtime on this machine. Raises ParityError if they differ."""
        onnx = package.runner("onnx", threads=threads, device="cpu")
        try:
            batches, bounds = made_up_batches(self._preprocess), FORMATS["onnx"].bounds
            check_parity(onnx, self._runner, batches, bounds=bounds)
            if self._feature_runner is not None:
                check_features(cast("FeatureRunner", onnx), self._feature_runner, batches, bounds=bounds)
        except ParityError as error:
            raise ParityError(f"{package.path}: {error.args[0]}; serve it with the backend onnx", *error.args[1:]) from error


class _Staging(threading.local):
    """Page-locked memory, one buffer for each thread, in which a batch is put together before a GPU copies it directly."""

    def __init__(self) -> None:
        self._buffer: Batch | None = None

    def stack(self, pixels: Sequence[Batch]) -> Batch:
        """Returns the images as one batch in the buffer of this thread, which the next call overwrites."""
        shape = (len(pixels), *pixels[0].shape)
        if self._buffer is None or self._buffer.shape[0] < shape[0] or self._buffer.shape[1:] != shape[1:]:
            self._buffer = page_locked(shape)
        batch = self._buffer[: len(pixels)]
        np.stack(pixels, out=batch)
        return batch
