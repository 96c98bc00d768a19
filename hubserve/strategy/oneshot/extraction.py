"""From a trained supernet to a network of its own, and to scores of archs."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from torch import nn

from hubserve.errors import EvaluatorError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.oneshot.base import to_device
from hubserve.supernet import Supernet, recalibrate_batch_norm
from hubserve.training.evaluator import Evaluator, TrainingEvaluator, Trial
from hubserve.training.seeding import seeded
from hubserve.training.weights_file import save_weights

CALIBRATION_BATCHES = 32

BEFORE = "before recalibration"
"""Follows the name of a score: that with the statistics of all networks together."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """A network cut out of a supernet.

    Attributes:
        model: with weights of its own and batch norms recalibrated, in eval mode.
        before: its scores on the validation data with the supernet's statistics; empty where nobody asked, and without those
            that are no finite number: with statistics that fit no network some are not.
        after: its scores with its own.
        batches: that the statistics were measured on.
    """

    model: nn.Module
    before: dict[str, float]
    after: dict[str, float]
    batches: int

    def score_before(self, name: str) -> dict[str, float]:
        """The score `name` of `before`, under the name that it is told by; empty where there is none."""
        return {f"{name} {BEFORE}": self.before[name]} if name in self.before else {}


def extract(
    supernet: Supernet,
    arch: Arch,
    evaluator: TrainingEvaluator,
    *,
    seed: int = 0,
    batches: int = CALIBRATION_BATCHES,
    compare: bool = False,
) -> Extraction:
    """Copies the weights of `arch`, measures its batch norms on training data and scores it on validation data.

    Args:
        supernet: trained.
        arch: of its space.
        evaluator: has the data and the scores.
        seed: of the order of the training data, and of what its augmentation draws.
        batches: of training data to measure on, at most.
        compare: also score it as it was before the measuring.
    """
    device = next(supernet.parameters()).device
    with seeded(seed):  # Building draws fresh weights, which the copies replace.
        model = supernet.extract(arch).to(device)
    before = _as_it_is(model, evaluator, seed) if compare else {}
    with seeded(seed):
        used = recalibrate_batch_norm(model, (to_device(b, device) for b in evaluator.train_batches(seed)), batches)
        after = evaluator.validate(model)
    return Extraction(model.eval(), before, after, used)


def _as_it_is(model: nn.Module, evaluator: TrainingEvaluator, seed: int) -> dict[str, float]:
    """Scores for comparison only: where there are none, nothing fails."""
    try:
        with seeded(seed):
            scores = evaluator.validate(model)
    except EvaluatorError as error:
        log.info("no scores %s: %s", BEFORE, error)
        return {}
    return {name: score for name, score in scores.items() if math.isfinite(score)}


class SupernetEvaluator(Evaluator):
    """Scores archs by their shares of a trained supernet: nothing is trained.

    >>> result = RandomOneShot().run(space, evaluator, seed=0)
    >>> study = NasExperiment(space, SupernetEvaluator(result.supernet, evaluator), RegularizedEvolution())

    A trial's folder gets the network's weights, batch norms recalibrated.

    Args:
        supernet: trained.
        evaluator: whose data and scores are used; its objectives become this one's.
        calibration_batches: of training data to measure batch norms on, at most.
        seed: of the training data's order and augmentation, the same for all archs, so that they are judged alike.
        compare: also tell the first objective "before recalibration", which takes a second validation.
    """

    def __init__(
        self,
        supernet: Supernet,
        evaluator: TrainingEvaluator,
        *,
        calibration_batches: int = CALIBRATION_BATCHES,
        seed: int = 0,
        compare: bool = False,
    ) -> None:
        self.supernet = supernet
        self.evaluator = evaluator
        self.calibration_batches = calibration_batches
        self.seed = seed
        self.compare = compare
        self.objectives = evaluator.objectives

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        found = extract(
            self.supernet, arch, self.evaluator, seed=self.seed, batches=self.calibration_batches, compare=self.compare
        )
        if trial.folder is not None:
            save_weights(found.model, trial.folder)
        return found.after | found.score_before(self.objectives[0].name)
