"""Traces the operations that a network executes in one forward pass, with their shapes and multiply-accumulates.

`hubserve.complexity` sums their multiply-accumulates; a latency lookup table has one entry for each different operation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hubserve.space import ModelSpace

aten = torch.ops.aten
Shape = tuple[int, ...]

Inputs = Shape | Sequence[torch.Tensor]
"""The inputs of a network: the shape of its only one, which is float32; or tensors, of which only shape and dtype are used."""

UNKNOWN = "unknown:"
"""Prefix of the kind of an operation whose multiply-accumulates are not known; torch's name of the operator follows."""


@dataclass(frozen=True)
class Operation:
    """One operation as a runtime executes it: a convolution includes the batch norm and the ReLU or clip after it.

    Attributes:
        kind: Kind of the operation: "conv", "linear", "matmul", "attention", "max_pool", "add", "hardswish", ...; "move" copies
            values, "other:NAME" is another operation without multiply-accumulates, such as an element-wise one, and
            "unknown:NAME" is one whose multiply-accumulates are not known.
        inputs: Shapes of the activations that it reads, with the batch dimension.
        output: Shape of the tensor that it writes.
        attributes: Pairs (name, value) of its other parameters that its cost depends on, such as kernel, stride and groups.
    """

    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    attributes: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> str:
        """The operation as text, such as `linear 1x1280 -> 1x1000`; equal operations have equal keys, in every process."""
        shapes = " + ".join("x".join(map(str, shape)) for shape in self.inputs)
        attributes = "".join(f" {name}={_text(value)}" for name, value in self.attributes)
        return f"{self.kind} {shapes} -> {'x'.join(map(str, self.output))}{attributes}"

    def attribute(self, name: str) -> Any:
        """Returns the value of the attribute `name`; None if the operation has no such attribute."""
        return dict(self.attributes).get(name)

    @property
    def macs(self) -> int:
        """Number of multiply-accumulates; 0 for all kinds but "conv", "linear", "matmul" and "attention"."""
        match self.kind:
            case "conv":
                # Each weight is used once for each output position; in a transposed convolution, for each input position.
                positions = self.inputs[0] if self.attribute("transposed") else self.output
                return self.weights * positions[0] * prod(positions[2:])
            case "linear" | "matmul":
                return prod(self.output) * self.inputs[0][-1]
            case "attention":
                query, key, value = self.inputs
                return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
        return 0

    @property
    def weights(self) -> int:
        """Number of elements of the weight tensor of a convolution or linear layer, without the bias; 0 for other kinds."""
        if self.kind == "conv":
            return self.output[1] * prod(self.attribute("kernel")) * (self.inputs[0][1] // self.attribute("groups"))
        return self.inputs[0][-1] * self.output[-1] if self.kind == "linear" else 0

    @property
    def elements(self) -> int:
        """Number of elements that the operation reads and writes, weights included."""
        return sum(map(prod, self.inputs)) + prod(self.output) + self.weights


def parse_key(key: str) -> Operation:
    """Returns the operation whose `Operation.key` is `key`. Raises ValueError if the text is not such a key."""
    kind, rest = key.split(" ", 1)
    sources, rest = rest.split(" -> ", 1)
    output, *attributes = rest.split(" ")
    pairs = (attribute.split("=") for attribute in attributes)
    values = tuple((name, int(value) if name in SCALARS else _shape(value)) for name, value in pairs)
    return Operation(kind, tuple(map(_shape, sources.split(" + "))), _shape(output), values)


def trace_operations(model: nn.Module, inputs: Inputs) -> list[Operation]:
    """Returns the operations of one forward pass, in the order of execution, without computing any values.

    Args:
        model: Network on the meta device, in eval mode.
        inputs: Shape of the input, (batch, channels, height, width) for images; or the arguments of the network, of which a
            space of the hub gives examples: `HubSpace.cost_inputs`.
    """
    tensors = [each.to("meta") for each in inputs if isinstance(each, torch.Tensor)]
    shape = [each for each in inputs if isinstance(each, int)]
    tracer = _Tracer()
    with torch.no_grad(), tracer:
        model(*(tensors or [torch.empty(shape, device="meta")]))
    return tracer.operations


def arch_operations(space: ModelSpace, arch: Mapping[str, Any], inputs: Inputs) -> list[Operation]:
    """Returns the operations of one forward pass of an arch, in the order of execution, without computing any values.

    Args:
        space: Model space of the arch.
        arch: Chosen value of each choice, by label.
        inputs: Inputs of the network, as for `trace_operations`.

    Raises:
        ArchError: The arch does not belong to the space.
    """
    with torch.device("meta"):
        model = space.freeze(arch)
    return trace_operations(model.eval(), inputs)


SCALARS = frozenset({"axis", "groups", "transposed"})
"""Names of the attributes that are a single int; the others are a tuple with one int for each spatial dimension."""

LINEAR = {aten.addmm: 1, aten.mm: 0}
"""Operator of a matrix product with a weight -> index of the activations among its arguments."""

MATMUL = {aten.baddbmm: 1, aten.bmm: 0}
"""Operator of a matrix product of two activations -> index of the first activation among its arguments."""

ATTENTION = (
    aten.scaled_dot_product_attention,
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_fused_attention_overrideable,
)

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
"""Kinds of operations that runtimes fuse with a convolution right before them."""

MOVES = frozenset({"constant_pad_nd", "clone", "_to_copy", "index", "index_select", "gather", "repeat", "flip"})
"""Operators that only copy values to another place in memory; their kind is "move"."""

NO_COST = frozenset({"_unsafe_view", "clamp", "sum", "zeros_like", "arange", "full", "lift_fresh", "copy"})
"""Operators that take no time at inference: views, and operations on constants, which exporters compute in advance."""

# fmt: off
NO_MACS = frozenset(
    {
        "_log_softmax", "_native_batch_norm_legit", "adaptive_avg_pool2d", "all", "amax", "amin", "any", "bernoulli", "cumsum",
        "empty", "empty_like", "full_like", "native_dropout", "native_group_norm", "new_empty", "new_ones", "new_zeros", "ones",
        "ones_like", "pad", "rand", "rand_like", "roll", "scalar_tensor", "stack", "zeros",
    }
)
# fmt: on
"""Further operators without multiply-accumulates; element-wise operators are recognised by torch's tag `pointwise`."""


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self._fusable: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operation = _operation(func, args, out)
        if operation is None:
            return out
        first = out[0] if isinstance(out, (tuple, list)) else out
        after_conv = bool(args) and isinstance(args[0], torch.Tensor) and id(args[0]) in self._fusable
        if operation.kind == "conv" or (after_conv and operation.kind in FUSED):
            self._fusable[id(first)] = first  # Keeping the tensor prevents that another object gets its id.
        if not (after_conv and operation.kind in FUSED):
            self.operations.append(operation)
        return out


def _operation(func: Any, args: Any, out: Any) -> Operation | None:
    """Converts a call of a torch operator, with its arguments and result, to an `Operation`.

    Returns None for a call that takes no time at inference, such as a view or the creation of a tensor.
    """
    if func.is_view:
        return None
    packet = func.overloadpacket
    name = packet.__name__.removesuffix("_")
    plain = getattr(aten, name, packet)  # An in-place operator `name_` is the same operation.
    first = out[0] if isinstance(out, (tuple, list)) else out
    output = tuple(first.shape) if isinstance(first, torch.Tensor) else ()
    tensors = tuple(tuple(a.shape) for a in args if isinstance(a, torch.Tensor))
    if packet is aten.convolution:
        return Operation("conv", tensors[:1], output, _convolution_attributes(args))
    if packet in LINEAR:
        return Operation("linear", (tuple(args[LINEAR[packet]].shape),), output)
    if packet in MATMUL:
        start = MATMUL[packet]
        return Operation("matmul", tensors[start : start + 2], output)
    if packet is aten.embedding:
        return Operation("move", (output,), output)  # It reads only the rows that it copies, not the whole table.
    if packet in ATTENTION:
        return Operation("attention", tensors[:3], output)
    if packet in (aten.max_pool2d_with_indices, aten.avg_pool2d):
        kind = "avg_pool" if packet is aten.avg_pool2d else "max_pool"
        stride = tuple(args[2]) if len(args) > 2 and args[2] else tuple(args[1])
        padding = tuple(args[3]) if len(args) > 3 else (0, 0)
        return Operation(kind, tensors[:1], output, (("kernel", tuple(args[1])), ("stride", stride), ("padding", padding)))
    if plain in UNARY:
        return Operation(UNARY[plain], tensors[:1], output)
    if plain in BINARY:
        return Operation(BINARY[plain], tensors, output)
    if packet is aten.cat:
        shapes = tuple(tuple(t.shape) for t in args[0])
        return Operation("concat", shapes, output, (("axis", args[1] if len(args) > 1 else 0),))
    if name in NO_COST:
        return None
    if name in MOVES or name in NO_MACS or torch.Tag.pointwise in func.tags:
        return Operation("move" if name in MOVES else f"other:{name}", tensors, output) if tensors else None
    return Operation(f"{UNKNOWN}{packet}", tensors, output)


def _convolution_attributes(args: Any) -> tuple[tuple[str, Any], ...]:
    names = ("kernel", "stride", "padding", "dilation", "groups")
    values = (tuple(args[1].shape[2:]), tuple(args[3]), tuple(args[4]), tuple(args[5]), args[8])
    return (*zip(names, values, strict=True), *((("transposed", 1),) if args[6] else ()))


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _shape(text: str) -> Shape:
    return tuple(map(int, text.split("x")))
