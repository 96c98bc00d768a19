"""The engine: a package in, answers out. It knows no web framework and no training code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from hubserve.errors import TopKError
from hubserve.export.onnx import Device
from hubserve.export.package import Package
from hubserve.export.runner import Batch
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
    """

    predictions: tuple[Prediction, ...]
    decode_ms: float
    infer_ms: float
    batch_size: int = 1


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
        package: with an ONNX form.
        device: see OnnxRunner.
        max_pixels: of a picture.

    Raises:
        PackageError: the package was changed, is unproven, or has no ONNX form.
        ExportError: ONNX Runtime cannot load it.
    """

    def __init__(self, package: Package, *, device: Device = "auto", max_pixels: int = MAX_PIXELS) -> None:
        package.verify()
        self.labels = package.labels
        self._preprocess = package.manifest.preprocess
        self._max_pixels = max_pixels
        # One thread a call: the next picture is a better use of the second core than a half of this one.
        self._runner = package.runner("onnx", threads=1, device=device)
        self.device = self._runner.device

    def warm_up(self) -> None:
        """One empty picture, so that the first visitor does not wait for allocations."""
        size = self._preprocess.input_size
        self._runner(np.zeros((1, 3, size, size), np.float32))

    def classify(self, data: bytes, *, top_k: int | None = None) -> Answer:
        """The `top_k` most likely classes of the picture in `data`; five unless given, or all where there are fewer.

        Raises:
            ImageError: not a readable picture, or too large.
            TopKError: `top_k` is not between 1 and the number of classes.
        """
        return self.answer([self.prepare(data, top_k=top_k)])[0]

    def prepare(self, data: bytes, *, top_k: int | None = None) -> Prepared:
        """The first half of `classify`: all that can go wrong with a picture goes wrong here."""
        if top_k is None:
            top_k = min(TOP_K, len(self.labels))
        if not 1 <= top_k <= len(self.labels):
            raise TopKError(f"top_k = {top_k} is not between 1 and {len(self.labels)}, the number of classes of this model")
        start = time.perf_counter()
        pixels = self._preprocess.fast(decode_pixels(data, max_pixels=self._max_pixels)).numpy()
        return Prepared(pixels, top_k, (time.perf_counter() - start) * 1e3)

    def answer(self, pictures: Sequence[Prepared]) -> list[Answer]:
        """The second half, for several pictures in one batch."""
        start = time.perf_counter()
        logits = self._runner(np.stack([picture.pixels for picture in pictures])).astype(np.float64)
        infer_ms = (time.perf_counter() - start) * 1e3
        return [
            Answer(self._best(row, picture.top_k), picture.decode_ms, infer_ms, len(pictures))
            for row, picture in zip(logits, pictures, strict=True)
        ]

    def _best(self, logits: np.ndarray, top_k: int) -> tuple[Prediction, ...]:
        likelihood = np.exp(logits - logits.max())
        probabilities = likelihood / likelihood.sum()
        best = np.argsort(-logits, kind="stable")[:top_k]
        return tuple(Prediction(label=self.labels[i], index=int(i), probability=float(probabilities[i])) for i in best)


class Engines:
    """Engines by tag, loaded when first asked for and kept.

    Args:
        load: tag -> engine, ready.
        resolve: name or tag -> tag; asks the store.
        resolve_seconds: how long an answer of `resolve` is believed, so that a new version is seen this soon.
    """

    def __init__(self, load: Callable[[str], Engine], resolve: Callable[[str], str], *, resolve_seconds: float = 1.0) -> None:
        self._load = load
        self._resolve = resolve
        self._resolve_seconds = resolve_seconds
        self._engines: dict[str, Engine] = {}
        self._tags: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> tuple[str, Engine]:
        """The tag that `name` means now, and its engine.

        Raises:
            ModelNotFoundError: the store has no such model.
        """
        tag = self._tag(name)
        engine = self._engines.get(tag)
        if engine is None:
            # One thread loads; the others wait for it.
            with self._lock:
                engine = self._engines.get(tag) or self._load(tag)
                self._engines[tag] = engine
        return tag, engine

    def _tag(self, name: str) -> str:
        tag, until = self._tags.get(name, ("", 0.0))
        now = time.monotonic()
        if now >= until:
            tag = self._resolve(name)
            self._tags[name] = (tag, now + self._resolve_seconds)
        return tag
