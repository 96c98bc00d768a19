"""An image has the same answer alone and beside others, or the model is refused."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.errors import ParityError
from hubserve.package.alone_and_together import check_alone
from hubserve.package.parity import FLOAT16, FLOAT32, INT8

BATCHES = [np.random.default_rng(seed).standard_normal((5, 3, 4, 4)).astype(np.float32) for seed in (0, 1)]


class Logits:
    """A runner of a function of the means of the channels."""

    name, device = "format", "cpu"

    def __init__(self, change):
        self._change = change

    def __call__(self, batch):
        return self._change(batch.mean((2, 3)))


DEPENDENT = {
    "a mean over the batch": lambda y: y - y.mean(0),
    "a softmax over the batch": lambda y: np.exp(y) / np.exp(y).sum(0),
    "the size of the batch": lambda y: y * (1 + 0.01 * len(y)),
    "the place in the batch": lambda y: y + 0.01 * np.arange(len(y))[:, None],
    "the last one's neighbour": lambda y: np.roll(y, 1, 0),
    "chance": lambda y: y + np.random.default_rng().standard_normal(y.shape),
    "one image of one": lambda y: y if len(y) > 1 else y * np.nan,
}


@pytest.mark.parametrize("bounds", [FLOAT32, FLOAT16, INT8], ids=["float32", "float16", "int8"])
def test_what_depends_on_its_image_alone_passes(bounds):
    rounding = 0.2 * (bounds.error or 0.1)
    assert check_alone(Logits(lambda y: y), BATCHES, bounds=bounds) == 0
    assert 0 < check_alone(Logits(lambda y: y * (1 + rounding * (len(y) > 1))), BATCHES, bounds=bounds) < 1


@pytest.mark.parametrize("name", DEPENDENT)
def test_what_depends_on_others_is_refused(name):
    with pytest.raises(ParityError, match="format answers an image otherwise alone than in a batch"):
        check_alone(Logits(DEPENDENT[name]), BATCHES, bounds=FLOAT32)


def test_a_large_dependence_is_refused_in_low_precision():
    for bounds in (FLOAT16, INT8):
        with pytest.raises(ParityError, match="otherwise alone"):
            check_alone(Logits(DEPENDENT["a mean over the batch"]), BATCHES, bounds=bounds)


@pytest.mark.parametrize("change", [lambda y: y[:1], lambda y: y.sum(0, keepdims=True), np.squeeze])
def test_a_row_for_each_image(change):
    with pytest.raises(ParityError, match=r"expected \(1, classes\) and \(5, classes\)"):
        check_alone(Logits(change), BATCHES, bounds=FLOAT32)
