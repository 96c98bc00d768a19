"""AutoActivation: an activation function that is searched, built of unary and binary functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from hubserve.errors import SpaceError, suggest
from hubserve.space import Picker


class Unary(nn.Module):
    """A function of one tensor, element by element, by its name in `UNARY`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = UNARY[name]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Scale(nn.Module):
    """x times a learned number, which starts at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.beta


class Shift(nn.Module):
    """x plus a learned number, which starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.beta


class Binary(nn.Module):
    """A function of two tensors, element by element, by its name in `BINARY`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = BINARY[name]

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.function(a, b)


class Gauss(nn.Module):
    """exp(-beta * (a - b)^2), or with the absolute difference in place of the square; beta is learned and starts at 1."""

    def __init__(self, *, square: bool) -> None:
        super().__init__()
        self.square = square
        self.beta = nn.Parameter(torch.ones(1))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        distance = (a - b).square() if self.square else (a - b).abs()
        return torch.exp(-self.beta * distance)


class Mix(nn.Module):
    """beta * a + (1 - beta) * b with a learned beta, which starts at 1/2."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.beta * a + (1 - self.beta) * b


# TorchScript compiles functions that have a name, and knows those of torch; of lambdas it knows nothing.


def _identity(x: torch.Tensor) -> torch.Tensor:
    return x


def _cube(x: torch.Tensor) -> torch.Tensor:
    return x * x * x


def _root(x: torch.Tensor) -> torch.Tensor:
    return torch.sqrt(x.clamp(min=1e-6))


def _log_abs(x: torch.Tensor) -> torch.Tensor:
    return torch.log(x.abs() + 1e-7)


def _min_zero(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(max=0.0)


def _gauss(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(-x.square())


def _divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a / (b + 1e-7)


def _gate(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(a) * b


UNARY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "identity": _identity,
    "negative": torch.neg,
    "absolute": torch.abs,
    "square": torch.square,
    "cube": _cube,
    "sqrt": _root,
    "log_abs": _log_abs,
    "exp": torch.exp,
    "sin": torch.sin,
    "cos": torch.cos,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "asinh": torch.asinh,
    "atan": torch.atan,
    "sinc": torch.sinc,
    "relu": torch.relu,
    "min_zero": _min_zero,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "gauss": _gauss,
    "erf": torch.erf,
}
"""Name -> function; the square root is that of the positive part, and the logarithm's argument is kept off zero."""

BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add,
    "multiply": torch.mul,
    "subtract": torch.sub,
    "divide": _divide,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "gate": _gate,
}
"""Name -> function."""

_UNARY_LAYERS: dict[str, Callable[[], nn.Module]] = {"scale": Scale, "shift": Shift}
_BINARY_LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gauss_square": lambda: Gauss(square=True),
    "gauss_absolute": lambda: Gauss(square=False),
    "mix": Mix,
}

UNARY_CANDIDATES = (*UNARY, *_UNARY_LAYERS)
BINARY_CANDIDATES = (*BINARY, *_BINARY_LAYERS)


class Unit(nn.Module):
    """binary(y, unary(x)) of the result so far, y, and the input, x."""

    def __init__(self, unary: nn.Module, binary: nn.Module) -> None:
        super().__init__()
        self.unary = unary
        self.binary = binary

    def forward(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.binary(y, self.unary(x))


class AutoActivation(nn.Module):
    """A searched activation function: binary(unary(x), unary(x)), the result of one unit going into the next.

    Ramachandran et al. 2017, "Searching for Activation Functions", section 3 and figure 1 (https://arxiv.org/abs/1710.05941);
    Swish is `gate(scale(x), identity(x))` there. Labels: `{label}/unary_0`, then for unit i `{label}/unary_{i + 1}` and
    `{label}/binary_{i}`.

    Args:
        pick: the picker of `build`.
        label: before those of the single choices. Under one label all activations of a network are alike in what was picked.
        units: binary functions in a row.
        unary: candidates, of `UNARY_CANDIDATES`.
        binary: candidates, of `BINARY_CANDIDATES`.

    Shapes:
        forward: x of any shape -> the same shape.

    Raises:
        SpaceError: fewer than one unit, or an unknown candidate.
    """

    def __init__(
        self,
        pick: Picker,
        label: str,
        *,
        units: int = 1,
        unary: Sequence[str] = UNARY_CANDIDATES,
        binary: Sequence[str] = BINARY_CANDIDATES,
    ) -> None:
        super().__init__()
        if units < 1:
            raise SpaceError(f"AutoActivation {label!r}: units = {units} must be at least 1")
        _known(label, unary, UNARY_CANDIDATES)
        _known(label, binary, BINARY_CANDIDATES)
        unaries = {name: _UNARY_LAYERS.get(name, partial(Unary, name)) for name in unary}
        binaries = {name: _BINARY_LAYERS.get(name, partial(Binary, name)) for name in binary}
        first, *others = [pick.layer(f"{label}/unary_{i}", unaries) for i in range(units + 1)]
        self.first = first
        self.units = nn.ModuleList(Unit(unary, pick.layer(f"{label}/binary_{i}", binaries)) for i, unary in enumerate(others))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        for unit in self.units:
            y = unit(y, x)
        return y


def _known(label: str, names: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SpaceError(f"AutoActivation {label!r} has no function {unknown[0]!r}. {suggest(unknown[0], known)}")
