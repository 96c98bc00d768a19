"""AutoActivation: a searched activation function, composed of unary and binary functions."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from hubserve.errors import SpaceError, suggest
from hubserve.space import Picker


class Unary(nn.Module):
    """The element-wise function of one tensor with this name in `UNARY`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = UNARY[name]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class _Learned(nn.Module):
    """The base class of functions with one learned number, `beta`, which starts at `start`."""

    start = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((1,), self.start))


class Scale(_Learned):
    """x times a learned number, which starts at 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.beta


class Shift(_Learned):
    """x plus a learned number, which starts at 0."""

    start = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.beta


class Binary(nn.Module):
    """The element-wise function of two tensors with this name in `BINARY`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = BINARY[name]

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.function(a, b)


class Gauss(_Learned):
    """exp(-beta * (a - b)^2), or exp(-beta * |a - b|) where `square` is False; beta is learned and starts at 1."""

    def __init__(self, *, square: bool) -> None:
        super().__init__()
        self.square = square

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        distance = (a - b).square() if self.square else (a - b).abs()
        return torch.exp(-self.beta * distance)


class Mix(_Learned):
    """beta * a + (1 - beta) * b with a learned beta, which starts at 1/2."""

    start = 0.5

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.beta * a + (1 - self.beta) * b


# TorchScript compiles named functions and those of torch, but no lambdas.


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
    **{name: getattr(torch, name) for name in ("exp", "sin", "cos", "sinh", "cosh", "tanh", "asinh", "atan", "sinc", "relu")},
    "min_zero": _min_zero,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "gauss": _gauss,
    "erf": torch.erf,
}
"""Name -> function. The square root is that of max(x, 1e-6), and the logarithm that of |x| + 1e-7, so that both are finite."""

BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add,
    "multiply": torch.mul,
    "subtract": torch.sub,
    "divide": _divide,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "gate": _gate,
}
"""Name -> function; the denominator of the division is b + 1e-7."""

_UNARY_LAYERS: dict[str, Callable[[], nn.Module]] = {"scale": Scale, "shift": Shift}
_BINARY_LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gauss_square": lambda: Gauss(square=True),
    "gauss_absolute": lambda: Gauss(square=False),
    "mix": Mix,
}

UNARY_CANDIDATES = (*UNARY, *_UNARY_LAYERS)
BINARY_CANDIDATES = (*BINARY, *_BINARY_LAYERS)


class Unit(nn.Module):
    """binary(y, unary(x)), where x is the input of the activation and y the result of the previous unit."""

    def __init__(self, unary: nn.Module, binary: nn.Module) -> None:
        super().__init__()
        self.unary = unary
        self.binary = binary

    def forward(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.binary(y, self.unary(x))


class AutoActivation(nn.Module):
    """A searched activation function: binary(unary(x), unary(x)); the result is the first argument of the next unit.

    Ramachandran et al. 2017, "Searching for Activation Functions", section 3 and figure 1 (https://arxiv.org/abs/1710.05941);
    Swish is `gate(scale(x), identity(x))` there. Labels: `{label}/unary_0`, then for unit i `{label}/unary_{i + 1}` and
    `{label}/binary_{i}`.

    Args:
        pick: The picker of `build`.
        label: Prefix of the labels. All activations of a network with one label are the same function, with parameters of
            their own.
        units: Number of binary functions, at least 1.
        unary: Candidates for the unary functions, from `UNARY_CANDIDATES`.
        binary: Candidates for the binary functions, from `BINARY_CANDIDATES`.

    Shapes:
        forward: x of any shape -> the same shape.

    Raises:
        SpaceError: `units` is below 1, or a candidate is unknown.
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
        self.first, *others = [pick.layer(f"{label}/unary_{i}", unaries) for i in range(units + 1)]
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
