"""`SandwichTraining`: trains the shared weights of a supernet so that the large and the small networks on them work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from hubserve.space import Arch
from hubserve.supernet.elastic_supernet import ElasticSupernet
from hubserve.supernet.shared_tensors import window
from hubserve.supernet.supernet import Subnet
from hubserve.training.finetuning.layer_training import LayerTraining


class SandwichTraining(LayerTraining):
    """Trains the largest network of a supernet and, on the same images, the smallest one and some random ones.

    Each step adds the gradients of all of them: the sandwich rule (Yu and Huang 2019, "Universally Slimmable Networks",
    https://arxiv.org/abs/1903.05134). The smaller networks learn the class probabilities of the largest one in place of the
    labels: in-place distillation. Epochs, budget, optimizer and checkpoint are those of `LayerTraining`, and the largest
    network is validated. The running statistics of batch norms are those of the largest network; other networks need
    `recalibrate_batch_norm`.

    Args:
        args: Positional arguments of `LayerTraining`, of which the first is `supernet.network`.
        supernet: The supernet.
        random_networks: Number of random networks in each step, at least 0.
        draw: Draws a random network; None draws from all of the supernet.
        kwargs: The other arguments of `LayerTraining`.
    """

    def __init__(
        self,
        *args: Any,
        supernet: ElasticSupernet,
        random_networks: int,
        draw: Callable[[Random], Arch] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._supernet = supernet
        self._random_networks = random_networks
        self._draw = draw or supernet.space.random

    def _gradients(self, inputs: Tensor, target: Tensor) -> float:
        count = 2 + self._random_networks
        with self._device.autocast():
            output = self._rest(inputs)
            loss = self._loss(output, target)
        self._device.backward(loss / count)
        soft = functional.softmax(output.detach().float(), 1)
        # From torch's generator, whose state an epoch sets: a training that goes on draws the same networks.
        rng = Random(int(torch.randint(2**31, ())))
        self._supernet.train()
        for arch in (self._supernet.space.smallest, *(self._draw(rng) for _ in range(self._random_networks))):
            subnet = self._supernet.subnet(arch)
            with _kept_statistics(subnet.network), self._device.autocast():
                distance = functional.cross_entropy(subnet.network(inputs).float(), soft, self._class_weights)
            self._device.backward(distance / count)
            self._add_gradients(subnet)
        return float(loss.detach())

    @torch.no_grad()
    def _add_gradients(self, subnet: Subnet) -> None:
        """Adds the gradients of a network to those of the shared tensors, and forgets them."""
        tensors = self._supernet.tensors
        for key, leaf in subnet.leaves.items():
            full = tensors.parameter(key)
            if leaf is not full and leaf.grad is not None:
                if full.grad is None:
                    full.grad = torch.zeros_like(full)
                window(full.grad, leaf.shape, centred=key in tensors.centred).add_(leaf.grad)
                leaf.grad = None


@contextmanager
def _kept_statistics(network: nn.Module) -> Iterator[None]:
    """Context manager in which the batch norms of a network leave their running statistics as they are.

    The statistics are the largest network's, and `network` may be the largest one, which updates them outside of the block.
    """
    momenta = [(module, module.momentum) for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm, _ in momenta:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum
