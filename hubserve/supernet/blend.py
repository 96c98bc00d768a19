"""`Blend`: the weights with which a choice's candidates are summed; `BlendContext`: holds them during a forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from hubserve.space import Choice


@dataclass(frozen=True)
class Blend:
    """The weights with which the outputs of one choice's candidates are summed in one forward pass.

    Attributes:
        weights: The weight of each of n candidates, shape (n,). Gradients flow back through it.
        held: Indices of the candidates that are computed. All others are skipped, whatever their weights are.
    """

    weights: torch.Tensor
    held: tuple[int, ...]

    @classmethod
    def all_of(cls, weights: torch.Tensor) -> Blend:
        """Returns the blend with these weights, in which all candidates are computed."""
        return cls(weights, tuple(range(len(weights))))

    @classmethod
    def only(cls, choice: Choice, answer: Any) -> Blend:
        """Returns the blend with all weight on `answer`: the output is that of the single network with this answer."""
        chosen = choice.indices(answer)
        return cls(choice.relaxation.certain(len(choice.candidates), chosen), tuple(chosen))


@dataclass
class BlendContext:
    """Values that the layers of a blended network read during a forward pass; `BlendedNetwork.run` sets them before each pass.

    Attributes:
        blends: Maps the label of each blended choice to its blend.
        keeps: Maps the key of each masked tensor (e.g. a layer norm's weight) to its expected mask, numbers in [0, 1].
        depth_sums: Maps the name of each repeat that is being run to the weighted sum of the outputs at the depths run so far.
    """

    blends: Mapping[str, Blend] = field(default_factory=dict)
    keeps: Mapping[str, torch.Tensor] = field(default_factory=dict)
    depth_sums: dict[str, torch.Tensor] = field(default_factory=dict)
