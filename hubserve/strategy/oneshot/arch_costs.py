"""Computes or measures the cost of an arch: its MACs, parameters or latency, or the result of a function."""

import json
from typing import Any, Literal, Protocol, get_args

import torch

from hubserve.complexity import complexity
from hubserve.errors import StrategyError
from hubserve.operations import Inputs
from hubserve.space import Arch, ModelSpace
from hubserve.timing import median_ms

Measure = Literal["macs", "params", "latency_ms"]
"""Names of costs. MACs and parameters are counted exactly; latency is measured in eager PyTorch on this machine's CPU."""


class ArchCost(Protocol):
    """A function that returns the cost of an arch."""

    def __call__(self, arch: Arch) -> float:
        """Returns the cost of `arch`, in any unit; a larger value is worse."""


class MeasuredCost:
    """Returns the MACs, parameters or latency of the network of an arch; each arch is measured once.

    Args:
        measure: "macs", "params" or "latency_ms" (see `Measure`).
        space: The space of the archs.
        input_shape: Shape of one input without the batch axis, (channels, height, width); or the input itself, with a batch of
            one, in a tuple.

    Raises:
        StrategyError: `measure` is none of these.
    """

    def __init__(self, measure: str, space: ModelSpace, input_shape: Inputs) -> None:
        if measure not in get_args(Measure):
            raise StrategyError(f"profiler = {measure!r} is not one of {get_args(Measure)}, nor a function of an arch")
        self._measure = measure
        self._space = space
        self._input_shape = input_shape
        self._known: dict[str, float] = {}

    def __call__(self, arch: Arch) -> float:
        key = json.dumps(self._space.canonical(arch))
        if key not in self._known:
            self._known[key] = self._measured(arch)
        return self._known[key]

    def _measured(self, arch: Arch) -> float:
        if self._measure == "latency_ms":
            return _latency_ms(self._space, arch, self._input_shape)
        with torch.device("meta"):
            model = self._space.freeze(arch)
        if self._measure == "params":
            return float(sum(parameter.numel() for parameter in model.parameters()))
        return float(complexity(model, self._input_shape).macs)


def cost_of(profiler: Measure | ArchCost | Any, space: ModelSpace, input_shape: Inputs) -> ArchCost:
    """Returns `profiler` as a function of an arch: a `MeasuredCost` if it is a name, else `profiler` itself.

    Args:
        profiler: "macs", "params" or "latency_ms", or a function that returns the cost of an arch.
        space: The space of the archs.
        input_shape: Shape of one input without the batch axis, (channels, height, width); or the input itself, with a batch of
            one, in a tuple.

    Raises:
        StrategyError: `profiler` is another string.
    """
    return MeasuredCost(profiler, space, input_shape) if isinstance(profiler, str) else profiler


def _latency_ms(space: ModelSpace, arch: Arch, input_shape: Inputs) -> float:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = space.freeze(arch).eval()
        given = [each for each in input_shape if isinstance(each, torch.Tensor)]
        x = given or [torch.randn(1, *(each for each in input_shape if isinstance(each, int)))]
        return median_ms(lambda: model(*x))


def shape_of(x: Any) -> Inputs:
    """Returns one input of the batch `x` as `complexity` takes it.

    For floating point numbers that is its shape without the batch axis. For other types, whose values matter, it is the tuple
    of one tensor: the first input as a batch of one, (1, ...), on the CPU.

    Raises:
        StrategyError: `x` is not a tensor.
    """
    if not isinstance(x, torch.Tensor):
        raise StrategyError("costs are counted for inputs that are one tensor; give a function of an arch as profiler")
    return tuple(x.shape[1:]) if x.is_floating_point() else (x[:1].detach().cpu(),)
