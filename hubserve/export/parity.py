"""Proof that an exported model answers as eager PyTorch does."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hubserve.errors import ParityError
from hubserve.export.runner import Batch, Runner

BATCH_SIZES = (1, 2, 5, 8)
TOLERANCE = 1e-4
"""Of the logits' own spread. Float32 kernels of different libraries differ by some 1e-6 to 1e-5 of it."""


class ParityReport(BaseModel):
    """How far an exported model is from eager PyTorch.

    Attributes:
        format: of the exported model.
        batches: sizes of the batches that were compared.
        max_abs_error: largest difference of two logits.
        scale: standard deviation of eager PyTorch's logits.
        tolerance: allowed share of the scale.
        top1_agreement: share of pictures with the same best class, near ties (closer than the tolerance) counted as the same.
        passed: the error is within the tolerance, and all best classes agree.
    """

    model_config = ConfigDict(frozen=True)

    format: str
    batches: tuple[int, ...]
    max_abs_error: float
    scale: float
    tolerance: float
    top1_agreement: float
    passed: bool


def check_parity(
    reference: Runner, candidate: Runner, batches: Iterable[Batch], *, tolerance: float = TOLERANCE
) -> ParityReport:
    """Compares two runners on several batches.

    Raises:
        ParityError: they differ; the message says by how much. It carries the report as `error.args[1]`.
    """
    pairs = [(reference(batch), candidate(batch)) for batch in batches]
    if not pairs:
        raise ParityError(f"{candidate.name} was compared on no batch, which proves nothing")
    report = _compare(candidate.name, pairs, tolerance)
    if not report.passed:
        raise ParityError(
            f"{report.format} differs from {reference.name}: largest error {report.max_abs_error:.3g} where "
            f"{tolerance * report.scale:.3g} is allowed, best class agrees on {report.top1_agreement:.1%}; nothing was kept",
            report,
        )
    return report


def random_batches(shape: tuple[int, int, int], *, seed: int = 0, sizes: Iterable[int] = BATCH_SIZES) -> list[Batch]:
    """Batches of `shape` (channels, height, width) in the range of normalised pictures, smooth as these are, plus noise."""
    rng = np.random.default_rng(seed)
    return [_pictures(rng, size, shape) for size in sizes]


def _pictures(rng: np.random.Generator, size: int, shape: tuple[int, int, int]) -> Batch:
    channels, height, width = shape
    coarse = rng.uniform(-2.1, 2.6, (size, channels, 7, 7))
    rows, columns = np.arange(height) * 7 // height, np.arange(width) * 7 // width
    smooth = coarse[:, :, rows][:, :, :, columns]
    return (smooth + 0.2 * rng.standard_normal(smooth.shape)).clip(-2.2, 2.7).astype(np.float32)


def _compare(name: str, pairs: list[tuple[Batch, Batch]], tolerance: float) -> ParityReport:
    sizes = tuple(len(expected) for expected, _ in pairs)
    if any(expected.shape != found.shape for expected, found in pairs):
        shapes = [(expected.shape, found.shape) for expected, found in pairs if expected.shape != found.shape]
        raise ParityError(f"{name} returns logits of shape {shapes[0][1]} where eager PyTorch returns {shapes[0][0]}")
    expected = np.concatenate([e for e, _ in pairs]).astype(np.float64)
    found = np.concatenate([f for _, f in pairs]).astype(np.float64)
    scale = float(expected.std())
    error = float(np.abs(expected - found).max())
    agreement = _same_best_class(expected, found, tolerance * scale)
    finite = bool(np.isfinite(expected).all() and np.isfinite(found).all())
    return ParityReport(
        format=name,
        batches=sizes,
        max_abs_error=error,
        scale=scale,
        tolerance=tolerance,
        top1_agreement=agreement,
        passed=finite and scale > 0 and error <= tolerance * scale and agreement == 1.0,
    )


def _same_best_class(expected: NDArray[np.float64], found: NDArray[np.float64], near: float) -> float:
    """Share of rows whose best class in `found` is, in `expected`, within `near` of the best."""
    chosen = np.take_along_axis(expected, found.argmax(1)[:, None], 1)[:, 0]
    return float((expected.max(1) - chosen <= near).mean())
