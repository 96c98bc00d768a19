"""Modules that run several candidates at once and weigh what they give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from hubserve.errors import SupernetError
from hubserve.space import Choice
from hubserve.supernet.tensor_keys import Alternatives, Transparent


@dataclass(frozen=True)
class Blend:
    """How the candidates of one choice are weighed.

    Attributes:
        weights: one for each candidate (n,); gradients go back through it.
        held: indices of the candidates that run; the others are not computed, whatever their weights.
    """

    weights: torch.Tensor
    held: tuple[int, ...]

    @classmethod
    def all_of(cls, weights: torch.Tensor) -> Blend:
        """All candidates run."""
        return cls(weights, tuple(range(len(weights))))


@dataclass
class Mixture:
    """What the modules of one network read during a forward pass.

    Attributes:
        blends: label -> blend.
        keeps: name of a norm's weight -> how much of each channel is kept, where channels are searched.
        prefixes: what the repeats that are under way have summed up so far.
    """

    blends: Mapping[str, Blend] = field(default_factory=dict)
    keeps: Mapping[str, torch.Tensor] = field(default_factory=dict)
    prefixes: dict[str, torch.Tensor] = field(default_factory=dict)


class MixedLayer(Alternatives):
    """The weighted sum of the candidates of a layer choice (Liu et al. 2019, DARTS, equation 2).

    Raises (when run):
        SupernetError: candidates give different shapes.
    """

    def __init__(self, label: str, candidates: Iterable[nn.Module], mixture: Mixture) -> None:
        super().__init__(candidates)
        self.label = label
        self.mixture = mixture

    def forward(self, *inputs: Any) -> Any:
        blend = self.mixture.blends[self.label]
        total: Any = None
        for i in blend.held:
            part = blend.weights[i] * self.candidates[i](*inputs)
            if total is not None and part.shape != total.shape:
                raise SupernetError(
                    f"the candidates of {self.label!r} give different shapes, {tuple(total.shape)} and {tuple(part.shape)}, "
                    "and cannot be added up; use RandomOneShot or ENAS, which run one of them at a time"
                )
            total = part if total is None else total + part
        return total


class WeighedEdge(Transparent):
    """A layer on one of several inputs, times the weight of that input; nothing where the input is not held."""

    def __init__(self, label: str, index: int, inner: nn.Module, mixture: Mixture, choice: Choice) -> None:
        super().__init__()
        self.inner = inner
        self.label = label
        self.index = index
        self.mixture = mixture
        self.choice = choice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blend = self.mixture.blends[self.label]
        if self.index not in blend.held:
            return x.new_zeros([1] * x.dim())
        # The weights of a choice of k inputs add up to 1, and k of them are added in a single network.
        return self.choice.expected_chosen(blend.weights)[self.index] * self.inner(x)


class RepeatedBlock(Transparent):
    """One block of a repeat. The last one gives the weighted sum of what comes out at each depth.

    Raises (when run):
        SupernetError: the shape changes between depths.
    """

    def __init__(self, label: str, place: int, depths: Sequence[int], inner: nn.Module, mixture: Mixture, group: str) -> None:
        super().__init__()
        self.inner = inner
        self.label = label
        self.place = place
        self.depths = tuple(depths)
        self.mixture = mixture
        self.group = group

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blend = self.mixture.blends[self.label]
        if self.place == 0:
            self.mixture.prefixes.pop(self.group, None)
            self._add(x, 0, blend)
        deepest = max(self.depths[i] for i in blend.held)
        y = self.inner(x) if self.place < deepest else x
        if self.place < deepest:
            self._add(y, self.place + 1, blend)
        return self.mixture.prefixes.pop(self.group) if self.place + 1 == max(self.depths) else y

    def _add(self, y: torch.Tensor, depth: int, blend: Blend) -> None:
        if depth not in self.depths or self.depths.index(depth) not in blend.held:
            return
        part = blend.weights[self.depths.index(depth)] * y
        total = self.mixture.prefixes.get(self.group)
        if total is not None and total.shape != part.shape:
            raise SupernetError(
                f"the depths of {self.label!r} give different shapes, {tuple(total.shape)} and {tuple(part.shape)}, and cannot "
                "be added up; use RandomOneShot or ENAS, which run one depth at a time"
            )
        self.mixture.prefixes[self.group] = part if total is None else total + part


class OptionalLayer(Transparent):
    """A layer that only some answers bring in: the weighted sum of what it gives and what it is given."""

    def __init__(self, label: str, present: Sequence[bool], inner: nn.Module, mixture: Mixture) -> None:
        super().__init__()
        self.inner = inner
        self.label = label
        self.mixture = mixture
        self.with_it = tuple(i for i, there in enumerate(present) if there)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blend = self.mixture.blends[self.label]
        if not any(i in blend.held for i in self.with_it):
            return x
        keep = torch.stack([blend.weights[i] for i in self.with_it]).sum()
        y = self.inner(x)
        if y.shape != x.shape:
            raise SupernetError(
                f"the layer that {self.label!r} brings in changes the shape {tuple(x.shape)} to {tuple(y.shape)}: what it "
                "gives and what it is given cannot be added up; ask with pick.layer, or use RandomOneShot"
            )
        return keep * y + (1 - keep) * x


class KeptLayerNorm(Transparent):
    """A layer norm over channels of which some are searched: mean and variance count each as much as it is kept."""

    def __init__(self, name: str, inner: nn.LayerNorm, mixture: Mixture) -> None:
        super().__init__()
        self.inner: nn.LayerNorm = inner
        self.name = name
        self.mixture = mixture

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keep = self.mixture.keeps[self.name]
        share = keep / keep.sum()
        centred = x - (x * share).sum(-1, keepdim=True)
        y = centred * ((centred.square() * share).sum(-1, keepdim=True) + self.inner.eps).rsqrt()
        return y * self.inner.weight + self.inner.bias if self.inner.elementwise_affine else y * keep
