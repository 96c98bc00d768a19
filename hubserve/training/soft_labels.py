"""`soft_cross_entropy`, the loss by which a network learns the class probabilities of another one (distillation)."""

import torch
from torch import Tensor
from torch.nn import functional


def soft_cross_entropy(logits: Tensor, teacher: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Returns the mean cross entropy of a network's class probabilities against those of another network, a scalar.

    Its gradient is that of the Kullback-Leibler divergence. No gradient flows to `teacher`.

    Args:
        logits: Logits of the network that learns, (batch, classes).
        teacher: Logits of the network that it learns from, (batch, classes).
        class_weights: Weight of each class in the sum over classes, (classes,); None weights all classes equally.
    """
    probabilities = torch.softmax(teacher.detach().float(), 1)
    return functional.cross_entropy(logits.float(), probabilities, class_weights)
