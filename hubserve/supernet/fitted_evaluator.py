"""`FittedEvaluator`: scores networks cut from a trained one by how near their blocks come to its features, without training."""

import torch
from torch import nn

from hubserve.errors import EvaluatorError
from hubserve.space import Arch, ModelSpace
from hubserve.supernet.elastic_supernet import ElasticSupernet
from hubserve.supernet.network_fit import FittedNetworks
from hubserve.training.evaluator import Evaluator, Objective, Trial
from hubserve.training.finetuning.square_images import SquareImages
from hubserve.training.seeding import seeded

MOST_IMAGES, MOST_PIXELS = 1000, 17_000_000
"""Largest number of images on which networks are scored, and of the pixels of all of them, unless `LEAST_IMAGES` have more."""

LEAST_IMAGES = 64
"""Number of images on which networks are scored, where the training part has as many, however large the images are."""

FACTOR = 5
"""How many times as many images the blocks of the network that is returned are fitted to, where there are as many."""

BATCH = 32
"""Number of images that are normalised at a time."""


class FittedEvaluator(Evaluator):
    """Scores an arch by the sum of the errors of its blocks, see `FittedNetworks.error`.

    Args:
        supernet: Supernet whose largest network is the trained one, on the CPU.
        train: Training images, of which some are drawn, to whose features blocks are fitted: `FACTOR` times as many for the
            network that `network` returns as for the scores.
        seed: Seed of the drawn images.

    Raises:
        EvaluatorError: There are no training images.
    """

    objectives = (Objective("block_error", "minimize"),)

    def __init__(self, supernet: ElasticSupernet, train: SquareImages, *, seed: int) -> None:
        if len(train) == 0:
            raise EvaluatorError("there are no training images to whose features the blocks of smaller networks are fitted")
        count = min(MOST_IMAGES, max(LEAST_IMAGES, MOST_PIXELS // train.preprocess.input_size**2))
        with seeded(seed):
            chosen = torch.randperm(len(train)).tolist()
        self._train, self._chosen = train, chosen[: FACTOR * count]
        self._fitted = FittedNetworks(supernet, train.normalise(train.squares(chosen[:count])))

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        return {"block_error": self._fitted.error(arch)}

    def network(self, arch: Arch) -> nn.Module:
        """Returns a new network of `arch` with fitted blocks, in eval mode.

        Raises:
            ArchError: `arch` is not in the space of the supernet.
        """
        batches = (self._chosen[i : i + BATCH] for i in range(0, len(self._chosen), BATCH))
        return self._fitted.network(arch, (self._train.normalise(self._train.squares(batch)) for batch in batches))
