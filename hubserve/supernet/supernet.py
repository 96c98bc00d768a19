"""The supernet: weights that all networks of a space share.

docs/supernets.md explains it with drawings.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Self

import torch
from torch import nn

from hubserve.space import Arch, ModelSpace
from hubserve.supernet.allocation import MakePicker, allocate
from hubserve.supernet.memory_estimates import activation_bytes
from hubserve.supernet.probe_archs import largest
from hubserve.supernet.recently_used import RecentlyUsed
from hubserve.supernet.shared_tensors import SharedTensors, larger
from hubserve.supernet.tensor_keys import AnswerTags, NetworkTensor, TaggingPicker, network_tensors

Build = Callable[[], tuple[nn.Module, list[NetworkTensor]]]
"""Builds a network and lists its tensors."""


@dataclass(frozen=True)
class Subnet:
    """A network whose parameters and norm statistics are windows of a supernet's tensors.

    Attributes:
        network: A plain module. Its parameters are leaf tensors that share memory with the supernet's: a gradient is as large
            as the window, and a step of a `SharedOptimizer` changes the supernet. Where a window is all of a shared tensor,
            the parameter is the supernet's own.
        tensors: The tensors of `network` that are shared.
    """

    network: nn.Module
    tensors: tuple[NetworkTensor, ...]

    @property
    def leaves(self) -> dict[str, nn.Parameter]:
        """Key -> parameter of `network`. A parameter that several modules share occurs once."""
        return {tensor.key: tensor.value for tensor in self.tensors if not tensor.is_buffer}


class Supernet(nn.Module):
    """Weights shared by all networks of a space; each network runs on windows of them.

    A window is the beginning of each axis, and the middle of the axes of a kernel (Cai et al. 2020, "Once-for-All",
    https://arxiv.org/abs/1908.09791, without its kernel transform matrices; Chen et al. 2021, "AutoFormer",
    https://arxiv.org/abs/2107.00651, "weight entanglement"). Candidates of a layer choice have weights of their
    own, and so have layers on different inputs; `network_tensors` says which tensors are the same. Running statistics of norms
    are shared in the same way, and fit no network until `recalibrate_batch_norm` has measured them for one arch. Weights start
    as the space initialises them. docs/supernets.md shows windows in a drawing.

    How large the tensors must be is found by building networks on the meta device. Where an arch needs a larger tensor than
    those networks did, the tensor grows and keeps its values; optimizers made before, other than `SharedOptimizer`, then do
    not know the new tensor.

    `state_dict` and `load_state_dict` are torch's; a state in which tensors have grown can be loaded, too.

    >>> net = Supernet(get_space("MobileNetV3Space"))
    >>> logits = net(images, space.random(rng))

    Args:
        space: Any model space.
        seed: Seed of the fresh weights.
        cache: Number of networks kept ready, those used last.

    Attributes:
        tensors: The shared tensors by key.
        version: Number of times that networks given out before became invalid, because tensors were replaced by larger ones
            or moved to another device.

    Shapes:
        forward: the inputs and outputs of the networks of the space.

    Raises:
        SupernetError: Tensors with different numbers of axes have one key; the message names it.
    """

    def __init__(self, space: ModelSpace, *, seed: int = 0, cache: int = 64) -> None:
        super().__init__()
        self.space = space
        self.tensors = SharedTensors()
        self._subnets: RecentlyUsed[Subnet] = RecentlyUsed(cache)
        self.version = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            allocate(self.tensors, space, self._build, Random(seed))

    def forward(self, x: Any, arch: Mapping[str, Any]) -> Any:
        """Runs the network of `arch`; gradients arrive in the parameters of this module.

        Raises:
            ArchError: `arch` is not in the space.
        """
        subnet = self.subnet(arch)
        windows = {tensor.path: self.tensors.window_of(tensor) for tensor in subnet.tensors if not tensor.is_buffer}
        return torch.func.functional_call(subnet.network, windows, (x,))

    def subnet(self, arch: Mapping[str, Any]) -> Subnet:
        """The network of `arch` on this supernet's memory, in this supernet's mode.

        It costs no more to run and to train than the bare network. Ask for it in each step: it is kept ready, and replaced
        where tensors have grown.

        Raises:
            ArchError: `arch` is not in the space.
        """
        canonical = self.space.canonical(arch)
        subnet = self._subnets.get(json.dumps(canonical), lambda: self.view(partial(self._build, canonical)))
        if subnet.network.training != self.training:
            subnet.network.train(self.training)
        return subnet

    def extract(self, arch: Mapping[str, Any]) -> nn.Module:
        """A network of `arch` with copies of the weights, in eval mode.

        It is what `space.freeze(arch)` builds, and its state dict has the same keys.

        Raises:
            ArchError: `arch` is not in the space.
        """
        build = partial(self._build, self.space.canonical(arch))
        network, found = build()
        self._grow(build, found)
        with torch.no_grad():
            for tensor in found:
                if tensor.is_shared:
                    tensor.value.copy_(self.tensors.window_of(tensor))
        return network.eval()

    def activation_bytes(self, x: torch.Tensor) -> int:
        """Bytes that the largest network keeps for its backward pass on batches like `x`.

        The pass runs on the meta device.
        """
        arch = next(largest(self.space), None) or self.space.random(Random(0))
        with torch.device("meta"):
            network, _ = self._build(arch)
        return activation_bytes(network, x, network)

    def view(self, build: Build) -> Subnet:
        """The network that `build` makes, on windows of this supernet's tensors.

        Args:
            build: Makes a network and lists its tensors; called on the meta device, and on the CPU where values are needed.
        """
        with torch.device("meta"):
            network, found = build()
        if _has_constants(network, found):
            network, found = build()
            some = next(self.tensors.parameters())
            network.to(some.device, some.dtype)
        self._grow(build, found)
        shared = tuple(tensor for tensor in found if tensor.is_shared)
        leaves: dict[str, torch.Tensor] = {}
        for tensor in shared:
            if tensor.key not in leaves:
                leaves[tensor.key] = _leaf(self.tensors[tensor.key], self.tensors.window_of(tensor))
            tensor.assign(leaves[tensor.key])
        network.train(self.training)
        return Subnet(network, shared)

    def forget_networks(self) -> None:
        """Drops the networks that are kept ready.

        Subnets that were returned before may not see later changes of the weights.
        """
        self._subnets.clear()
        self.version += 1

    def _build(self, arch: Arch, picker: MakePicker = TaggingPicker) -> tuple[nn.Module, list[NetworkTensor]]:
        tags = AnswerTags()
        network = self.space.build(picker(arch, tags))
        return network, network_tensors(network, tags)

    def _grow(self, build: Build, found: Iterable[NetworkTensor]) -> None:
        """Enlarges the shared tensors that are too small for a network with the tensors `found`."""
        narrow = {tensor.key for tensor in found if tensor.is_shared and not self.tensors.fits(tensor)}
        if narrow:
            self.forget_networks()
            for tensor in build()[1]:
                if tensor.key in narrow:
                    known = tuple(self.tensors[tensor.key].shape) if tensor.key in self.tensors else tensor.shape
                    self.tensors.allocate(tensor, larger(known, tensor))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        # Moving to another device or type makes new tensors, which the networks kept ready do not see.
        self.forget_networks()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def _load_from_state_dict(self, *args: Any) -> None:
        # Loading may replace tensors by larger ones; called before the tensors are loaded.
        self.forget_networks()
        super()._load_from_state_dict(*args)


def _leaf(full: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    """The tensor that a network holds for the shared tensor `full`, whose window is `view`.

    `full` itself where the window is all of it, else a leaf on the window.
    """
    if view.shape == full.shape:
        return full
    if isinstance(full, nn.Parameter):
        return nn.Parameter(view.detach(), requires_grad=full.requires_grad)
    return view


def _has_constants(network: nn.Module, found: Iterable[NetworkTensor]) -> bool:
    """Whether the network holds numbers that its builder computed.

    On the meta device they would be lost.
    """
    if not all(tensor.is_shared for tensor in found):
        return True
    return any(isinstance(value, torch.Tensor) for module in network.modules() for value in vars(module).values())
