"""Compares the logits of an exported model with those of eager PyTorch, on images and on made-up batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from hubserve.errors import ParityError
from hubserve.package.runner import Batch, FeatureRunner, Runner
from hubserve.preprocess import Preprocess

BATCH_SIZES = (1, 2, 5, 8)
TOLERANCE = 1e-4
"""Largest allowed difference of two float32 logits, as a share of the standard deviation of the logits.

The float32 kernels of different libraries differ by about 1e-6 to 1e-5 of the standard deviation."""


@dataclass(frozen=True)
class Bounds:
    """How far the logits of a format may be from those of eager PyTorch.

    Attributes:
        error: Largest allowed difference of two logits, as a share of the standard deviation of eager PyTorch's logits; None
            means that there is no limit.
        agreement: Smallest allowed share of images for which both have the same best class, in [0, 1].
        near: Two different best classes of an image count as the same if, in eager PyTorch, their logits differ by at most this
            share of the standard deviation.
        rms: Largest allowed root mean square of the differences, as a share of the standard deviation; None means that there is
            no limit. Unlike the largest difference, it does not grow with the number of logits that are compared.
    """

    error: float | None
    agreement: float
    near: float
    rms: float | None = None


FLOAT32 = Bounds(error=TOLERANCE, agreement=1.0, near=TOLERANCE)
FLOAT16 = Bounds(error=1e-1, agreement=1.0, near=5e-2, rms=1e-2)
"""Bounds of "onnx-fp16".

