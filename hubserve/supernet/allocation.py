"""Allocates the shared tensors of a supernet: finds the size of each tensor and fills it with fresh weights."""

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
"""Function of an arch and of a function that makes its picker; returns the network and a list of its tensors."""


def allocate(tensors: SharedTensors, space: ModelSpace, build: BuildWith, rng: Random) -> None:
    """Allocates `tensors` in the sizes that sampled networks of the space need, and fills them with fresh weights.

    Builds the archs of `largest` and `varied` (see `probe_archs`), then random archs until `PATIENCE` of them in a row have
    neither a new tensor nor a larger one. The fresh weights of a shared tensor are copied from the network in which it is
    largest.

    Args:
        tensors: The shared tensors to fill; it must be empty.
        space: Any model space.
        build: Builds networks of the space. It is called on the meta device to find sizes, and on the CPU to get weights.
        rng: Draws the random archs.

    Raises:
        SupernetError: Tensors with different numbers of axes have the same key.
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
    """Returns a picker that answers numbers from `arch` and builds all candidates of layer choices and edges.

    A network built with it has the tensors of many archs at once. It is built only to find the sizes of tensors; it is never
    run.
    """
    return BlendingPicker(arch, tags, BlendContext(), frozenset())


def _largest_networks(space: ModelSpace) -> Iterator[Arch]:
    """Yields those archs of `largest(space)` that differ in an answer other than those to layer choices and edges.

    `_every_layer` builds all candidates of layer choices and edges, so archs that differ only in these give the same network.
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
    """Records the largest shape of each tensor over several networks, and the network in which the tensor is largest.

    Attributes:
        shapes: Maps each key to the smallest shape that holds the tensor of every network added so far.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._most: dict[str, tuple[int, int]] = {}
        self._networks: list[tuple[Arch, MakePicker]] = []

    def add(self, arch: Arch, picker: MakePicker, found: Iterable[NetworkTensor]) -> bool:
        """Records the tensors of one network; returns True if one of them is new or larger than those recorded before."""
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
        """Yields ((arch, picker), keys): one network, and the keys of the tensors that are largest in that network.

        Networks in which no tensor is largest are left out.
        """
        for i, network in enumerate(self._networks):
            keys = {key for key, (_, best) in self._most.items() if best == i}
            if keys:
                yield network, keys
