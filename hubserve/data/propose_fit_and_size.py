"""Proposes values of the settings `fit` and `size` of the preprocessing, with reasons, from the sizes of scanned images."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hubserve.data.scan import Scan, ScannedImage
from hubserve.errors import DatasetError
from hubserve.preprocess import Fit

T = TypeVar("T")

LONG = 1.5
"""Aspect ratio (longer side / shorter side) above which an image counts as long; a centre crop loses over 33 % of such an
image."""

LONG_SHARE = 0.1
"""Largest share of long images (see `LONG`) for which `propose_fit` proposes "crop"."""

ALIKE = 1.15
"""Factor by which width / height of 90 % of the images may differ from the median, for `propose_fit` to propose "squash"."""

LEAST_SIZE, STEP = 128, 32
"""Smallest proposed size in pixels, and the step between proposed sizes: 32, since networks halve their input five times."""


class Proposal(NamedTuple, Generic[T]):
    """A proposed value of a setting, with the reason for it.

    Attributes:
        value: Proposed value.
        reason: Text that names the setting and its value and gives the reason, for the user.
    """

    value: T
    reason: str


def propose_fit(scan: Scan) -> Proposal[Fit]:
    """Proposes how images are fitted to the square input of a network, by their aspect ratios (longer side / shorter side).

    "crop" is proposed if at most 10 % of the images have an aspect ratio above 1.5. Otherwise "squash" is proposed if the
    shapes (width / height) of the images are similar, so that all are distorted in the same way, and "pad", which distorts no
    image, if they are not.

    Raises:
        DatasetError: The scan has no images.
    """
    sides = _sides(scan.images)
    shapes = sides[:, 0] / sides[:, 1]
    ratios = np.maximum(shapes, 1 / shapes)
    long_share, median = float((ratios > LONG).mean()), float(np.median(ratios))
    if long_share <= LONG_SHARE:
        return Proposal(
            "crop",
            f"fit = crop: {1 - long_share:.0%} of the {len(ratios):,} images are at most {LONG:g} times as long as wide "
            f"(median {median:.2f}), so the centre shows nearly all of them",
        )
    low, high = np.quantile(shapes / np.median(shapes), (0.05, 0.95))
    lost = 1 - 1 / median
    begin = f"{long_share:.0%} of the {len(ratios):,} images are over {LONG:g} times as long as wide (median {median:.1f})"
    cut = f"a centre crop would cut off {lost:.0%} of a usual one"
    if low > 1 / ALIKE and high < ALIKE:
        return Proposal(
            "squash", f"fit = squash: {begin} and {cut}; their shapes are alike, so all are distorted in the same way"
        )
    return Proposal("pad", f"fit = pad: {begin} and {cut}; their shapes differ, so a border distorts none of them")


def propose_size(scan: Scan, *, fit: Fit | None = None, trained_size: int = 224) -> Proposal[int]:
    """Proposes the side in pixels of the square input of a network, from the median side of the images.

    The proposal is a multiple of 32 (or `trained_size`), at least 128 unless `trained_size` is smaller, and at most
    `trained_size`.

    Args:
        scan: Scan of the images.
        fit: How the images are fitted to the input; None takes the proposal of `propose_fit`.
        trained_size: Side in pixels of the input with which the network's weights were trained.

    Raises:
        DatasetError: The scan has no images.
    """
    fit = fit or propose_fit(scan).value
    sides = _sides(scan.images)
    # The length that is scaled to the input size: the shorter side for "crop", the longer one for "pad", and for "squash"
    # the geometric mean of both.
    shown = {"crop": sides.min(1), "pad": sides.max(1), "squash": np.sqrt(sides.prod(1))}[fit]
    median = float(np.median(shown))
    name = {"crop": "shorter side", "pad": "longer side", "squash": "side (geometric mean of both)"}[fit]
    begin = f"the median {name} of the {len(shown):,} images is {median:.0f} pixels"
    wanted = max(STEP, round(median / STEP) * STEP)
    least = min(LEAST_SIZE, trained_size)
    if wanted >= trained_size:
        return Proposal(trained_size, f"size = {trained_size}: {begin}, and the weights were trained at {trained_size}")
    time = (max(wanted, least) / trained_size) ** 2
    cost = f"a step costs {time:.0%} of one at {trained_size}"
    if wanted < least:
        return Proposal(
            least,
            f"size = {least}: {begin}; enlarging them to {least} helps weights that were trained at {trained_size}, more only "
            f"costs time ({cost})",
        )
    return Proposal(wanted, f"size = {wanted}: {begin}, so a larger input shows no more ({cost})")


def _sides(images: Sequence[ScannedImage]) -> NDArray[np.float64]:
    """Returns the width and height of each image in pixels, (n, 2).

    Raises:
        DatasetError: There are no images.
    """
    if not images:
        raise DatasetError("there are no images to propose a size or a fit for")
    return np.array([(image.check.width, image.check.height) for image in images], np.float64)
