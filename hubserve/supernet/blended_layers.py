"""Layers of a blended network: each runs several candidates and returns the weighted sum of their outputs.

Outputs may be tensors, or lists, tuples and dicts of tensors, which are summed leaf by leaf. Each layer reads the weights of
its choice from the `BlendContext` of its network. docs/supernets.md has drawings of them.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import nn

from hubserve.data.nested_batches import leaves
from hubserve.errors import SupernetError
from hubserve.space import Choice
from hubserve.supernet.blend import Blend, BlendContext
from hubserve.supernet.tensor_keys import CandidateLayers, Wrapper
from hubserve.supernet.weighted_sums import plus, same_shapes, times, zeros_like


class MixedLayer(CandidateLayers):
    """Returns the weighted sum of the outputs of all candidates of a layer choice.

    Liu et al. 2019, "DARTS", https://arxiv.org/abs/1806.09055, equation 2.

    Args:
        label: Label of the layer choice.
        candidates: The candidate layers, in the order of the weights. Their outputs must have the same shapes, and be nested in
            the same way if they are no tensors.
        context: Holds the weights of the candidates during a forward pass.

    Raises (when run):
        SupernetError: The outputs of candidates have different shapes, or are nested in different ways.
    """

    def __init__(self, label: str, candidates: Iterable[nn.Module], context: BlendContext) -> None:
        super().__init__(candidates)
        self.label = label
        self.context = context

    def forward(self, *inputs: Any, **named: Any) -> Any:
        weights = self.context.parts(self.label)
        held = self.context.blends[self.label].held
        parts = (times(weights[i], self.context.run(self.candidates[i], *inputs, **named)) for i in held)
        return reduce(lambda total, part: plus(total, part, f"the candidates of {self.label!r}", "of them"), parts)


class WeightedEdge(Wrapper):
    """Runs a layer on one of several inputs and multiplies the output by the weight of that input (see `BlendContext.chosen`).

    If the input is not in `held` of the blend, the layer is not run, and zeros of shape (1, ..., 1) are returned, nested as the
    input is.

    Args:
        choice: The choice of inputs.
        index: Index of this input among the candidates.
        inner: The layer on this input.
        context: Holds the weights of the inputs during a forward pass.
    """

    def __init__(self, choice: Choice, index: int, inner: nn.Module, context: BlendContext) -> None:
        super().__init__()
        self.inner = inner
        self.choice = choice
        self.index = index
        self.context = context

    def forward(self, x: Any, *more: Any, **named: Any) -> Any:
        blend = self.context.blends[self.choice.label]
        if self.index not in blend.held:
            return zeros_like(x)
        # The weights of a choice of k inputs add up to 1, and a single network adds up k of them.
        return times(self.context.chosen(self.choice)[self.index], self.inner(x, *more, **named))


class RepeatedBlock(Wrapper):
    """One block of a repeat; the last block returns the weighted sum of the outputs at all candidate depths.

    The first argument of a block is the output of the block before it.

    Args:
        label: Label of the repeat.
        index: Index of this block in the repeat, from 0.
        depths: The candidate depths, in the order of the weights.
        inner: The wrapped block.
        context: Holds the weights of the depths, and the sum so far, during a forward pass.
        group: Unique name of this repeat in the network; several repeats may have the same label.

    Raises (when run):
        SupernetError: The outputs at two depths have different shapes.
    """

    def __init__(
        self, label: str, index: int, depths: Sequence[int], inner: nn.Module, context: BlendContext, group: str
    ) -> None:
        super().__init__()
        self.inner = inner
        self.label = label
        self.index = index
        self.depths = tuple(depths)
        self.context = context
        self.group = group

    def forward(self, x: Any, *more: Any, **named: Any) -> Any:
        blend = self.context.blends[self.label]
        if self.index == 0:
            self.context.depth_sums.pop(self.group, None)
            self._add(x, 0, blend)
        deepest = max(self.depths[i] for i in blend.held)
        y = self.inner(x, *more, **named) if self.index < deepest else x
        if self.index < deepest:
            self._add(y, self.index + 1, blend)
        return self.context.depth_sums.pop(self.group) if self.index + 1 == max(self.depths) else y

    def _add(self, y: Any, depth: int, blend: Blend) -> None:
        if depth not in self.depths or self.depths.index(depth) not in blend.held:
            return
        part = times(self.context.parts(self.label)[self.depths.index(depth)], y)
        sums = self.context.depth_sums
        if self.group in sums:
            part = plus(sums[self.group], part, f"the depths of {self.label!r}", "depth")
        sums[self.group] = part


class OptionalLayer(Wrapper):
    """A layer that only some candidates have: returns w * output + (1 - w) * input, where w is the weight of those candidates.

    Args:
        label: Label of the choice.
        present: One bool for each candidate of the choice: True if the network of that candidate has the layer.
        inner: The wrapped layer; its output must have the shape of its input.
        context: Holds the weights of the candidates during a forward pass.

    Raises (when run):
        SupernetError: The layer changes the shape of its input. The layer is not run while no candidate that has it is held.
    """

    def __init__(self, label: str, present: Sequence[bool], inner: nn.Module, context: BlendContext) -> None:
        super().__init__()
        self.inner = inner
        self.label = label
        self.context = context
        self.with_layer = tuple(i for i, there in enumerate(present) if there)

    def forward(self, x: Any, *more: Any, **named: Any) -> Any:
        blend = self.context.blends[self.label]
        if not any(i in blend.held for i in self.with_layer):
            return x
        weights = self.context.parts(self.label)
        keep = torch.stack([weights[i] for i in self.with_layer]).sum()
        y = self.inner(x, *more, **named)
        if not same_shapes(x, y):
            raise SupernetError(
                f"the layer that {self.label!r} brings in changes the shape {_shapes(x)} to {_shapes(y)}: its output "
                "and its input cannot be added up; ask with pick.layer, or use RandomOneShot"
            )
        return plus(times(keep, y), times(1 - keep, x), f"the layer that {self.label!r} brings in and its input", "of them")


class KeptLayerNorm(Wrapper):
    """A layer norm over channels whose number is searched.

    Mean and variance are weighted averages over the channels; the weight of a channel is its expected mask in `context.keeps`.
    The output of a norm without affine parameters is multiplied by this mask.

    Args:
        key: Key of the norm's weight, by which its mask is found in `context.keeps`.
        inner: The wrapped layer norm, over the last axis.
        context: Holds the expected mask during a forward pass.
    """

    def __init__(self, key: str, inner: nn.LayerNorm, context: BlendContext) -> None:
        super().__init__()
        self.inner: nn.LayerNorm = inner
        self.key = key
        self.context = context

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keep = self.context.keeps[self.key]
        share = keep / keep.sum()
        centred = x - (x * share).sum(-1, keepdim=True)
        y = centred * ((centred.square() * share).sum(-1, keepdim=True) + self.inner.eps).rsqrt()
        return y * self.inner.weight + self.inner.bias if self.inner.elementwise_affine else y * keep


def _shapes(output: Any) -> str:
    return ", ".join(str(tuple(leaf.shape)) if isinstance(leaf, torch.Tensor) else repr(leaf) for leaf in leaves(output))
