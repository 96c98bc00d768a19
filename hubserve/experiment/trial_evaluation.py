"""Evaluates one trial, possibly in another process, and reports its intermediate values to the study."""

import traceback
from dataclasses import dataclass, field
from typing import Literal

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage

from hubserve.errors import TrialPruned
from hubserve.experiment.time_limit import TIME_LIMIT_FILE, TrialTimeout, not_interrupted, time_limit
from hubserve.space import Arch, ModelSpace
from hubserve.storage_faults import storage_error
from hubserve.training.evaluator import Evaluator, Trial


@dataclass(frozen=True)
class Outcome:
    """The result of an evaluation.

    Attributes:
        state: "complete" if the evaluator returned, "failed" after an error or at the time limit, "pruned" if the pruner ended
            it.
        scores: Scores by name, as the evaluator returned them; empty unless the evaluation is complete.
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
        """Stores the intermediate `value` of `step`, unless the step has one; returns whether the trial should be pruned."""
        # A trial that is begun again after a crash reports the same steps again.
        if step not in self.storage.get_trial(self.trial_id).intermediate_values:
            self.storage.set_trial_intermediate_value(self.trial_id, step, float(value))
        study = optuna.load_study(study_name=self.study, storage=self.storage, sampler=RandomSampler(), pruner=self.pruner)
        return self.pruner.prune(study, self.storage.get_trial(self.trial_id))


@dataclass
class HeldReports:
    """Keeps the intermediate values of one trial in memory, for trials that cannot write to the storage and are not pruned.

    Attributes:
        values: First value that was reported for each step.
    """

    values: dict[int, float] = field(default_factory=dict)

    def report(self, step: int, value: float) -> bool:
        """Keeps `value`, unless the step has one already; returns False, since nothing prunes the trial."""
        self.values.setdefault(step, float(value))
        return False


@dataclass(frozen=True)
class StudyTrial(Trial):
    """A trial that reports intermediate values to its study.

    Attributes:
        channel: Takes the values and says whether the trial is pruned; None ignores the values.
        max_seconds: Number of seconds after which the evaluation is ended; None sets no limit.
        own_process: Whether the evaluation runs in a process of its executor, which may be ended with it.
    """

    channel: ReportChannel | HeldReports | None = None
    max_seconds: float | None = None
    own_process: bool = False

    def report(self, step: int, value: float) -> None:
        if self.channel is None:
            return
        with not_interrupted():  # An exception in the middle of a write would leave the storage in an unknown state.
            ends = self.channel.report(step, value)
        if ends:
            raise TrialPruned(f"{value:.6g} at step {step} is not among the better ones")


def evaluate(evaluator: Evaluator, space: ModelSpace, arch: Arch, trial: StudyTrial) -> Outcome:
    """Scores `arch` and returns the outcome.

    An exception of the evaluator, a score that is no number, or an evaluation that takes longer than `trial.max_seconds` gives
    a failed outcome, so that the search goes on. KeyboardInterrupt and SystemExit are passed on.

    Raises:
        StorageError: A file could not be written or read, e.g. because the disk is full (see `storage_error`).
    """
    try:
        with time_limit(trial.max_seconds, own_process=trial.own_process):
            scores = evaluator.evaluate(space, arch, trial)
        return Outcome("complete", {name: float(score) for name, score in scores.items()})
    except TrialPruned as pruned:
        return Outcome("pruned", reason=str(pruned))
    except TrialTimeout as timeout:
        return Outcome("failed", reason=f"{too_long(trial.max_seconds)}{_place(timeout)}")
    except Exception as error:
        fault = storage_error(error)
        if fault is not None:  # Not the arch's fault: the search ends, and the trial is begun again when it goes on.
            raise fault from error
        return Outcome("failed", reason=explain(error))


def explain(error: BaseException) -> str:
    """Returns the type and message of `error`, with the file and line that raised it if they are known."""
    return f"{type(error).__name__}: {error}{_place(error)}"


def too_long(seconds: float | None) -> str:
    """Returns the reason for which a trial was ended at its limit of `seconds`."""
    return f"it took longer than max_trial_seconds = {seconds:g}" if seconds is not None else "it took too long"


def _place(error: BaseException) -> str:
    """Returns the file and line that raised `error` in parentheses after a space; empty if they are not known.

    Frames of the time limit are left out: the place of a timeout is where the evaluation was.
    """
    where = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != TIME_LIMIT_FILE]
    return f" ({where[-1].filename}:{where[-1].lineno})" if where else ""
