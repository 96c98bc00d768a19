"""`Penalty`, a loss term for the cost of archs, and `RangeFilter`, which accepts archs by their cost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from hubserve.errors import StrategyError
from hubserve.operations import Inputs
from hubserve.similar_names import suggest
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.oneshot.arch_costs import ArchCost, Measure, cost_of

Nonlinear = Literal["linear", "positive", "negative", "absolute"]
Aggregate = Literal["add", "mul"]


@dataclass(frozen=True)
class Penalty:
    """A loss term that grows with the cost of the network.

    With c = cost / baseline - 1 and the function f set by `nonlinear`, "add" gives loss + scale * f(c), and "mul" gives
    loss * (1 + f(c)) ** scale, which is MnasNet's reward used as a loss (Tan et al. 2019, https://arxiv.org/abs/1807.11626,
    section 3.1); a negative loss, such as an accuracy with its sign changed, is divided by that power. Strategies that learn
    probabilities estimate the cost by a `CostTable`; `OneShotResult.cost_r2` says how exact it is.

    Attributes:
        profiler: "macs", "params" or "latency_ms", or a function that returns the cost of an arch. Another name is refused only
            when a search starts.
        baseline: The target cost, above 0, in the unit of `profiler`.
        scale: Factor ("add") or exponent ("mul") of the term.
        nonlinear: The function f(c). "linear" is c; "positive" is max(c, 0), which penalises only costs above the baseline;
            "negative" is min(c, 0), which rewards only costs below it; "absolute" is |c|, which penalises both.
        aggregate: "add" or "mul".

    Raises:
        StrategyError: A value is not allowed.
    """

    profiler: Measure | ArchCost
    baseline: float
    scale: float = 1.0
    nonlinear: Nonlinear = "linear"
    aggregate: Aggregate = "add"

    def __post_init__(self) -> None:
        if not self.baseline > 0:
            raise StrategyError(f"penalty: baseline = {self.baseline} must be above 0")
        for name, allowed in (("nonlinear", get_args(Nonlinear)), ("aggregate", get_args(Aggregate))):
            if getattr(self, name) not in allowed:
                raise StrategyError(f"penalty: {name} = {getattr(self, name)!r} is not one of {allowed}")

    def apply(self, loss: torch.Tensor, cost: torch.Tensor | float) -> torch.Tensor:
        """Returns the scalar `loss` with the penalty for `cost` applied; gradients flow back through both arguments."""
        over = _FUNCTIONS[self.nonlinear](torch.as_tensor(cost, dtype=loss.dtype, device=loss.device) / self.baseline - 1)
        if self.aggregate == "add":
            return loss + self.scale * over
        factor = (1 + over).clamp(min=1e-6) ** self.scale
        return torch.where(loss < 0, loss / factor, loss * factor)


_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "linear": lambda c: c,
    "positive": lambda c: c.clamp(min=0),
    "negative": lambda c: c.clamp(max=0),
    "absolute": torch.abs,
}


@dataclass(frozen=True)
class RangeFilter:
    """Accepts archs whose cost is in a range; both bounds are included.

    Attributes:
        profiler: "macs", "params" or "latency_ms", or a function that returns the cost of an arch. Another name is refused only
            by `bound`.
        min: Smallest accepted cost, in the unit of `profiler`; None sets no lower bound.
        max: Largest accepted cost, in the unit of `profiler`; None sets no upper bound.

    Raises:
        StrategyError: Neither bound is given, or `min` is above `max`.
    """

    profiler: Measure | ArchCost
    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise StrategyError("filter: give min, max, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise StrategyError(f"filter: min = {self.min} is above max = {self.max}")

    def bound(self, space: ModelSpace, input_shape: Inputs) -> Callable[[Arch], bool]:
        """Returns a function that returns whether an arch of `space` is accepted.

        Args:
            space: The space of the archs.
            input_shape: What `shape_of` returns for a batch. Not used if `profiler` is a function.

        Raises:
            StrategyError: `profiler` is a string but none of the names of `Measure`.
        """
        cost = cost_of(self.profiler, space, input_shape)
        low = float("-inf") if self.min is None else self.min
        high = float("inf") if self.max is None else self.max
        return lambda arch: low <= cost(arch) <= high


def make_penalty(penalty: Penalty | Mapping[str, Any] | None) -> Penalty | None:
    """Returns a `Penalty` made from a dict of its attributes; a `Penalty` and None are returned unchanged.

    Raises:
        StrategyError: The dict has an unknown attribute, lacks a required one, or has a value that is not allowed; or the
            argument has another type.
    """
    if not isinstance(penalty, Penalty | Mapping | None):
        raise StrategyError(f"penalty = {penalty!r} is neither a Penalty nor a dict of its attributes")
    return _from_dict("penalty", Penalty, penalty)


def make_filter(
    given: RangeFilter | Mapping[str, Any] | Callable[[Arch], bool] | None,
) -> RangeFilter | Callable[[Arch], bool] | None:
    """Returns a `RangeFilter` made from a dict of its attributes; any other argument is returned unchanged.

    Raises:
        StrategyError: The dict has an unknown attribute, lacks a required one, or has a value that is not allowed.
    """
    return _from_dict("filter", RangeFilter, given)


def _from_dict(name: str, kind: type, given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    if unknown := [key for key in given if key not in known]:
        raise StrategyError(f"{name} has {unknown[0]!r}. {suggest(str(unknown[0]), known)}")
    try:
        return kind(**given)
    except TypeError as error:
        raise StrategyError(f"{name}: {error}") from error
