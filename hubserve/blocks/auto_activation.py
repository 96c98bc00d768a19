"""AutoActivation: an activation function that is searched as a composition of unary and binary functions."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from hubserve.errors import SpaceError
from hubserve.similar_names import suggest
from hubserve.space import Picker


class Unary(nn.Module):
    """A module without parameters that applies `UNARY[name]`, an element-wise function of one tensor.

    Raises:
        KeyError: `UNARY` has no such name.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = UNARY[name]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class _Learned(nn.Module):
    """Base class of functions with one learned number, the parameter `beta` with shape (1,); its initial value is `start`."""

    start = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((1,), self.start))


class Scale(_Learned):
    """Multiplies its input by the learned number `beta`, which is initialised to 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.beta


class Shift(_Learned):
    """Adds the learned number `beta`, which is initialised to 0, to its input."""

    start = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.beta


class Binary(nn.Module):
    """A module without parameters that applies `BINARY[name]`, an element-wise function of two tensors.

    Raises:
        KeyError: `BINARY` has no such name.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.function = BINARY[name]

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.function(a, b)


class Gauss(_Learned):
    """Computes exp(-beta * (a - b)^2), or exp(-beta * |a - b|) if `square` is False; `beta` is learned and initialised to 1."""

    def __init__(self, *, square: bool) -> None:
        super().__init__()
        self.square = square

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        distance = (a - b).square() if self.square else (a - b).abs()
        return torch.exp(-self.beta * distance)


class Mix(_Learned):
    """Computes beta * a + (1 - beta) * b, where the number `beta` is learned and initialised to 1/2."""

    start = 0.5

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.beta * a + (1 - self.beta) * b


# These are named functions because TorchScript cannot compile lambdas.


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
"""Name -> element-wise function of one tensor. "sqrt" is sqrt(max(x, 1e-6)) and "log_abs" is log(|x| + 1e-7), both finite."""

BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add,
    "multiply": torch.mul,
    "subtract": torch.sub,
    "divide": _divide,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "gate": _gate,
}
"""Name -> element-wise function of two tensors a and b. "divide" computes a / (b + 1e-7), and "gate" sigmoid(a) * b."""

_UNARY_LAYERS: dict[str, Callable[[], nn.Module]] = {"scale": Scale, "shift": Shift}
_BINARY_LAYERS: dict[str, Callable[[], nn.Module]] = {
    "gauss_square": lambda: Gauss(square=True),
    "gauss_absolute": lambda: Gauss(square=False),
    "mix": Mix,
}

UNARY_CANDIDATES = (*UNARY, *_UNARY_LAYERS)
"""Names of all unary functions: those of `UNARY`, and "scale" and "shift", which have a learned parameter."""

BINARY_CANDIDATES = (*BINARY, *_BINARY_LAYERS)
"""Names of all binary functions: those of `BINARY`, and "gauss_square", "gauss_absolute" and "mix", which have a parameter."""


class Unit(nn.Module):
    """Computes binary(y, unary(x)), where x is the input of the activation and y the result of the previous unit."""

    def __init__(self, unary: nn.Module, binary: nn.Module) -> None:
        super().__init__()
        self.unary = unary
        self.binary = binary

    def forward(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.binary(y, self.unary(x))


class AutoActivation(nn.Module):
    """An activation function composed of unary and binary functions, each of which is a choice of the search.

    It computes y = unary_0(x), then y = binary_i(y, unary_{i + 1}(x)) for each unit i = 0, 1, ..., and returns the last y. The
    labels of these choices are `{label}/unary_0`, `{label}/binary_{i}` and `{label}/unary_{i + 1}`. Swish, for example, is the
    single unit gate(scale(x), identity(x)). Source: Ramachandran et al. 2017, "Searching for Activation Functions", section 3
    and figure 1 (https://arxiv.org/abs/1710.05941).

    Args:
        pick: The picker that `ModelSpace.build` receives.
        label: Prefix of the labels. All activations with the same label have the same chosen functions, but each has its own
            learned parameters.
        units: Number of binary functions, at least 1.
        unary: Candidates for the unary functions, from `UNARY_CANDIDATES`.
        binary: Candidates for the binary functions, from `BINARY_CANDIDATES`.

    Shapes:
        forward: x of any shape -> the same shape.

    Raises:
        SpaceError: `units` is below 1, or `unary` or `binary` is empty or holds an unknown name.
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
    """Raises SpaceError, which names the activation's `label`, if one of `names` is not in `known`."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SpaceError(f"AutoActivation {label!r} has no function {unknown[0]!r}. {suggest(unknown[0], known)}")
