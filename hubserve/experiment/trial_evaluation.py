"""What is done for one trial, wherever an executor does it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Literal

from optuna import Study
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage

from hubserve.errors import TrialPruned
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Evaluator, Trial


@dataclass(frozen=True)
class Outcome:
    """How an evaluation ended.

    Attributes:
        state: whether there are scores.
        scores: by name.
        reason: why there are none.
    """

    state: Literal["complete", "failed", "pruned"]
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Channel:
    """The way from a trial back to its study; goes along to other processes where the storage does.

    Attributes:
        storage: of the study.
        study: its name.
        trial_id: in the storage.
        pruner: asked after each report.
    """

    storage: BaseStorage
    study: str
    trial_id: int
    pruner: BasePruner

    def report(self, step: int, value: float) -> bool:
        """Stores a value; whether the trial should end here."""
        # A trial that is begun anew after a crash tells the same steps again.
        if step not in self.storage.get_trial(self.trial_id).intermediate_values:
            self.storage.set_trial_intermediate_value(self.trial_id, step, float(value))
        study = Study(self.study, self.storage, sampler=RandomSampler(), pruner=self.pruner)
        return self.pruner.prune(study, self.storage.get_trial(self.trial_id))


@dataclass(frozen=True)
class StudyTrial(Trial):
    """A trial that reports to its study.

    Attributes:
        channel: None where nobody listens.
    """

    channel: Channel | None = None

    def report(self, step: int, value: float) -> None:
        if self.channel is not None and self.channel.report(step, value):
            raise TrialPruned(f"{value:.6g} at step {step} is not among the better ones")


def evaluate(evaluator: Evaluator, space: ModelSpace, arch: Arch, trial: Trial) -> Outcome:
    """Scores `arch`; an error becomes an outcome, for a failed trial does not end a search."""
    try:
        scores = evaluator.evaluate(space, arch, trial)
        return Outcome("complete", {name: float(score) for name, score in scores.items()})
    except TrialPruned as pruned:
        return Outcome("pruned", reason=str(pruned))
    except Exception as error:
        return Outcome("failed", reason=explain(error))


def explain(error: BaseException) -> str:
    """The error in one line, with the place where it was raised."""
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({where[-1].filename}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {error}{place}"
