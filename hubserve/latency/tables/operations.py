"""The operations of a network, each with its shapes: what a latency table has one entry for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hubserve.space import ModelSpace

aten = torch.ops.aten
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """One operation, as a runtime executes it: a convolution carries its batch norm and its clipping activation.

    Attributes:
        kind: "conv", "linear", "matmul", "max_pool", "add", "hardswish", ...
        inputs: shapes of the activations it reads, the batch included.
        output: shape of what it writes.
        attributes: (name, value) of all else that decides its cost: kernel, stride, groups, ...
    """

    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    attributes: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> str:
        """The unit as text, the same in every process: `conv 1x32x56x56 -> 1x16x56x56 kernel=1x1 groups=1`."""
        shapes = " + ".join("x".join(map(str, shape)) for shape in self.inputs)
        attributes = "".join(f" {name}={_text(value)}" for name, value in self.attributes)
        return f"{self.kind} {shapes} -> {'x'.join(map(str, self.output))}{attributes}"

    def attribute(self, name: str) -> Any:
        """Its value; None where the unit has none of that name."""
        return dict(self.attributes).get(name)

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for what only moves or compares."""
        if self.kind == "conv":
            return prod(self.output) * prod(self.attribute("kernel")) * (self.inputs[0][1] // int(self.attribute("groups")))
        if self.kind in ("linear", "matmul"):
            return prod(self.output) * self.inputs[0][-1]
        return 0

    @property
    def weights(self) -> int:
        """Numbers of the weight that it reads."""
        if self.kind == "conv":
            return self.output[1] * prod(self.attribute("kernel")) * (self.inputs[0][1] // int(self.attribute("groups")))
        return self.inputs[0][-1] * self.output[-1] if self.kind == "linear" else 0

    @property
    def elements(self) -> int:
        """Numbers that are read and written, weights included."""
        return sum(map(prod, self.inputs)) + prod(self.output) + self.weights


def parse_key(key: str) -> Unit:
    """The unit of a key, for all that its cost depends on."""
    kind, rest = key.split(" ", 1)
    sources, rest = rest.split(" -> ", 1)
    output, *attributes = rest.split(" ")
    pairs = (attribute.split("=") for attribute in attributes)
    return Unit(kind, tuple(map(_shape, sources.split(" + "))), _shape(output), tuple((n, _value(v)) for n, v in pairs))


def _shape(text: str) -> Shape:
    return tuple(map(int, text.split("x")))


def _value(text: str) -> Any:
    return _shape(text) if "x" in text else int(text)


def network_units(model: nn.Module, input_shape: Shape) -> list[Unit]:
    """The units of one forward pass in eval mode, in order. Computes nothing: the model is on the meta device.

    Args:
        model: on the meta device.
        input_shape: (batch, channels, height, width).
    """
    tracer = _Tracer()
    with torch.no_grad(), tracer:
        model.eval()(torch.empty(input_shape, device="meta"))
    return tracer.units


def arch_units(space: ModelSpace, arch: Mapping[str, Any], input_shape: Shape) -> list[Unit]:
    """The units of an arch. Raises ArchError where it is not of the space."""
    with torch.device("meta"):
        model = space.freeze(arch)
    return network_units(model, input_shape)


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


UNARY = {
    aten.relu: "relu",
    aten.hardtanh: "clip",
    aten.hardswish: "hardswish",
    aten.silu: "silu",
    aten.sigmoid: "sigmoid",
    aten.hardsigmoid: "hardsigmoid",
    aten.gelu: "gelu",
    aten._softmax: "softmax",
    aten._safe_softmax: "softmax",
    aten.native_layer_norm: "layer_norm",
    aten.native_batch_norm: "batch_norm",
    aten._native_batch_norm_legit_no_training: "batch_norm",
    aten.mean: "mean",
    aten._adaptive_avg_pool2d: "mean",
}
BINARY = {aten.add: "add", aten.mul: "mul", aten.sub: "add", aten.div: "mul"}
FUSED = frozenset({"relu", "clip", "batch_norm"})
"""What runtimes do in the same pass as the convolution before it."""


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.units: list[Unit] = []
        self._fusable: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        unit = _unit(func, args, out)
        if unit is None:
            return out
        first = out[0] if isinstance(out, (tuple, list)) else out
        after_conv = isinstance(args[0], torch.Tensor) and id(args[0]) in self._fusable
        if unit.kind == "conv" or (after_conv and unit.kind in FUSED):
            self._fusable[id(first)] = first  # The tensor too, so that its id stays its own.
        if not (after_conv and unit.kind in FUSED):
            self.units.append(unit)
        return out


def _unit(func: Any, args: Any, out: Any) -> Unit | None:
    """What an operation of torch is to a runtime; None where it moves nothing."""
    operation = func.overloadpacket
    name = operation.__name__.removesuffix("_")
    plain = getattr(aten, name, operation)
    first = out[0] if isinstance(out, (tuple, list)) else out
    if not isinstance(first, torch.Tensor) or func.is_view:
        return None
    output = tuple(first.shape)
    tensors = tuple(tuple(a.shape) for a in args if isinstance(a, torch.Tensor))
    if operation is aten.convolution:
        names = ("kernel", "stride", "padding", "dilation", "groups")
        values = (tuple(args[1].shape[2:]), tuple(args[3]), tuple(args[4]), tuple(args[5]), args[8])
        return Unit("conv", (tuple(args[0].shape),), output, tuple(zip(names, values, strict=True)))
    if operation in (aten.addmm, aten.mm):
        left = args[1] if operation is aten.addmm else args[0]
        return Unit("linear", (tuple(left.shape),), output)
    if operation is aten.bmm:
        return Unit("matmul", tensors[:2], output)
    if operation in (aten.max_pool2d_with_indices, aten.avg_pool2d):
        kind = "avg_pool" if operation is aten.avg_pool2d else "max_pool"
        stride = tuple(args[2]) if len(args) > 2 and args[2] else tuple(args[1])
        padding = tuple(args[3]) if len(args) > 3 else (0, 0)
        return Unit(kind, tensors[:1], output, (("kernel", tuple(args[1])), ("stride", stride), ("padding", padding)))
    if plain in UNARY:
        return Unit(UNARY[plain], tensors[:1], output)
    if plain in BINARY:
        return Unit(BINARY[plain], tensors, output)
    if operation is aten.cat:
        return Unit("concat", tuple(tuple(t.shape) for t in args[0]), output, (("axis", args[1] if len(args) > 1 else 0),))
    if name in FREE or not tensors:
        return None
    return Unit("move" if name in MOVES else f"other:{name}", tensors, output)


FREE = frozenset({"_unsafe_view", "clamp", "sum", "zeros_like", "arange", "full", "lift_fresh", "copy"})
"""Views, and work on constants that exporters do once and for all."""
MOVES = frozenset({"constant_pad_nd", "clone", "_to_copy", "index", "index_select", "gather", "repeat", "flip", "embedding"})
