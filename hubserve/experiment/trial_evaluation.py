"""Evaluates one trial, possibly in another process, and reports its intermediate values to the study."""

import traceback
from dataclasses import dataclass, field
from typing import Literal

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage

from hubserve.errors import TrialPruned
from hubserve.space import Arch, ModelSpace
from hubserve.storage_faults import storage_error
from hubserve.training.evaluator import Evaluator, Trial


@dataclass(frozen=True)
class Outcome:
    """The result of an evaluation.

    Attributes:
        state: "complete" if there are scores, "failed" after an error, "pruned" if the pruner ended it.
        scores: Scores by name; empty unless the evaluation is complete.
        reason: Says why there are no scores; empty if there are.
    """

    state: Literal["complete", "failed", "pruned"]
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class ReportChannel:
    """Stores the intermediate values of one trial and asks the pruner; it can be pickled and sent to another process.

    Attributes:
        storage: Storage of the study; the process that runs the trial must be able to open it.
        study: Name of the study.
        trial_id: Id of the trial in the storage.
        pruner: The pruner, which is asked after each report.
    """

    storage: BaseStorage
    study: str
    trial_id: int
    pruner: BasePruner

    def report(self, step: int, value: float) -> bool:
        """Stores the intermediate `value` of `step`; returns whether the trial should be pruned."""
        # A trial that is begun again after a crash reports the same steps again.
        if step not in self.storage.get_trial(self.trial_id).intermediate_values:
            self.storage.set_trial_intermediate_value(self.trial_id, step, float(value))
        study = optuna.load_study(study_name=self.study, storage=self.storage, sampler=RandomSampler(), pruner=self.pruner)
        return self.pruner.prune(study, self.storage.get_trial(self.trial_id))


@dataclass(frozen=True)
class StudyTrial(Trial):
    """A trial that reports intermediate values to its study.

    Attributes:
        channel: Stores the values and asks the pruner; None ignores the values.
    """

    channel: ReportChannel | None = None

    def report(self, step: int, value: float) -> None:
        if self.channel is not None and self.channel.report(step, value):
            raise TrialPruned(f"{value:.6g} at step {step} is not among the better ones")


def evaluate(evaluator: Evaluator, space: ModelSpace, arch: Arch, trial: Trial) -> Outcome:
    """Scores `arch` and returns the outcome; an error of the evaluator gives a failed outcome, so that the search goes on.

    Raises:
        StorageError: A file could not be written or read, e.g. because the disk is full (see `storage_error`).
    """
    try:
        scores = evaluator.evaluate(space, arch, trial)
        return Outcome("complete", {name: float(score) for name, score in scores.items()})
    except TrialPruned as pruned:
        return Outcome("pruned", reason=str(pruned))
    except Exception as error:
        fault = storage_error(error)
        if fault is not None:  # Not the arch's fault: the search ends, and the trial is begun again when it goes on.
            raise fault from error
        return Outcome("failed", reason=explain(error))


def explain(error: BaseException) -> str:
    """Returns the type and message of `error`, with the file and line that raised it if they are known."""
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({where[-1].filename}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {error}{place}"
