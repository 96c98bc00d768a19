"""`Supernet`, whose weights are shared by all networks of a space, and `Subnet`, one network on these weights.

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
"""Function without arguments that returns a network and a list of its tensors."""


@dataclass(frozen=True)
class Subnet:
    """A network whose parameters and norm statistics are windows (views) of a supernet's tensors.

    Attributes:
        network: A plain torch module. Its parameters are leaf tensors that share memory with the supernet's tensors: a gradient
            has the size of the window, and a step of a `SharedOptimizer` changes the supernet. Where a window covers a whole
            shared tensor, the parameter is that of the supernet.
        tensors: The tensors of `network` that are shared.
    """

    network: nn.Module
    tensors: tuple[NetworkTensor, ...]

    @property
    def leaves(self) -> dict[str, nn.Parameter]:
        """Returns a dict from key to parameter of `network`; a parameter that several modules share occurs once."""
        return {tensor.key: tensor.value for tensor in self.tensors if not tensor.is_buffer}


class Supernet(nn.Module):
    """Weights shared by all networks of a space; each network runs on windows of them.

    A window of a tensor begins at index 0 of each axis; along the axes of a kernel, it is in the middle (Cai et al. 2020,
    "Once-for-All", https://arxiv.org/abs/1908.09791, without its kernel transform matrices; Chen et al. 2021, "AutoFormer",
    https://arxiv.org/abs/2107.00651, "weight entanglement"). Candidates of a layer choice have weights of their own, and so
    have layers on different inputs; `network_tensors` says which tensors are the same. Running statistics of norms are shared
    in the same way, and fit no network until `recalibrate_batch_norm` has measured them for one arch. Weights are initialised
    as the space initialises them. docs/supernets.md shows windows in a drawing.

    The sizes of the tensors are found by building some networks on the meta device. If an arch later needs a larger tensor than
    those networks did, the tensor grows and keeps its values. A torch optimizer that was made before does not update the new
    tensor; a `SharedOptimizer` does.

    `state_dict` and `load_state_dict` work as in torch; a state in which tensors have grown can be loaded as well.

    >>> net = Supernet(get_space("MobileNetV3Space"))
    >>> logits = net(images, space.random(rng))

    Args:
        space: Any model space.
        seed: Seed of the initial weights.
        cache: Number of networks, at least 1, that are kept for reuse (the most recently used ones).

    Attributes:
        tensors: The shared tensors by key.
        version: Number of times that previously returned networks became invalid, because tensors were replaced by larger ones,
            were loaded or were moved to another device.

    Shapes:
        forward: Inputs and outputs have the shapes of those of the networks of the space.

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
            self._allocate(seed)

    def forward(self, x: Any, arch: Mapping[str, Any]) -> Any:
        """Runs the network of `arch` on a batch `x` and returns its output; gradients flow to the parameters of this module.

        Raises:
            ArchError: `arch` is not in the space.
        """
        subnet = self.subnet(arch)
        windows = {tensor.path: self.tensors.window_of(tensor) for tensor in subnet.tensors if not tensor.is_buffer}
        return torch.func.functional_call(subnet.network, windows, (x,))

    def subnet(self, arch: Mapping[str, Any]) -> Subnet:
        """Returns the network of `arch` on this supernet's tensors, in this supernet's training or eval mode.

        It costs no more to run and to train than a network with its own weights. Call this in each step rather than keep the
        result: networks are cached, and replaced when tensors have grown.

        Raises:
            ArchError: `arch` is not in the space.
        """
        canonical = self.space.canonical(arch)
        subnet = self._subnets.get(json.dumps(canonical), lambda: self.view(partial(self._build, canonical)))
        if subnet.network.training != self.training:
            subnet.network.train(self.training)
        return subnet

    def extract(self, arch: Mapping[str, Any]) -> nn.Module:
        """Returns a new network of `arch` with copies of the supernet's weights, in eval mode.

        It is the network that `space.freeze(arch)` builds, and its state dict has the same keys. It is on torch's default
        device, wherever the supernet is.

        Raises:
            ArchError: `arch` is not in the space.
        """
        build = partial(self._build, self.space.canonical(arch))
        network, found = build()
        self._grow(build, found)
        network.to(next(self.tensors.parameters()).dtype)
        with torch.no_grad():
            for tensor in found:
                if tensor.is_shared:
                    tensor.value.copy_(self.tensors.window_of(tensor))
        return network.eval()

    def activation_bytes(self, x: Any) -> int:
        """Returns the number of bytes that autograd keeps for the backward pass of the largest network.

        The pass runs on the meta device, so it takes no memory.

        Args:
            x: A batch of inputs; only the shapes and dtypes of its tensors are used.
        """
        arch = next(largest(self.space), None) or self.space.random(Random(0))
        with torch.device("meta"):
            network, _ = self._build(arch)
        return activation_bytes(network, x, network)

    def view(self, build: Build) -> Subnet:
        """Returns the network that `build` makes, with windows of this supernet's tensors in place of its own.

        Args:
            build: Makes a network and lists its tensors. It is called on the meta device, and again on the default device if
                the network holds constants that its builder computed or if shared tensors must grow.
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
        """Clears the cache of networks and increments `version`.

        Call it after tensors were replaced: subnets returned earlier may not see later changes of the weights.
        """
        self._subnets.clear()
        self.version += 1

    def _allocate(self, seed: int) -> None:
        """Makes the shared tensors, with their first values."""
        allocate(self.tensors, self.space, self._build, Random(seed))

    def _build(self, arch: Arch, picker: MakePicker = TaggingPicker) -> tuple[nn.Module, list[NetworkTensor]]:
        tags = AnswerTags()
        network = self.space.build(picker(arch, tags))
        return network, network_tensors(network, tags)

    def _grow(self, build: Build, found: Iterable[NetworkTensor]) -> None:
        """Enlarges the shared tensors that are too small for a network whose tensors are `found`, and adds missing ones."""
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
    """Returns the tensor that a network holds for the shared tensor `full`, given its window `view`.

    It is `full` itself if the window covers all of it; else, for a parameter, a leaf that shares memory with the window, and
    for a buffer the window.
    """
    if view.shape == full.shape:
        return full
    if isinstance(full, nn.Parameter):
        return nn.Parameter(view.detach(), requires_grad=full.requires_grad)
    return view


def _has_constants(network: nn.Module, found: Iterable[NetworkTensor]) -> bool:
    """Returns whether the network holds constants that its builder computed, whose values the meta device does not keep."""
    if not all(tensor.is_shared for tensor in found):
        return True
    return any(isinstance(value, torch.Tensor) for module in network.modules() for value in vars(module).values())
