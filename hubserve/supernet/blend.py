"""The weights of a choice's candidates in one pass, and where modules read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from hubserve.space import Choice


@dataclass(frozen=True)
class Blend:
    """The weights with which the candidates of one choice take part in a pass.

    Attributes:
        weights: One weight for each of n candidates, shape (n,). Gradients go back through it.
        held: Indices of the candidates that run. The others are not computed, whatever their weights are.
    """

    weights: torch.Tensor
    held: tuple[int, ...]

    @classmethod
    def all_of(cls, weights: torch.Tensor) -> Blend:
        """All candidates run."""
        return cls(weights, tuple(range(len(weights))))

    @classmethod
    def only(cls, choice: Choice, answer: Any) -> Blend:
        """All weight on `answer`: the output is that of the single network with that answer."""
        chosen = choice.indices(answer)
        return cls(choice.relaxation.certain(len(choice.candidates), chosen), tuple(chosen))


@dataclass
class BlendContext:
    """What the modules of one blended network read during a forward pass.

    `BlendedNetwork.run` sets it.

    Attributes:
        blends: Label -> blend.
        keeps: Key of a layer norm's weight -> how much of each channel is kept (channels,), where channels are searched.
        depth_sums: Name of a repeat that is under way -> weighted sum of the outputs at the depths passed so far.
    """

    blends: Mapping[str, Blend] = field(default_factory=dict)
    keeps: Mapping[str, torch.Tensor] = field(default_factory=dict)
    depth_sums: dict[str, torch.Tensor] = field(default_factory=dict)
