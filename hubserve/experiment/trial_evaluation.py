"""The evaluation of one trial as an executor runs it, perhaps in another process, and how it reports to the study."""

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
    """How an evaluation ended.

    Attributes:
        state: "complete" where there are scores, "failed" after an error, "pruned" where the pruner ended it.
        scores: Scores by name; empty unless the evaluation is complete.
        reason: Why there are no scores; empty where there are.
    """

    state: Literal["complete", "failed", "pruned"]
    scores: dict[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class ReportChannel:
    """Stores the intermediate values of one trial and asks the pruner; it is pickled with a trial that runs elsewhere.

    Attributes:
        storage: Storage of the study; other processes must be able to open it.
        study: Name of the study.
        trial_id: Id of the trial in the storage.
        pruner: Pruner that is asked after each report.
    """

    storage: BaseStorage
    study: str
    trial_id: int
    pruner: BasePruner

    def report(self, step: int, value: float) -> bool:
        """Stores `value` for `step`; returns whether the trial should end here."""
        # A trial that is begun again after a crash reports the same steps again.
        if step not in self.storage.get_trial(self.trial_id).intermediate_values:
            self.storage.set_trial_intermediate_value(self.trial_id, step, float(value))
        study = optuna.load_study(study_name=self.study, storage=self.storage, sampler=RandomSampler(), pruner=self.pruner)
        return self.pruner.prune(study, self.storage.get_trial(self.trial_id))


@dataclass(frozen=True)
class StudyTrial(Trial):
    """A trial that reports to its study.

    Attributes:
        channel: Where intermediate values are reported; None ignores them.
    """

    channel: ReportChannel | None = None

    def report(self, step: int, value: float) -> None:
        if self.channel is not None and self.channel.report(step, value):
            raise TrialPruned(f"{value:.6g} at step {step} is not among the better ones")


def evaluate(evaluator: Evaluator, space: ModelSpace, arch: Arch, trial: Trial) -> Outcome:
    """Scores `arch`; an error becomes an outcome, since a failed trial does not end a search."""
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
    """The error in one line, with the file and line that raised it."""
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({where[-1].filename}:{where[-1].lineno})" if where else ""
    return f"{type(error).__name__}: {error}{place}"
