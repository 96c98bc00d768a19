"""`Sandwich`: computes the gradients of a training step of the largest, the smallest and some random networks of a supernet."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from hubserve.blocks.cell import Cell
from hubserve.blocks.drop_path import DropPath
from hubserve.blocks.transformer import EncoderLayer
from hubserve.data.nested_batches import map_leaves
from hubserve.space import Arch
from hubserve.supernet.shared_tensors import window
from hubserve.supernet.supernet import Subnet, Supernet

Losses = tuple[Callable[[Any], Tensor], Callable[[Any, Any], Tensor]]
"""Function (output of the largest network) -> loss, and function (output of a smaller network, output of the largest one,
without gradient) -> loss of the smaller one; both losses are scalars."""


@dataclass(frozen=True)
class Sandwich:
    """The networks that a step trains by the sandwich rule: the largest one, the smallest one and some random ones.

    Yu and Huang 2019, "Universally Slimmable Networks" (https://arxiv.org/abs/1903.05134, section 4.2). The smaller networks
    usually learn from the output of the largest one (in-place distillation, same paper). As in BigNAS (Yu et al. 2020,
    https://arxiv.org/abs/2003.11142, section 3.1), only the largest network is regularised: dropout and drop path are off in
    the others. Unlike there, each network may take a step of the optimizer of its own; where they take one together, their
    losses are averaged and not summed, so that the learning rate of a single network stays right either way. Weight decay acts
    on all weights.

    Attributes:
        supernet: The supernet whose weights are trained.
        largest: The arch whose network learns from the targets.
        smallest: The arch that is trained in every step besides.
        random_networks: Number of random archs in each step, at least 0.
        draw: Draws a random arch.
    """

    supernet: Supernet
    largest: Arch
    smallest: Arch
    random_networks: int
    draw: Callable[[Random], Arch]

    def add_gradients(
        self,
        x: Any,
        losses: Losses,
        rng: Random,
        *,
        backward: Callable[[Tensor], None],
        autocast: Callable[[], Any],
        run_largest: Callable[[Any], Any] | None = None,
        after_network: Callable[[], None] | None = None,
    ) -> Tensor:
        """Adds the gradients of the networks of a step to those of the shared tensors; returns the loss of the largest network.

        The running statistics of batch norms are updated by the largest network only.

        Args:
            x: Inputs of the batch.
            losses: The loss of the largest network, and that of the others.
            rng: Passed to `draw`.
            backward: Computes the gradients of a loss.
            autocast: Returns the context manager in which networks run and losses are computed.
            run_largest: Runs the network of `largest`, in train mode, on `x`; None runs that of `supernet`.
            after_network: Called when the gradients of a network were added, to take a step with them and to clear them. None
                adds up the gradients of all networks, and divides the loss of each by their number.
        """
        of_largest, of_smaller = losses
        count, end_network = (2 + self.random_networks, _nothing) if after_network is None else (1, after_network)
        self.supernet.train()
        largest = self.supernet.subnet(self.largest)
        with autocast():
            output = (run_largest or largest.network)(x)
            loss = of_largest(output)
        backward(loss / count)
        self._collect(largest)
        end_network()
        teacher = _detached(output)
        for arch in (self.smallest, *(self.draw(rng) for _ in range(self.random_networks))):
            subnet = self.supernet.subnet(arch)
            with kept_statistics(subnet.network), without_dropping(subnet.network), autocast():
                smaller = of_smaller(subnet.network(x), teacher)
            backward(smaller / count)
            self._collect(subnet)
            end_network()
        return loss.detach()

    @torch.no_grad()
    def _collect(self, subnet: Subnet) -> None:
        """Adds the gradients of a network to those of the shared tensors, and forgets them."""
        tensors = self.supernet.tensors
        for key, leaf in subnet.leaves.items():
            full = tensors.parameter(key)
            if leaf is not full and leaf.grad is not None:
                if full.grad is None:
                    full.grad = torch.zeros_like(full)
                window(full.grad, leaf.shape, centred=key in tensors.centred).add_(leaf.grad)
                leaf.grad = None


@contextmanager
def kept_statistics(network: nn.Module) -> Iterator[None]:
    """Context manager in which the batch norms of a network leave their running statistics as they are."""
    momenta = [(module, module.momentum) for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm, _ in momenta:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum


@contextmanager
def without_dropping(network: nn.Module) -> Iterator[None]:
    """Context manager in which a network in train mode applies neither dropout nor drop path."""
    with ExitStack() as later:
        for module in network.modules():
            if isinstance(module, (_DropoutNd, DropPath)):
                later.callback(setattr, module, "training", module.training)
                module.training = False
            elif isinstance(module, (Cell, EncoderLayer)):
                later.callback(setattr, module, "drop_path_prob", module.drop_path_prob)
                module.drop_path_prob = 0.0
        yield


def _nothing() -> None:
    pass


def _detached(output: Any) -> Any:
    return map_leaves(lambda leaf: leaf.detach() if isinstance(leaf, torch.Tensor) else leaf, output)
