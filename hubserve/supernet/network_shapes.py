"""Modules and tensor shapes of the networks of a space, found on the meta device."""

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
    """Modules and tensors of one network, which was built on the meta device.

    Attributes:
        modules: Key with type -> module, as `modules_by_key` names them.
        tensors: Key -> tensor; the first occurrence, if the network has the tensor in several places.
        shapes: Key -> shape of the tensor.
    """

    modules: dict[str, nn.Module]
    tensors: dict[str, NetworkTensor]
    shapes: dict[str, tuple[int, ...]]


class NetworkShapesCache:
    """`NetworkShapes` of the archs of a space, built when first asked for.

    Args:
        space: Any model space.
        layers: Whether each network has all candidates of layer choices and edges, rather than those of its arch.
    """

    def __init__(self, space: ModelSpace, *, layers: bool) -> None:
        self.space = space
        self.layers = layers
        self._seen: dict[str, NetworkShapes | None] = {}

    def get(self, answers: Mapping[str, Any]) -> NetworkShapes | None:
        """The network of `answers` to all labels; None where the builder refuses them together."""
        name = json.dumps(answers, sort_keys=True)
        if name not in self._seen:
            self._seen[name] = self._build(answers)
        return self._seen[name]

    def shapes(self, answers: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Key -> shape of each tensor; empty where the builder refuses `answers` together."""
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
