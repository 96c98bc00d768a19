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
    neither a new tensor nor a larger one. The archs of `largest` are built with all candidates of layer choices and edges, so
    an arch that differs from one of them only in answers to these choices has no other tensors and is not built. The fresh
    weights of a shared tensor are copied from the network in which it is largest.

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
        whole = _WholeNetworks()
        for arch in largest(space):
            if not whole.include(arch):
                sizes.add(arch, _every_layer, build(arch, whole.picker)[1])
                whole.add(arch)
        for arch in varied(space):
            if not whole.include(arch):
                sizes.add(arch, TaggingPicker, build(arch, TaggingPicker)[1])
        without_news = 0
        for arch in random_answers(space, rng):
            known = whole.include(arch) or not sizes.add(arch, TaggingPicker, build(arch, TaggingPicker)[1])
            without_news = without_news + 1 if known else 0
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


class _WholeNetworks:
    """The networks that were built with all candidates of layer choices and edges.

    Such a network has the tensors of all archs that differ from its own only in answers to layer choices and edges.
    """

    def __init__(self) -> None:
        self._layers: set[str] | None = None
        self._seen: set[str] = set()

    def picker(self, arch: Arch, tags: AnswerTags) -> BlendingPicker:
        """Returns the picker for the next network; `add` reads from it which labels are layer choices and edges."""
        picker = _every_layer(arch, tags)
        self._layers = picker.layers if self._layers is None else self._layers
        return picker

    def add(self, arch: Arch) -> None:
        """Records that the network of `arch` was built with `picker`."""
        self._seen.add(self._other_answers(arch))

    def include(self, arch: Arch) -> bool:
        """Returns whether a recorded network has the answers of `arch` to all choices except layer choices and edges."""
        return bool(self._seen) and self._other_answers(arch) in self._seen

    def _other_answers(self, arch: Arch) -> str:
        layers = self._layers or ()
        return json.dumps({label: answer for label, answer in sorted(arch.items()) if label not in layers})


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
                known, size = self.shapes.get(tensor.key), tensor.value.numel()
                shape = tensor.shape if known is None else larger(known, tensor)
                news |= shape != known
                self.shapes[tensor.key] = shape
                if known is None or size > self._most[tensor.key][0]:
                    self._most[tensor.key] = (size, len(self._networks))
        self._networks.append((arch, picker))
        return news

    def by_network(self) -> Iterator[tuple[tuple[Arch, MakePicker], set[str]]]:
        """Yields ((arch, picker), keys): one network, and the keys of the tensors that are largest in that network.

        Networks in which no tensor is largest are left out.
        """
        keys: dict[int, set[str]] = {}
        for key, (_, best) in self._most.items():
            keys.setdefault(best, set()).add(key)
        for i in sorted(keys):
            yield self._networks[i], keys[i]
