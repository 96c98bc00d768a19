"""Trains the head of a network, its last linear layer, alone, on the outputs of the layers before it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hubserve.last_layer import last_layer
from hubserve.training.finetuning.features import TrainingPart

MOST_IMAGES = 50_000
"""Largest number of images on which the head alone is trained; from more images, this many are drawn at random."""

PENALTIES = (1e-4, 1e-3, 1e-2)
"""Factors of the L2 penalty that are tried; the one with the best validation accuracy is used."""

STEPS = 100
"""Largest number of steps of L-BFGS."""

CHUNK = 256
"""Number of images in a batch that passes through the network."""


@dataclass(frozen=True)
class HeadInputs:
    """The inputs of the head for some images, and their classes.

    Attributes:
        inputs: Inputs of the linear layer, (n, width) float32.
        labels: Index of the class of each row, (n,) int64.
    """

    inputs: Tensor
    labels: Tensor


def find_head(rest: nn.Module, heads: Iterable[nn.Module], features: Tensor) -> nn.Linear | None:
    """Returns the linear layer that computes the logits in eval mode; None if the head is not a single linear layer.

    Args:
        rest: Layers that compute logits from features; they are in eval mode afterwards.
        heads: Modules of the head and of auxiliary heads.
        features: Features of an image, (1, ...).
    """
    found = last_layer(rest.eval(), features)
    return found if isinstance(found, nn.Linear) and any(found is head for head in heads) else None


def head_inputs(rest: nn.Module, head: nn.Linear, part: TrainingPart, device: torch.device) -> HeadInputs:
    """Returns the inputs of the head for the images of a part, in eval mode, on the CPU.

    Of more than `MOST_IMAGES` images, this many are drawn with torch's global generator.

    Args:
        rest: Layers that compute logits from features; they are in eval mode afterwards.
        head: Last layer of `rest`.
        part: Features and classes of the images.
        device: Device of `rest`.

    Raises:
        DatasetError: An image cannot be read.
    """
    labels = part.labels
    found: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, given: found.append(given[0].float().cpu()))
    rest.eval()
    chosen = torch.arange(len(labels)) if len(labels) <= MOST_IMAGES else torch.randperm(len(labels))[:MOST_IMAGES]
    try:
        with torch.no_grad():
            for indices in chosen.split(CHUNK):  # type: ignore[no-untyped-call]
                rest(part.features.batch(indices).to(device))
    finally:
        hook.remove()
    return HeadInputs(torch.cat(found), labels[chosen])


def train_head(head: nn.Linear, train: HeadInputs, val: HeadInputs, class_weights: Tensor | None) -> float:
    """Fits the head by L-BFGS with an L2 penalty; of `PENALTIES`, the factor with the best accuracy on `val` is used.

    Args:
        head: Layer whose weights, and bias if it has one, are replaced.
        train: Inputs and classes to which the layer is fitted.
        val: Inputs and classes with which the factor of the penalty is chosen.
        class_weights: Weight of each class in the loss, (classes,); None weights all classes equally.

    Returns:
        Accuracy on `val`, in [0, 1].
    """
    # Inputs of unit variance, so that the penalties mean the same for every network; what is subtracted, the bias makes up for.
    has_bias = head.bias is not None
    mean = train.inputs.mean(0) if has_bias else torch.zeros(train.inputs.shape[1])
    scale = train.inputs.std() + 1e-6
    inputs = (train.inputs - mean) / scale
    tried: list[tuple[float, Tensor, Tensor]] = []
    for penalty in PENALTIES:
        weight, bias = _fit(inputs, train.labels, head.out_features, penalty, class_weights, has_bias)
        weight = weight / scale
        bias = bias - weight @ mean
        logits = functional.linear(val.inputs, weight, bias)
        tried.append((float((logits.argmax(1) == val.labels).float().mean()), weight, bias))
    accuracy, weight, bias = max(tried, key=lambda found: found[0])
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(bias)
    return accuracy


def _fit(
    inputs: Tensor, labels: Tensor, classes: int, penalty: float, class_weights: Tensor | None, has_bias: bool
) -> tuple[Tensor, Tensor]:
    """Returns weight and bias; without `has_bias`, a bias of 0."""
    weight = torch.zeros(classes, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=has_bias)
    optimizer = torch.optim.LBFGS([weight, bias] if has_bias else [weight], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = functional.linear(inputs, weight, bias)
        loss = functional.cross_entropy(logits, labels, class_weights) + penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