Rounding errors of float16 are about a hundredth of the standard deviation (`rms`). Five times as much may exchange the two best
classes (`near`); ten times as much is more than rounding (`error`)."""
INT8 = Bounds(error=None, agreement=0.9, near=0.0)
"""Bounds of formats in 8-bit integers: logits may differ by any amount; for 90 % of images the best class must be the same."""


class LabelledAccuracy(BaseModel):
    """Accuracy of eager PyTorch and of an exported format on the same images, whose true classes are known.

    Attributes:
        images: Number of images.
        reference_top1: Percentage of the images that eager PyTorch classifies correctly.
        top1: Percentage of the images that the exported format classifies correctly.
    """

    # Packages of version 0.1.0 before its release have the key "pictures".
    model_config = ConfigDict(frozen=True, validate_by_name=True)

    images: int = Field(validation_alias=AliasChoices("images", "pictures"))
    reference_top1: float
    top1: float


class FeatureParity(BaseModel):
    """How far the features of an exported model are from those of eager PyTorch.

    Attributes:
        max_abs_error: Largest absolute difference of two features.
        rms_error: Root mean square of the differences.
        scale: Standard deviation of eager PyTorch's features.
        rms_tolerance: Largest allowed `rms_error` as a share of `scale`; None means that there is no limit.
    """

    model_config = ConfigDict(frozen=True)

    max_abs_error: float
    rms_error: float
    scale: float
    rms_tolerance: float | None = None


class ParityReport(BaseModel):
    """The result of a comparison of the logits of an exported format with those of eager PyTorch.

    Attributes:
        format: Name of the exported format.
        batches: Number of images in each batch that was compared.
        max_abs_error: Largest absolute difference of two logits.
        rms_error: Root mean square of the differences of the logits.
        cosine: Cosine similarity of the two logit vectors of an image; the smallest one of all images.
        scale: Standard deviation of eager PyTorch's logits.
        tolerance: Largest allowed `max_abs_error` as a share of `scale`; None means that there is no limit.
        rms_tolerance: Largest allowed `rms_error` as a share of `scale`; None means that there is no limit.
        top1_agreement: Share of images for which both have the same best class, in [0, 1]. Different classes count as the same
            if their logits in eager PyTorch are close; `Bounds.near` says how close.
        agreement_needed: Smallest allowed `top1_agreement`.
        truth: Accuracy of both on the images whose true class is known; None if it is known for no image.
        features: Comparison of the features; None if the format has none.
        alone_error: Largest difference between the logits of an image alone and in a batch of others; None if it was not
            measured, as in packages of version 0.1.0 before its release.
        passed: Whether all logits are finite, `scale` is above 0, the errors are within the tolerances, and `top1_agreement` is
            at least `agreement_needed`.
    """

    model_config = ConfigDict(frozen=True)

    format: str
    batches: tuple[int, ...]
    max_abs_error: float
    rms_error: float = 0.0
    cosine: float = 1.0
    scale: float
    tolerance: float | None
    rms_tolerance: float | None = None
    top1_agreement: float
    agreement_needed: float = 1.0
    truth: LabelledAccuracy | None = None
    features: FeatureParity | None = None
    alone_error: float | None = None
    passed: bool


def check_parity(
    reference: Runner, candidate: Runner, batches: Iterable[Batch], *, bounds: Bounds = FLOAT32, classes: Sequence[int] = ()
) -> ParityReport:
    """Compares the logits of two runners on several batches; returns the report if the comparison has passed.

    Args:
        reference: Runner whose logits count as correct.
        candidate: Runner that is compared with it.
        batches: Batches of prepared images.
        bounds: How far the logits of `candidate` may differ from those of `reference`.
        classes: Index of the true class of each image, in the order of the images in `batches`; -1 for an image whose class is
            not known. It only serves to compute `ParityReport.truth`, and is ignored unless it has one element for each image.

    Raises:
        ParityError: The logits differ by more than `bounds` allows or are not finite, all logits of `reference` are one number,
            the shapes differ, or there is no batch. `error.args[1]` is the ParityReport, except in the last two cases.
        HubserveError: A runner failed; see the runners.
    """
    pairs = [(reference(batch), candidate(batch)) for batch in batches]
    if not pairs:
        raise ParityError(f"{candidate.name} was compared on no batch, which proves nothing")
    report = _compare(candidate.name, pairs, bounds, classes)
    if report.scale == 0:
        raise ParityError(
            f"{reference.name} answers every image with the same number for every class, which proves nothing about "
            f"{candidate.name}: the weights of its last layer may be zero",
            report,
        )
    if not report.passed:
        allowed = "" if bounds.error is None else f" where {bounds.error * report.scale:.3g} is allowed"
        if bounds.rms is not None:
            allowed += f", root mean square {report.rms_error:.3g} where {bounds.rms * report.scale:.3g} is"
        raise ParityError(
            f"{report.format} differs from {reference.name}: largest error {report.max_abs_error:.3g}{allowed}, best class "
            f"agrees on {report.top1_agreement:.1%} of which {bounds.agreement:.0%} are needed",
            report,
        )
    return report


def check_features(
    reference: FeatureRunner, candidate: FeatureRunner, batches: Iterable[Batch], *, bounds: Bounds = FLOAT32
) -> FeatureParity:
    """Compares the features of two runners by the root mean square of their differences; returns the report if it is small.

    The largest difference has no limit: there are a hundred times as many features as logits, and it grows with their number.
    The root mean square still finds a single wrong feature among 20,000 if it is off by 1.4 % of the standard deviation.

    Args:
        reference: Runner whose features count as correct.
        candidate: Runner that is compared with it.
        batches: Batches of prepared images, at least one.
        bounds: How far the features of `candidate` may differ from those of `reference`: the root mean square of the
            differences is at most `bounds.rms`, or `bounds.error` if that is None, as a share of the standard deviation of
            the reference's features.

    Raises:
        ParityError: The features differ by more than `bounds`, or in shape, or are not finite.
        HubserveError: A runner failed, or has no features; see the runners.
    """
    pairs = [(reference.with_features(batch)[1], candidate.with_features(batch)[1]) for batch in batches]
    for expected, found in pairs:
        if expected.shape != found.shape:
            raise ParityError(
                f"{candidate.name} returns features of shape {found.shape} where {reference.name} returns {expected.shape}"
            )
    expected = np.concatenate([e for e, _ in pairs]).astype(np.float64)
    difference = np.concatenate([f for _, f in pairs]).astype(np.float64) - expected
    bound = bounds.error if bounds.rms is None else bounds.rms
    report = FeatureParity(
        max_abs_error=float(np.abs(difference).max()),
        rms_error=float(np.sqrt((difference**2).mean())),
        scale=float(expected.std()),
        rms_tolerance=bound,
    )
    if not np.isfinite(report.rms_error) or (bound is not None and report.rms_error > bound * report.scale):
        allowed = "" if bound is None else f" where {bound * report.scale:.3g} is allowed"
        raise ParityError(
            f"the features of {candidate.name} differ from those of {reference.name}: root mean square of the differences "
            f"{report.rms_error:.3g}{allowed}, largest {report.max_abs_error:.3g}, standard deviation of the features "
            f"{report.scale:.3g}"
        )
    return report


def random_batches(shape: tuple[int, int, int], *, seed: int = 0, sizes: Iterable[int] = BATCH_SIZES) -> list[Batch]:
    """Returns random batches in the usual range of normalised images, about -2.2 to 2.7: smooth areas with noise.

    Args:
        shape: (channels, height, width) of one image.
        seed: Seed of the random numbers.
        sizes: Number of images in each batch.
    """
    rng = np.random.default_rng(seed)
    return [_random_batch(rng, size, shape) for size in sizes]


def prepared_batches(preprocess: Preprocess, *, seed: int = 0, sizes: Iterable[int] = BATCH_SIZES) -> list[Batch]:
    """Returns batches of random images that were prepared by `preprocess`, so that their range is that of the network's input.

    Args:
        preprocess: Preparation of the network.
        seed: Seed of the random numbers.
        sizes: Number of images in each batch.
    """
    rng = np.random.default_rng(seed)
    return [np.stack([preprocess.reference(_image(rng, preprocess)) for _ in range(size)]) for size in sizes]


def made_up_batches(preprocess: Preprocess) -> list[Batch]:
    """Returns the batches on which floating point formats are compared: 3 of `random_batches`, 2 of `prepared_batches`."""
    size = preprocess.input_size
    return [*random_batches((3, size, size), sizes=(1, 2, 5)), *prepared_batches(preprocess, sizes=(3, 8))]


def _image(rng: np.random.Generator, preprocess: Preprocess) -> Image.Image:
    """Returns a random RGB image with smooth colours and noise; parts of it are black or white, as in photographs."""
    side = preprocess.resize
    coarse = rng.uniform(-80, 335, (3, 7, 7)).astype(np.float32)
    planes = [Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR) for plane in coarse]
    smooth = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    return Image.fromarray((smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8))


def _random_batch(rng: np.random.Generator, size: int, shape: tuple[int, int, int]) -> Batch:
    channels, height, width = shape
    coarse = rng.uniform(-2.1, 2.6, (size, channels, 7, 7))
    rows, columns = np.arange(height) * 7 // height, np.arange(width) * 7 // width
    smooth = coarse[:, :, rows][:, :, :, columns]
    return (smooth + 0.2 * rng.standard_normal(smooth.shape)).clip(-2.2, 2.7).astype(np.float32)


def _compare(name: str, pairs: list[tuple[Batch, Batch]], bounds: Bounds, classes: Sequence[int]) -> ParityReport:
    sizes = tuple(len(expected) for expected, _ in pairs)
    if any(expected.shape != found.shape for expected, found in pairs):
        shapes = [(expected.shape, found.shape) for expected, found in pairs if expected.shape != found.shape]
        raise ParityError(f"{name} returns logits of shape {shapes[0][1]} where eager PyTorch returns {shapes[0][0]}")
    expected = np.concatenate([e for e, _ in pairs]).astype(np.float64)
    found = np.concatenate([f for _, f in pairs]).astype(np.float64)
    finite = bool(np.isfinite(expected).all() and np.isfinite(found).all())
    scale = float(expected.std())
    error = float(np.abs(expected - found).max())
    agreement = _same_best_class(expected, found, bounds.near * scale)
    rms = float(np.sqrt(((expected - found) ** 2).mean()))
    small = all(bound is None or value <= bound * scale for value, bound in ((error, bounds.error), (rms, bounds.rms)))
    return ParityReport(
        format=name,
        batches=sizes,
        max_abs_error=error,
        rms_error=rms,
        cosine=_smallest_cosine(expected, found),
        scale=scale,
        tolerance=bounds.error,
        rms_tolerance=bounds.rms,
        top1_agreement=agreement,
        agreement_needed=bounds.agreement,
        truth=_truth(expected, found, classes),
        passed=finite and scale > 0 and small and agreement >= bounds.agreement,
    )


def _same_best_class(expected: NDArray[np.float64], found: NDArray[np.float64], near: float) -> float:
    """Returns the share of images whose best class by `found` has a logit in `expected` at most `near` below the largest."""
    chosen = np.take_along_axis(expected, found.argmax(1)[:, None], 1)[:, 0]
    return float((expected.max(1) - chosen <= near).mean())


def _smallest_cosine(expected: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    return float(((expected * found).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)).min())


def _truth(expected: NDArray[np.float64], found: NDArray[np.float64], classes: Sequence[int]) -> LabelledAccuracy | None:
    true = np.asarray(classes, dtype=np.int64)
    if len(true) != len(expected) or not (true >= 0).any():
        return None
    known = true >= 0
    right = [100 * float((logits.argmax(1) == true)[known].mean()) for logits in (expected, found)]
    return LabelledAccuracy(images=int(known.sum()), reference_top1=right[0], top1=right[1])
