"""Finds how large the tensors of a supernet get, and fills them with fresh weights."""

import json
from collections.abc import Callable, Iterable, Iterator
from random import Random

import torch
from torch import nn

from hubserve.space import Arch, ModelSpace
from hubserve.supernet.blend import BlendContext
from hubserve.supernet.blending_picker import BlendingPicker
from hubserve.supernet.probe_archs import PATIENCE, largest, random_answers, varied
from hubserve.supernet.shared_tensors import SharedTensors, larger
from hubserve.supernet.tensor_keys import AnswerTags, NetworkTensor, TaggingPicker

MakePicker = Callable[[Arch, AnswerTags], TaggingPicker]

BuildWith = Callable[[Arch, MakePicker], tuple[nn.Module, list[NetworkTensor]]]
"""Builds the network of an arch with the picker that a function makes, and lists its tensors."""


def allocate(tensors: SharedTensors, space: ModelSpace, build: BuildWith, rng: Random) -> None:
    """Allocates `tensors` in the sizes that sampled networks of the space need, and fills them with fresh weights.

    Looks at the largest networks, at varied ones, and at random ones until `PATIENCE` in a row bring nothing new. A tensor
    takes its weights from the network in which it is largest.

    Args:
        tensors: The shared tensors to fill; empty at first.
        space: Any model space.
        build: Builds networks of the space; first on the meta device.
        rng: Draws the random archs.

    Raises:
        SupernetError: Tensors with different numbers of axes have one key.
    """
    sizes = _LargestTensors()
    with torch.device("meta"):
        for arch in _largest_networks(space):
            sizes.add(arch, _every_layer, build(arch, _every_layer)[1])
        for arch in varied(space):
            sizes.add(arch, TaggingPicker, build(arch, TaggingPicker)[1])
        without_news = 0
        for arch in random_answers(space, rng):
            without_news = 0 if sizes.add(arch, TaggingPicker, build(arch, TaggingPicker)[1]) else without_news + 1
            if without_news == PATIENCE:
                break
    for (arch, picker), keys in sizes.by_network():
        for tensor in build(arch, picker)[1]:
            if tensor.key in keys and tensor.key not in tensors:
                tensors.allocate(tensor, sizes.shapes[tensor.key])


def _every_layer(arch: Arch, tags: AnswerTags) -> BlendingPicker:
    """A picker that answers numbers from `arch`, and builds all candidates of layer choices and edges.

    A network that is built with it has the tensors of many archs at once; it is never run.
    """
    return BlendingPicker(arch, tags, BlendContext(), frozenset())


def _largest_networks(space: ModelSpace) -> Iterator[Arch]:
    """The archs of `largest` that differ in numbers.

    `_every_layer` builds all candidates of layer choices and edges for each of them.
    """
    seen: set[str] = set()
    for arch in largest(space):
        if not seen:
            picker = _every_layer(arch, AnswerTags())
            space.build(picker)
        values = json.dumps({label: answer for label, answer in arch.items() if label not in picker.layers})
        if values not in seen:
            seen.add(values)
            yield arch


class _LargestTensors:
    """Finds how large each tensor must be, and the network in which it is largest.

    Attributes:
        shapes: Key -> smallest shape that holds the tensor of each network added.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._most: dict[str, tuple[int, int]] = {}
        self._networks: list[tuple[Arch, MakePicker]] = []

    def add(self, arch: Arch, picker: MakePicker, found: Iterable[NetworkTensor]) -> bool:
        """Records the tensors of one network; returns whether one of them was new or larger than those recorded before."""
        news = False
        for tensor in found:
            if tensor.is_shared:
                shape = larger(self.shapes.get(tensor.key, tensor.shape), tensor)
                news |= shape != self.shapes.get(tensor.key)
                self.shapes[tensor.key] = shape
                if tensor.value.numel() > self._most.get(tensor.key, (-1, 0))[0]:
                    self._most[tensor.key] = (tensor.value.numel(), len(self._networks))
        self._networks.append((arch, picker))
        return news

    def by_network(self) -> Iterator[tuple[tuple[Arch, MakePicker], set[str]]]:
        """Pairs ((arch, picker) of a network, keys of the tensors that are largest in that network).

        Networks without such tensors are left out.
        """
        for i, network in enumerate(self._networks):
            keys = {key for key, (_, best) in self._most.items() if best == i}
            if keys:
                yield network, keys
