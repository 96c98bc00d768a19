"""What a network must answer so that it can be exported and served, and the sentence where it does not."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn

from hubserve.errors import ExportError
from hubserve.export.eager_runner import EagerRunner

IMAGES = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
Pair = namedtuple("Pair", "logits aux")


class Answers(nn.Module):
    """Three logits, changed by a function."""

    def __init__(self, change):
        super().__init__()
        self.head, self.change = nn.Linear(3, 3), change

    def forward(self, x):
        return self.change(self.head(x.mean((2, 3))))


WRONG = {
    "tuple": (lambda y: (y, y), "a tuple of 2; .* forward returns the logits alone"),
    "named tuple": (lambda y: Pair(y, y), "a Pair of 2; "),
    "list": (lambda y: [y], "a list of 1; "),
    "dict": (lambda y: {"logits": y, "aux": y}, "a dict with the keys logits, aux; "),
    "ordered dict": (lambda y: OrderedDict(out=y), "a OrderedDict with the keys out; "),
    "nothing": (lambda _: None, "a NoneType; "),
    "number": (lambda y: y.sum().item(), "a float; "),
    "four dimensions": (lambda y: y[:, :, None, None], r"\(2, 3, 1, 1\) of float32; .*; flatten them"),
    "three dimensions": (lambda y: y[:, None].expand(-1, 2, -1), r"\(2, 2, 3\) of float32"),
    "one dimension": (lambda y: y[0], r"\(3,\) of float32; .*; keep the axis of the batch"),
    "a scalar": (lambda y: y.sum(), r"\(\) of float32; .*; keep the axis of the batch"),
    "the axes exchanged": (lambda y: y.T, r"\(3, 2\) of float32"),
    "the best class": (lambda y: y.argmax(1, keepdim=True), r"\(2, 1\) of int64"),
    "half precision": (lambda y: y.half(), r"\(2, 3\) of float16"),
    "bfloat16": (lambda y: y.bfloat16(), r"\(2, 3\) of bfloat16"),
    "double precision": (lambda y: y.double(), r"\(2, 3\) of float64"),
    "complex numbers": (lambda y: torch.complex(y, y), r"\(2, 3\) of complex64"),
    "an exception": (lambda y: y.view(7, -1), r"cannot be run on images \(2, 3, 8, 8\): RuntimeError: shape"),
    "an assertion": (lambda y: [][len(y)], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_are_no_logits_is_said(name):
    change, says = WRONG[name]
    with pytest.raises(ExportError, match=f"^Answers .*{says}"):
        EagerRunner(Answers(change))(IMAGES)


def test_what_the_network_raises_is_said_for_features_too():
    runner = EagerRunner(Answers(lambda y: y.view(7, -1)))
    with pytest.raises(ExportError, match=r"^Answers cannot be run on images \(2, 3, 8, 8\): RuntimeError: shape"):
        runner.with_features(IMAGES)


def test_squeeze_is_found_with_one_image():
    runner = EagerRunner(Answers(lambda y: y.squeeze()))
    assert runner(IMAGES).shape == (2, 3)
    with pytest.raises(ExportError, match=r"^Answers answers images \(1, 3, 8, 8\) with a tensor \(3,\)"):
        runner(IMAGES[:1])
