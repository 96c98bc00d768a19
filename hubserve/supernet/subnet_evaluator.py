"""`SubnetEvaluator`: scores the networks of an elastic supernet on validation images, without training them."""

import math

import torch
from torch import Tensor, nn

from hubserve.errors import EvaluatorError
from hubserve.space import Arch, ModelSpace
from hubserve.supernet.batch_norm_statistics import recalibrate_batch_norm
from hubserve.supernet.elastic_supernet import ElasticSupernet
from hubserve.training.device import OneDevice
from hubserve.training.evaluator import Evaluator, Objective, Trial
from hubserve.training.finetuning.features import ComputedFeatures, TrainingPart
from hubserve.training.finetuning.square_images import SquareImages
from hubserve.training.finetuning.validation import validation_scores
from hubserve.training.seeding import seeded

STATISTICS_BATCHES, STATISTICS_IMAGES = 8, 64
"""Largest number of batches, and of images in each, on which the statistics of batch norms are measured."""


class SubnetEvaluator(Evaluator):
    """Scores an arch by the accuracy of its network, cut from shared weights, with newly measured batch norm statistics.

    Args:
        supernet: The shared weights.
        train: Training images, of which some are drawn to measure the statistics.
        val: Validation images.
        device: Device and precision.
        seed: Seed of the drawn training images.

    Raises:
        EvaluatorError: There are fewer than 2 training images.
    """

    objectives = (Objective("val_acc"),)

    def __init__(
        self, supernet: ElasticSupernet, train: SquareImages, val: SquareImages, device: OneDevice, *, seed: int
    ) -> None:
        self._supernet = supernet
        self._device = device
        self._val = TrainingPart(ComputedFeatures(val, None), val.labels)
        self._batches = _drawn_batches(train, seed)

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        return self.scores(self.network(arch))

    def scores(self, network: nn.Module) -> dict[str, float]:
        """Returns the accuracy, in [0, 1], as "val_acc" and the mean cross entropy as "val_loss" on the validation images.

        Raises:
            EvaluatorError: There are no validation images; `DivergedError` if the cross entropy is not finite.
        """
        val_acc, val_loss = validation_scores(network, self._val, self._device)
        return {"val_acc": val_acc, "val_loss": val_loss}

    def network(self, arch: Arch) -> nn.Module:
        """Returns a new network of `arch` with copies of the shared weights and newly measured statistics, in eval mode.

        Raises:
            ArchError: `arch` is not in the space of the supernet.
        """
        network = self._supernet.extract(arch).to(self._device.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found = ((batch.to(self._device.device, memory_format=torch.channels_last), None) for batch in self._batches)
        recalibrate_batch_norm(network, found, len(self._batches))
        return network


def _drawn_batches(images: SquareImages, seed: int) -> list[Tensor]:
    """Returns batches of random images, whose sizes differ by at most 1, since each has the same share in the statistics.

    Raises:
        EvaluatorError: There are fewer than 2 images.
    """
    if len(images) < 2:
        raise EvaluatorError(f"{len(images)} training images: at least 2 are needed to measure statistics of batch norms")
    with seeded(seed):
        chosen = torch.randperm(len(images))[: STATISTICS_BATCHES * STATISTICS_IMAGES]
    batches = chosen.tensor_split(math.ceil(len(chosen) / STATISTICS_IMAGES))
    return [images.normalise(images.squares(indices.tolist())) for indices in batches]
