"""`validation_scores`: accuracy and cross entropy of a network on images, on one device or several."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hubserve.errors import DivergedError, EvaluatorError
from hubserve.training.device import Devices
from hubserve.training.finetuning.features import TrainingPart

EVALUATION_BATCH = 128
"""Number of images in a batch of a validation."""


@torch.no_grad()
def validation_scores(network: nn.Module, part: TrainingPart, devices: Devices) -> tuple[float, float]:
    """Returns the accuracy, in [0, 1], and the mean cross entropy of a network, which is in eval mode afterwards.

    Of several processes that train together, each one computes every n-th image, so that each image counts once; all return
    the scores of all images.

    Args:
        network: Network that computes logits from features.
        part: Images and their classes.
        devices: Device of this process, and its part of the work.

    Raises:
        DatasetError: An image cannot be read.
        EvaluatorError: The part has no images.
        DivergedError: The cross entropy is not finite.
    """
    count = len(part.labels)
    if count == 0:
        raise EvaluatorError("there are no validation images; give some, or a larger val_share")
    network.eval()
    hits, loss = 0, 0.0
    first, every = devices.part
    for indices in torch.arange(first, count, every).split(EVALUATION_BATCH):  # type: ignore[no-untyped-call]
        with devices.autocast():
            logits = network(on_device(part.features.batch(indices), devices.device)).float().cpu()
        target = part.labels[indices]
        hits += int((logits.argmax(1) == target).sum())
        loss += float(functional.cross_entropy(logits, target, reduction="sum"))
    hits, loss = devices.total(torch.tensor([hits, loss], dtype=torch.float64, device=devices.device)).tolist()
    if not math.isfinite(loss):
        raise DivergedError("the validation loss is not finite: lower recipe.learning_rate or set recipe.gradient_clip")
    return hits / count, loss / count


def on_device(inputs: Tensor, device: torch.device) -> Tensor:
    """Returns features or prepared images on a device, those with four dimensions in the format `torch.channels_last`."""
    layout = torch.channels_last if inputs.dim() == 4 else torch.contiguous_format
    return inputs.to(device, memory_format=layout)
