"""What the networks of a space look like: their modules and the shapes of their tensors, looked at once for each arch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hubserve.errors import ArchError
from hubserve.space import ModelSpace
from hubserve.supernet.blend import Mixture
from hubserve.supernet.blending_picker import BlendingPicker
from hubserve.supernet.tensor_keys import Slot, Tags, kinds, slots


@dataclass(frozen=True)
class Anatomy:
    """Of one network, built on the meta device.

    Attributes:
        modules: by key and type.
        slots: places of its tensors by key; of a tensor at several places, the first.
        shapes: of its tensors by key.
    """

    modules: dict[str, nn.Module]
    slots: dict[str, Slot]
    shapes: dict[str, tuple[int, ...]]


class Atlas:
    """Anatomies of a space, remembered.

    Args:
        space: any model space.
        layers: whether all candidates of layer choices and edges are in each network.
    """

    def __init__(self, space: ModelSpace, *, layers: bool) -> None:
        self.space = space
        self.layers = layers
        self._seen: dict[str, Anatomy | None] = {}

    def look(self, answers: Mapping[str, Any]) -> Anatomy | None:
        """The network of these answers to all labels; None where they do not go together."""
        name = json.dumps(answers, sort_keys=True)
        if name not in self._seen:
            self._seen[name] = self._build(answers)
        return self._seen[name]

    def shapes(self, answers: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Key -> shape; nothing where the answers do not go together."""
        found = self.look(answers)
        return {} if found is None else found.shapes

    def _build(self, answers: Mapping[str, Any]) -> Anatomy | None:
        tags = Tags()
        try:
            with torch.device("meta"):
                network = self.space.build(BlendingPicker(answers, tags, Mixture(), frozenset(), layers=self.layers))
        except ArchError:
            return None
        found = slots(network, tags)
        places: dict[str, Slot] = {}
        for slot in found:
            places.setdefault(slot.key, slot)
        return Anatomy(kinds(network, tags), places, {key: slot.shape for key, slot in places.items()})
