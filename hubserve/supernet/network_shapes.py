"""Finds the modules and tensor shapes of a space's networks by building them on the meta device, without memory for weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from hubserve.errors import ArchError
from hubserve.space import ModelSpace
from hubserve.supernet.blend import BlendContext
from hubserve.supernet.blending_picker import BlendingPicker
from hubserve.supernet.tensor_keys import AnswerTags, NetworkTensor, modules_by_key, network_tensors


@dataclass(frozen=True)
class NetworkShapes:
    """The modules and tensors of one network, which was built on the meta device.

    Attributes:
        modules: Maps keys with type ("key:Type", see `modules_by_key`) to modules.
        tensors: Maps keys to tensors. If several places of the network hold one tensor, it is the first.
        shapes: Maps the keys of `tensors` to the tensors' shapes.
    """

    modules: dict[str, nn.Module]
    tensors: dict[str, NetworkTensor]
    shapes: dict[str, tuple[int, ...]]


class NetworkShapesCache:
    """Builds and caches the `NetworkShapes` of the archs of a space.

    Args:
        space: Any model space.
        layers: True builds each network with all candidates of layer choices and edges; False with those of its arch only.
    """

    def __init__(self, space: ModelSpace, *, layers: bool) -> None:
        self.space = space
        self.layers = layers
        self._seen: dict[str, NetworkShapes | None] = {}

    def get(self, answers: Mapping[str, Any]) -> NetworkShapes | None:
        """Returns the shapes of the network of `answers` (to all labels); None if the builder refuses the combination."""
        name = json.dumps(answers, sort_keys=True)
        if name not in self._seen:
            self._seen[name] = self._build(answers)
        return self._seen[name]

    def shapes(self, answers: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each tensor by key for the network of `answers`; empty if the builder refuses these."""
        found = self.get(answers)
        return {} if found is None else found.shapes

    def _build(self, answers: Mapping[str, Any]) -> NetworkShapes | None:
        tags = AnswerTags()
        try:
            with torch.device("meta"):
                network = self.space.build(BlendingPicker(answers, tags, BlendContext(), frozenset(), layers=self.layers))
        except ArchError:
            return None
        tensors: dict[str, NetworkTensor] = {}
        for tensor in network_tensors(network, tags):
            tensors.setdefault(tensor.key, tensor)
        shapes = {key: tensor.shape for key, tensor in tensors.items()}
        return NetworkShapes(modules_by_key(network, tags), tensors, shapes)
