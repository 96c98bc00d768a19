"""The supernet: weights that all networks of a space share."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Self

import torch
from torch import nn

from hubserve.space import Arch, ModelSpace
from hubserve.supernet.memory import activation_bytes
from hubserve.supernet.probe_archs import PATIENCE, largest, random_answers, varied
from hubserve.supernet.tensor_keys import EveryLayerPicker, Slot, TaggingPicker, Tags, slots
from hubserve.supernet.tensors import SharedTensors, larger

Build = Callable[[], tuple[nn.Module, list[Slot]]]
"""Builds a network and finds its tensors."""


@dataclass(frozen=True)
class Subnet:
    """A network whose parameters and norm statistics are windows of a supernet's.

    Attributes:
        network: a plain module. Its parameters are leaves of their own that share memory with the supernet's: a gradient is
            as large as the window, and a step of a `SharedOptimizer` moves the supernet. Where a window is all of a shared
            tensor, the parameter is the supernet's own.
        slots: the places of its shared tensors.
    """

    network: nn.Module
    slots: tuple[Slot, ...]

    @property
    def leaves(self) -> dict[str, nn.Parameter]:
        """Key -> the leaf that is trained. A tensor at several places is one leaf."""
        return {slot.key: slot.tensor for slot in self.slots if not slot.is_buffer}


class Supernet(nn.Module):
    """Weights shared by all networks of a space; each network runs on windows of them.

    A window is the beginning of each axis, and the middle of the axes of a kernel (Cai et al. 2020, "Once-for-All",
    https://arxiv.org/abs/1908.09791, without its kernel transform matrices; Chen et al. 2021, AutoFormer, "weight
    entanglement"). Candidates of a layer choice have weights of their own, and so have operations on different inputs. See
    `slots` for what counts as the same tensor. Running statistics of norms are shared in the same way, and are of little
    worth until `recalibrate_batch_norm` has measured them for one arch. Weights start as the space initialises them.

    How large the tensors get is found by building networks on the meta device. Should an arch need more room yet, there will
    be more, without loss; optimizers made before, other than `SharedOptimizer`, then do not know the new tensor.

    >>> net = Supernet(get_space("MobileNetV3Space"))
    >>> logits = net(images, space.random(rng))

    Args:
        space: any model space.
        seed: of the fresh weights.
        cache: networks kept ready, the most recently used ones.

    Attributes:
        tensors: the shared tensors by key.
        version: counts how often tensors were replaced, by larger ones or on another device.

    Shapes:
        forward: what the networks of the space take and give.

    Raises:
        SupernetError: tensors of different rank fall together; the message names them.
    """

    def __init__(self, space: ModelSpace, *, seed: int = 0, cache: int = 64) -> None:
        super().__init__()
        self.space = space
        self.tensors = SharedTensors()
        self._cache: OrderedDict[str, Subnet] = OrderedDict()
        self._cache_size = cache
        self.version = 0
        self._rng = Random(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._allocate()

    def forward(self, x: Any, arch: Mapping[str, Any]) -> Any:
        """Runs the network of `arch`; gradients arrive in this module's parameters.

        Raises:
            ArchError: `arch` is not of the space.
        """
        subnet = self._ready(arch)
        windows = {slot.path: self.tensors.of(slot) for slot in subnet.slots if not slot.is_buffer}
        return torch.func.functional_call(subnet.network, windows, (x,))

    def subnet(self, arch: Mapping[str, Any]) -> Subnet:
        """The network of `arch` on this supernet's memory, in the supernet's mode (training or evaluation).

        It costs no more to run and to train than the bare network. Take it anew for each step: it is kept ready.

        Raises:
            ArchError: `arch` is not of the space.
        """
        return self._ready(arch)

    def extract(self, arch: Mapping[str, Any]) -> nn.Module:
        """A network of its own with copies of the weights: what `space.freeze(arch)` builds, with its keys, in eval mode.

        Raises:
            ArchError: `arch` is not of the space.
        """
        network, found = self._build(arch)
        self._make_room(partial(self._build, arch), found)
        with torch.no_grad():
            for slot in found:
                if slot.is_shared:
                    slot.tensor.copy_(self.tensors.of(slot))
        return network.eval()

    def activation_bytes(self, x: torch.Tensor) -> int:
        """Bytes that the largest network keeps for its backward pass on batches like `x`; runs on no numbers."""
        arch = next(largest(self.space), None) or self.space.random(Random(0))
        with torch.device("meta"):
            network = self._build(arch)[0].train()
            if x.is_floating_point():
                network.to(x.dtype)
            return activation_bytes(network, lambda: network(torch.empty(x.shape, dtype=x.dtype)))

    def dump(self) -> dict[str, Any]:
        """All shared tensors, as `restore` takes them; no copies."""
        return self.tensors.dump()

    def restore(self, found: Mapping[str, Any]) -> None:
        """Takes the values that `dump` gave, of a supernet of the same space."""
        if self.tensors.restore(found):
            self.forget_networks()

    def _ready(self, arch: Mapping[str, Any]) -> Subnet:
        canonical = self.space.canonical(arch)
        key = json.dumps(canonical)
        subnet = self._cache.pop(key, None) or self.view(partial(self._build, canonical))
        self._cache[key] = subnet
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        if subnet.network.training != self.training:
            subnet.network.train(self.training)
        return subnet

    def view(self, build: Build) -> Subnet:
        """What `build` builds, on this supernet's memory.

        Args:
            build: gives a network and its slots; called on the meta device, and on the CPU where values are needed.
        """
        with torch.device("meta"):
            network, found = build()
        if _has_constants(network, found):
            network, found = build()
            some = next(self.tensors.parameters())
            network.to(some.device, some.dtype)
        self._make_room(build, found)
        shared = tuple(slot for slot in found if slot.is_shared)
        leaves: dict[str, torch.Tensor] = {}
        for slot in shared:
            if slot.key not in leaves:
                leaves[slot.key] = _leaf(self.tensors[slot.key], self.tensors.of(slot))
            slot.put(leaves[slot.key])
        network.train(self.training)
        return Subnet(network, shared)

    def _build(self, arch: Mapping[str, Any], kind: type[TaggingPicker] = TaggingPicker) -> tuple[nn.Module, list[Slot]]:
        self.space.check(dict(arch))
        tags = Tags()
        network = self.space.build(kind(arch, tags))
        return network, slots(network, tags)

    def _allocate(self) -> None:
        """Finds the largest shapes, and in which network each tensor has its fresh values."""
        census = _Census()
        with torch.device("meta"):
            for arch in self._largest():
                census.count(arch, EveryLayerPicker, self._build(arch, EveryLayerPicker)[1])
            for arch in varied(self.space):
                census.count(arch, TaggingPicker, self._build(arch)[1])
            quiet = 0
            for arch in random_answers(self.space, self._rng):
                quiet = 0 if census.count(arch, TaggingPicker, self._build(arch)[1]) else quiet + 1
                if quiet == PATIENCE:
                    break
        for (arch, kind), keys in census.by_network():
            for slot in self._build(arch, kind)[1]:
                if slot.key in keys and slot.key not in self.tensors:
                    self.tensors.put(slot, slot.tensor.detach(), census.shapes[slot.key])

    def _largest(self) -> Iterator[Arch]:
        """The largest networks that differ in values: of what is a layer or an edge, each has all candidates."""
        seen: set[str] = set()
        for arch in largest(self.space):
            picker = EveryLayerPicker(arch, Tags())
            if not seen:
                self.space.build(picker)
                everywhere = picker.opened
            values = json.dumps({label: answer for label, answer in arch.items() if label not in everywhere})
            if values not in seen:
                seen.add(values)
                yield arch

    def _make_room(self, build: Build, found: Iterable[Slot]) -> None:
        """Enlarges what is too small for a network: an arch may need more than all those that were looked at."""
        narrow = {slot.key for slot in found if slot.is_shared and not self.tensors.has_room(slot)}
        if narrow:
            self.forget_networks()
            for slot in build()[1]:
                if slot.key in narrow:
                    known = tuple(self.tensors[slot.key].shape) if slot.key in self.tensors else slot.shape
                    self.tensors.put(slot, slot.tensor.detach(), larger(known, slot))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        # Moving to another device or type makes new tensors, which the networks kept ready do not see.
        self.forget_networks()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def forget_networks(self) -> None:
        """Drops the networks that are kept ready; those that were given out no longer see what happens here."""
        self._cache.clear()
        self.version += 1

    def __getstate__(self) -> dict[str, Any]:
        # Networks are built anew where they are needed: a copy in another process has tensors of its own.
        return {**self.__dict__, "_cache": OrderedDict()}  # type: ignore[no-untyped-call]


class _Census:
    """The largest shape of each tensor, and the network that shows most of it."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._most: dict[str, tuple[int, int]] = {}
        self._networks: list[tuple[Arch, type[TaggingPicker]]] = []

    def count(self, arch: Arch, kind: type[TaggingPicker], found: Iterable[Slot]) -> bool:
        """Takes in the tensors of one network; returns whether there was anything new."""
        news = False
        for slot in found:
            if slot.is_shared:
                shape = larger(self.shapes.get(slot.key, slot.shape), slot)
                news |= shape != self.shapes.get(slot.key)
                self.shapes[slot.key] = shape
                if slot.tensor.numel() > self._most.get(slot.key, (-1, 0))[0]:
                    self._most[slot.key] = (slot.tensor.numel(), len(self._networks))
        self._networks.append((arch, kind))
        return news

    def by_network(self) -> Iterator[tuple[tuple[Arch, type[TaggingPicker]], set[str]]]:
        """The networks that are worth building, and the keys that each shows most of."""
        for i, network in enumerate(self._networks):
            keys = {key for key, (_, best) in self._most.items() if best == i}
            if keys:
                yield network, keys


def _leaf(full: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    """What a network holds in place of a tensor of its own."""
    if view.shape == full.shape:
        return full
    if isinstance(full, nn.Parameter):
        return nn.Parameter(view.detach(), requires_grad=full.requires_grad)
    return view


def _has_constants(network: nn.Module, found: Iterable[Slot]) -> bool:
    """Whether the network holds numbers that its builder computed: on the meta device they are lost."""
    if not all(slot.is_shared for slot in found):
        return True
    return any(isinstance(value, torch.Tensor) for module in network.modules() for value in vars(module).values())
