"""AutoActivation: every function is what its name says, learns, and can be scripted."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks import AutoActivation
from hubserve.blocks.auto_activation import BINARY_CANDIDATES, UNARY_CANDIDATES
from hubserve.errors import SpaceError
from hubserve.space import FrozenPicker

XS = [-2.5, -1.0, -0.1, 0.0, 0.3, 1.0, 2.0]
X = torch.tensor([XS], dtype=torch.float64)


def sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


UNARY_BY_HAND = {
    "identity": lambda x: x,
    "negative": lambda x: -x,
    "absolute": abs,
    "square": lambda x: x * x,
    "cube": lambda x: x**3,
    "sqrt": lambda x: math.sqrt(max(x, 1e-6)),
    "log_abs": lambda x: math.log(abs(x) + 1e-7),
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "asinh": math.asinh,
    "atan": math.atan,
    "sinc": sinc,
    "relu": lambda x: max(x, 0.0),
    "min_zero": lambda x: min(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "softplus": lambda x: math.log(1 + math.exp(x)),
    "gauss": lambda x: math.exp(-x * x),
    "erf": math.erf,
    "scale": lambda x: x,
    "shift": lambda x: x,
}
BINARY_BY_HAND = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "subtract": lambda a, b: a - b,
    "divide": lambda a, b: a / (b + 1e-7),
    "maximum": max,
    "minimum": min,
    "gate": lambda a, b: b / (1 + math.exp(-a)),
    "gauss_square": lambda a, b: math.exp(-((a - b) ** 2)),
    "gauss_absolute": lambda a, b: math.exp(-abs(a - b)),
    "mix": lambda a, b: (a + b) / 2,
}
"""The learned ones as they start."""


def make(first: str, binary: str, second: str) -> AutoActivation:
    arch = {"a/unary_0": first, "a/unary_1": second, "a/binary_0": binary}
    return AutoActivation(FrozenPicker(arch), "a").double()


def check(activation: AutoActivation, expected: list[float]) -> None:
    x = X.clone().requires_grad_()
    y = activation(x)
    torch.testing.assert_close(y, torch.tensor([expected], dtype=torch.float64))
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in activation.parameters())
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(activation)(X), y)
        torch.testing.assert_close(pickle.loads(pickle.dumps(copy.deepcopy(activation)))(X), y)


@pytest.mark.parametrize("unary", UNARY_CANDIDATES)
def test_unary(unary):
    check(make(unary, "add", "identity"), [UNARY_BY_HAND[unary](x) + x for x in XS])


@pytest.mark.parametrize("binary", BINARY_CANDIDATES)
def test_binary(binary):
    check(make("sin", binary, "softplus"), [BINARY_BY_HAND[binary](math.sin(x), math.log(1 + math.exp(x))) for x in XS])


@pytest.mark.parametrize(
    ("names", "beta", "expected"),
    [
        (("scale", "add", "sin"), 2.0, 2 * X + X.sin()),
        (("shift", "add", "sin"), 2.0, 2 + X + X.sin()),
        (("sin", "gauss_square", "exp"), 0.5, torch.exp(-0.5 * (X.sin() - X.exp()) ** 2)),
        (("sin", "gauss_absolute", "exp"), 0.5, torch.exp(-0.5 * (X.sin() - X.exp()).abs())),
        (("sin", "mix", "exp"), 0.2, 0.2 * X.sin() + 0.8 * X.exp()),
    ],
)
def test_what_is_learned(names, beta, expected):
    activation = make(*names)
    (parameter,) = activation.parameters()
    nn.init.constant_(parameter, beta)
    torch.testing.assert_close(activation(X), expected)


def test_swish():
    torch.testing.assert_close(make("scale", "gate", "identity")(X), functional.silu(X))


def test_units_in_a_row():
    arch = {"a/unary_0": "square", "a/unary_1": "relu", "a/unary_2": "negative", "a/binary_0": "add", "a/binary_1": "multiply"}
    activation = AutoActivation(FrozenPicker(arch), "a", units=2)
    torch.testing.assert_close(activation(X), (X.square() + X.relu()) * -X)
    torch.testing.assert_close(torch.jit.script(activation)(X), activation(X))


class TestErrors:
    def test_unknown_functions_get_a_suggestion(self):
        with pytest.raises(SpaceError, match="Did you mean tanh"):
            AutoActivation(FrozenPicker({}), "a", unary=("tan",))
        with pytest.raises(SpaceError, match="Did you mean maximum"):
            AutoActivation(FrozenPicker({}), "a", binary=("maximun",))

    def test_no_units(self):
        with pytest.raises(SpaceError, match="'a': units = 0"):
            AutoActivation(FrozenPicker({}), "a", units=0)
