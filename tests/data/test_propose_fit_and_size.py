"""Proposals: how images fit the input, and its size, by the sides of the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubserve.data.image_check import Check
from hubserve.data.propose_fit_and_size import propose_fit, propose_size
from hubserve.data.scan import Scan, ScannedImage
from hubserve.errors import DatasetError


def found(*sides):
    images = tuple(
        ScannedImage(Path(f"{n}.png"), f"{n}.png", 0, "train", 1, Check(None, *side)) for n, side in enumerate(sides)
    )
    return Scan("folder", Path(), ("a", "b"), images, (), "given", 0, 0.1, True, ())


@pytest.mark.parametrize(
    ("sides", "fit", "words"),
    [
        ([(640, 480)] * 50, "crop", "100% of the 50 images are at most 1.5 times as long as wide (median 1.33)"),
        ([(640, 480)] * 46 + [(100, 600)] * 4, "crop", "92% of the 50 images"),
        ([(100, 600)] * 50, "squash", "100% of the 50 images are over 1.5 times as long as wide (median 6.0)"),
        ([(600, 100)] * 50, "squash", "a centre crop would cut off 83% of a usual one"),
        ([(300 + n, 100) for n in range(20)], "squash", "their shapes are alike"),
        ([(100, 600)] * 25 + [(600, 100)] * 25, "pad", "their shapes differ"),
        ([(640, 480)] * 25 + [(600, 100)] * 25, "pad", "50% of the 50 images are over"),
    ],
)
def test_fit(sides, fit, words):
    proposal = propose_fit(found(*sides))
    assert proposal.value == fit
    assert proposal.reason.startswith(f"fit = {fit}: ")
    assert words in proposal.reason


@pytest.mark.parametrize(
    ("side", "trained", "size", "words"),
    [
        ((32, 32), 224, 128, "enlarging them to 128"),
        ((150, 150), 224, 160, "a larger input shows no more (a step costs 51% of one at 224)"),
        ((4000, 3000), 224, 224, "the weights were trained at 224"),
        ((4000, 3000), 380, 380, "the weights were trained at 380"),
        ((32, 32), 96, 96, "trained at 96"),
        ((100, 600), 224, 224, "geometric mean"),
    ],
)
def test_size(side, trained, size, words):
    proposal = propose_size(found(*[side] * 9), trained_size=trained)
    assert proposal.value == size
    assert proposal.reason.startswith(f"size = {size}: ")
    assert words in proposal.reason


def test_size_by_what_the_fit_shows():
    images = found(*[(160, 640)] * 9)
    assert [propose_size(images, fit=fit, trained_size=512).value for fit in ("crop", "squash", "pad")] == [160, 320, 512]


def test_nothing_to_propose_from():
    for propose in (propose_fit, propose_size):
        with pytest.raises(DatasetError, match="there are no images"):
            propose(found())
