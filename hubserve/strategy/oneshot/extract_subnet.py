"""`extract`, which takes a single network out of a trained supernet, and `SupernetEvaluator`, which scores archs by it."""

import logging
import math
from dataclasses import KW_ONLY, dataclass

from torch import nn

from hubserve.data.nested_batches import batch_on
from hubserve.errors import EvaluatorError
from hubserve.space import Arch, ModelSpace
from hubserve.supernet import Supernet, recalibrate_batch_norm
from hubserve.training.evaluator import Evaluator, TrainingEvaluator, Trial
from hubserve.training.faster_on_cpu import faster_scoring_on_cpu
from hubserve.training.seeding import seeded
from hubserve.training.trial_weights import save_weights

CALIBRATION_BATCHES = 32
"""Default for the largest number of training batches on which batch norms are recalibrated."""

BEFORE = "before recalibration"
"""Suffix of the names of scores that were measured with the batch norm statistics that all networks share."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """A network extracted from a supernet, with its scores.

    Attributes:
        model: The network, with its own weights and recalibrated batch norms, in eval mode.
        before: Finite scores on the validation data with the batch norm statistics of the supernet, by name. Empty unless
            `compare` was set, or if they could not be measured.
        after: Scores on the validation data with the recalibrated statistics, by name.
        batches: Number of training batches on which the statistics were measured; 0 if there are no batch norms.
    """

    model: nn.Module
    before: dict[str, float]
    after: dict[str, float]
    batches: int

    def score_before(self, name: str) -> dict[str, float]:
        """Returns {"NAME before recalibration": value} for the score `name` of `before`; an empty dict if there is none."""
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
    """Extracts the network of `arch`, recalibrates its batch norms on training data, and scores it on validation data.

    Args:
        supernet: A trained supernet.
        arch: An arch of its space.
        evaluator: Provides the data and computes the scores.
        seed: Seed of the order of the training data and of its augmentation.
        batches: Largest number of training batches on which the batch norms are recalibrated.
        compare: True also scores the network before the recalibration.

    Raises:
        ArchError: `arch` is not in the space.
        EvaluatorError: The evaluator cannot score the network; `DivergedError` if a score is not finite.
    """
    device = next(supernet.parameters()).device
    with seeded(seed):  # Building draws fresh weights, which the copies replace.
        model = supernet.extract(arch).to(device)
    with faster_scoring_on_cpu(model, channels_last=supernet.space.channels_last):
        before = _scores_before(model, evaluator, seed) if compare else {}
        with seeded(seed):
            used = recalibrate_batch_norm(model, (batch_on(b, device) for b in evaluator.train_batches(seed)), batches)
            after = evaluator.validate(model)
    return Extraction(model.eval(), before, after, used)


def _scores_before(model: nn.Module, evaluator: TrainingEvaluator, seed: int) -> dict[str, float]:
    """Returns the finite scores of `model` before its batch norms are recalibrated; empty if the evaluator raises an error."""
    try:
        with seeded(seed):
            scores = evaluator.validate(model)
    except EvaluatorError as error:
        log.info("no scores %s: %s", BEFORE, error)
        return {}
    return {name: score for name, score in scores.items() if math.isfinite(score)}


@dataclass(eq=False, repr=False)
class SupernetEvaluator(Evaluator):
    """An evaluator that scores an arch by its network in a trained supernet; nothing is trained.

    >>> result = RandomOneShot().run(space, evaluator, seed=0)
    >>> study = NasExperiment(space, SupernetEvaluator(result.supernet, evaluator), RegularizedEvolution())

    The weights of each network, with batch norms recalibrated, are written to the folder of its trial.

    Args:
        supernet: A trained supernet.
        evaluator: Provides the data, the scores and the objectives.
        calibration_batches: Largest number of training batches on which batch norms are recalibrated.
        seed: Seed of the order and augmentation of the training data, the same for all archs so that scores can be compared.
        compare: True also returns the first objective "before recalibration", which takes a second validation.
    """

    supernet: Supernet
    evaluator: TrainingEvaluator
    _: KW_ONLY
    calibration_batches: int = CALIBRATION_BATCHES
    seed: int = 0
    compare: bool = False

    def __post_init__(self) -> None:
        self.objectives = self.evaluator.objectives

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        found = extract(
            self.supernet, arch, self.evaluator, seed=self.seed, batches=self.calibration_batches, compare=self.compare
        )
        if trial.folder is not None:
            save_weights(found.model, trial.folder)
        return found.after | found.score_before(self.objectives[0].name)
