"""`SandwichTraining`: trains the shared weights of a supernet so that the large and the small networks on them work."""

from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import Tensor

from hubserve.space import Arch
from hubserve.supernet.elastic_supernet import ElasticSupernet
from hubserve.supernet.sandwich import Sandwich
from hubserve.training.finetuning.layer_training import LayerTraining
from hubserve.training.soft_labels import soft_cross_entropy


class SandwichTraining(LayerTraining):
    """Trains the largest network of a supernet and, on the same images, the smallest one and some random ones.

    Each step adds the gradients of all of them, by the rules of `Sandwich`. The smaller networks learn the class probabilities
    of the largest one in place of the labels. Epochs, budget, optimizer and checkpoint are those of `LayerTraining`, and the
    largest network is validated. The running statistics of batch norms are those of the largest network; other networks need
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
        space = supernet.space
        self._sandwich = Sandwich(supernet, space.largest, space.smallest, random_networks, draw or space.random)

    def _gradients(self, inputs: Tensor, target: Tensor, weight: float) -> float:
        # From torch's generator, whose state an epoch sets: a training that goes on draws the same networks.
        rng = Random(int(torch.randint(2**31, ())))
        loss = self._sandwich.add_gradients(
            inputs,
            (
                lambda output: self._loss(output, target),
                lambda output, teacher: soft_cross_entropy(output, teacher, self._class_weights),
            ),
            rng,
            backward=lambda loss: self._devices.backward(loss * weight),
            autocast=self._devices.autocast,
            run_largest=self._rest,
        )
        return float(loss)
