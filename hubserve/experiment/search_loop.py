"""`search`, the loop that asks the strategy for archs, has them evaluated, stores the results, and decides when to end."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from random import Random

import optuna
from optuna import Study
from optuna.pruners import NopPruner
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import ExperimentError, SpaceExhausted
from hubserve.experiment.constraints import ArchFeasibility, constraint_attributes
from hubserve.experiment.executors import Executor, reaches_other_machines
from hubserve.experiment.journal_file import JournalFileStorage
from hubserve.experiment.returned_files import ReturnedOutcome, evaluate_elsewhere, write_returned
from hubserve.experiment.settings import ExperimentSettings
from hubserve.experiment.study import MOST_ATTEMPTS, interrupted_trials
from hubserve.experiment.time_limit import GRACE_SECONDS
from hubserve.experiment.time_spent import TrialClock
from hubserve.experiment.trial_evaluation import Outcome, ReportChannel, StudyTrial, evaluate, explain, too_long
from hubserve.experiment.trial_record import (
    ATTEMPTS,
    EXHAUSTED,
    INFEASIBLE,
    REASON,
    SCORES,
    SECONDS,
    SPENT_SECONDS,
    flat_scores,
    is_trial,
    missing_objective,
    was_evaluated,
)
from hubserve.space import Arch, ModelSpace
from hubserve.storage_faults import storage_error
from hubserve.strategy import suggest_arch, trial_arch
from hubserve.strategy.optuna_internals import CONSTRAINTS, note_on_trial, reopen, storage_of_study, trial_id
from hubserve.training.evaluator import Evaluator

MOST_FAILURES = 20
"""Number of failed trials in a row after which the search ends, since the cause is probably not the archs."""

MOST_INFEASIBLE = 1000
"""Number of infeasible proposals in a row after which the search ends."""


MOST_ARCHS = 1_000_000
"""Largest grid size of a space whose tried archs are counted to detect that all were tried."""


@dataclass(frozen=True)
class SearchInputs:
    """The arguments of the search loop for one run of an experiment.

    Attributes:
        settings: Settings of the experiment.
        evaluator: The evaluator that scores archs: that of the settings, or one that uses the weights of a supernet.
        study: The study to which trials are added; its sampler is bound to the space.
        executor: The executor that runs evaluations; it must be started.
        max_trials: Number of evaluated trials in the study, including earlier runs, at which the search ends; None sets no
            limit.
        deadline: Value of `time.monotonic` after which no trial begins; None sets no limit.
        on_end: Called with each trial after it has ended.
        should_stop: Called before each trial; True ends the search.
    """

    settings: ExperimentSettings
    evaluator: Evaluator
    study: Study
    executor: Executor
    max_trials: int | None
    deadline: float | None
    on_end: Callable[[FrozenTrial], None]
    should_stop: Callable[[], bool]

    @property
    def stop_reason(self) -> str:
        """Text that says why no further trial may begin (`should_stop` or the deadline); empty if one may."""
        if self.should_stop():
            return "stopped on request"
        return "the time is over" if self.deadline is not None and time.monotonic() >= self.deadline else ""


class SpaceExhaustion:
    """Counts the different archs of a space that were tried; nothing is counted if its grid has more than `MOST_ARCHS` archs.

    Args:
        space: The space that is searched.
    """

    def __init__(self, space: ModelSpace) -> None:
        # The grid is quick to count; a space with a rule of its own may take long to count exactly.
        self._total = space.count() if space.grid_size <= MOST_ARCHS else None
        self._tried: set[str] = set()

    def add(self, arch: Arch) -> None:
        """Counts `arch` as tried; its labels must be in the order of the space."""
        if self._total is not None:
            self._tried.add(repr(arch))

    @property
    def complete(self) -> bool:
        """True if every arch of the space was tried; always False for spaces that are too large to count."""
        return self._total is not None and len(self._tried) >= self._total


def search(inputs: SearchInputs) -> str:
    """Runs trials until the search ends, and the running ones have ended; returns a sentence that says why it ended.

    It ends at `max_trials` or the deadline, when `should_stop` returns True or the space is exhausted, and after
    `MOST_FAILURES` failed or `MOST_INFEASIBLE` infeasible trials in a row.

    Raises:
        ExperimentError: A function does not return the measure that it is listed for, or an argument cannot be pickled.
        OSError: A disk is full, read-only or forbidden (StorageError if an evaluation met that); trials that were running are
            begun again by the next search.
    """
    return _SearchLoop(inputs).run()


class _SearchLoop:
    """The state of one search: the running trials, and the counts that decide when it ends."""

    def __init__(self, inputs: SearchInputs) -> None:
        self._inputs = inputs
        self._settings = inputs.settings
        self._study = inputs.study
        self._evaluator = inputs.executor.share(inputs.evaluator)
        self._space = inputs.executor.share(inputs.settings.model_space)
        self._clock = TrialClock()
        self._one_objective = len(inputs.settings.objectives) == 1
        self._exhaustion = SpaceExhaustion(inputs.settings.model_space)
        self._pending: dict[Future[Outcome], tuple[optuna.Trial, dict[str, float]]] = {}
        self._evaluated = self._failures = self._infeasible = 0
        self._reason = ""
        # Samplers such as Optuna's GPSampler refuse a study where only some trials have the constraints, as an earlier one has.
        self._notes_constraints = True
        for trial in inputs.study.get_trials(deepcopy=False):
            noted = len(trial.system_attrs.get(CONSTRAINTS, ()))
            self._notes_constraints &= trial.state is not TrialState.COMPLETE or noted == len(self._settings.constraints)
            self._evaluated += was_evaluated(trial)
            if is_trial(trial) and trial.state.is_finished():
                self._exhaustion.add(trial_arch(trial, inputs.settings.model_space))

    def run(self) -> str:
        trials = self._trials()
        while True:
            while not self._over() and len(self._pending) < self._inputs.executor.workers:
                began = time.monotonic()
                trial = next(trials)
                self._clock.begin(trial.number, began)
                self._begin(trial)
            if not self._pending:
                return self._reason
            done, _ = wait(self._pending, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda future: self._pending[future][0].number):
                self._end(future)

    def _over(self) -> bool:
        """Returns whether no further trial may begin, and sets `_reason` if so."""
        most = self._inputs.max_trials
        if not self._reason and not self._inputs.should_stop():
            if most is not None and self._evaluated + len(self._pending) >= most:
                self._reason = f"{most} trials were evaluated, as many as were asked for"
            elif self._exhaustion.complete and not self._settings.repeat:
                count = self._settings.model_space.count()
                self._reason = f"the space is exhausted: each of its {count} archs had a trial"
        self._reason = self._reason or self._inputs.stop_reason
        return bool(self._reason)

    def _trials(self) -> Iterator[optuna.Trial]:
        """Yields trials that an earlier process left running, under their old numbers, and then new trials without end.

        Those that were begun `MOST_ATTEMPTS` times are stored as failed and not yielded.
        """
        again, given_up = interrupted_trials(self._study)
        for trial in given_up:
            reason = f"it was begun {MOST_ATTEMPTS} times, and each time the process was gone before it ended"
            self._fail(reopen(self._study, trial), reason)
        for trial in again:
            # A strategy depends on the trial's number and the stored trials, so it proposes the same arch.
            begun = reopen(self._study, trial)
            begun.set_user_attr(ATTEMPTS, trial.user_attrs.get(ATTEMPTS, 1) + 1)
            yield begun
        while True:
            yield self._study.ask()

    def _begin(self, trial: optuna.Trial) -> None:
        try:
            arch = suggest_arch(trial, self._settings.model_space)
        except SpaceExhausted as exhausted:
            trial.set_user_attr(EXHAUSTED, True)
            self._study.tell(trial, state=TrialState.FAIL)
            self._reason = f"the space is exhausted: {exhausted}"
            return
        try:
            feasibility = self._settings.feasibility_check.check(arch)
        except ExperimentError:
            raise  # A measure is missing for all archs.
        except Exception as error:
            fault = storage_error(error)
            if fault is not None:
                raise fault from error
            self._fail(trial, f"it could not be measured: {explain(error)}")
            return
        self._note_costs(trial, feasibility.measures)
        if feasibility.misses:
            self._refuse(trial, feasibility)
            return
        self._infeasible = 0
        self._pending[self._submit(trial, arch)] = (trial, feasibility.measures)

    def _note_costs(self, trial: optuna.Trial, measures: dict[str, float]) -> None:
        """Stores the measures of a trial, and by how much they exceed the bounds, where Optuna's plots read them."""
        for name, value in flat_scores(measures, self._settings.objectives, measures=tuple(measures)).items():
            trial.set_user_attr(name, value)
        if self._notes_constraints:
            for key, values in constraint_attributes(self._settings.constraints, measures).items():
                note_on_trial(self._study, trial, key, values)

    def _submit(self, trial: optuna.Trial, arch: Arch) -> Future[Outcome]:
        storage, executor = storage_of_study(self._study), self._inputs.executor
        channel, elsewhere = None, reaches_other_machines(executor)
        # Optuna prunes where there is one objective, and a study in memory is not seen from other processes.
        reachable = executor.shares_memory or not isinstance(storage, InMemoryStorage)
        # Other machines may have no file of the study, and need none where nothing is pruned.
        if self._one_objective and reachable and not (elsewhere and isinstance(self._study.pruner, NopPruner)):
            channel = ReportChannel(storage, self._study.study_name, trial_id(trial), self._study.pruner)
        if isinstance(storage, JournalFileStorage):
            storage.flush()
        study_trial = StudyTrial(
            number=trial.number,
            seed=Random(f"{self._settings.seed}/{trial.number}").randrange(2**31),
            folder=self._settings.trial_folder(trial.number),
            experiment=self._study.study_name,
            channel=channel,
            max_seconds=self._settings.max_trial_seconds,
            own_process=not executor.shares_memory,
        )
        return executor.submit(evaluate_elsewhere if elsewhere else evaluate, self._evaluator, self._space, arch, study_trial)

    def _end(self, future: Future[Outcome]) -> None:
        trial, measures = self._pending.pop(future)
        error = future.exception()
        fault = storage_error(error)
        if fault is not None:
            raise fault from error
        outcome = future.result() if error is None else Outcome("failed", reason=self._explain(trial, error))
        if isinstance(outcome, ReturnedOutcome):
            self._take_over(outcome, trial)
        if outcome.state == "complete":
            outcome = self._with_measures(outcome, measures)
        if outcome.state == "failed":
            self._fail(trial, outcome.reason)
            return
        self._failures = 0
        if outcome.state == "pruned":
            trial.set_user_attr(REASON, outcome.reason)
            self._store(trial, TrialState.PRUNED)
            return
        names = [objective.name for objective in self._settings.objectives]
        if len(outcome.scores) > len(names):
            trial.set_user_attr(SCORES, outcome.scores)
            for name, value in flat_scores(outcome.scores, self._settings.objectives).items():
                if name not in measures:
                    trial.set_user_attr(name, value)
        self._store(trial, TrialState.COMPLETE, [outcome.scores[name] for name in names])

    def _take_over(self, outcome: ReturnedOutcome, trial: optuna.Trial) -> None:
        """Stores the files and the intermediate values of a trial that was evaluated without access to the files here."""
        write_returned(outcome.files, self._settings.trial_folder(trial.number))
        storage, ident = storage_of_study(self._study), trial_id(trial)
        there = storage.get_trial(ident).intermediate_values
        for step, value in outcome.reports.items() if self._one_objective else ():
            # A trial that is begun again after a crash reports the same steps again.
            if step not in there:
                storage.set_trial_intermediate_value(ident, step, value)

    def _explain(self, trial: optuna.Trial, error: BaseException) -> str:
        """Returns the reason for which the process of a trial gave no outcome: the time limit, if that was reached."""
        limit, seconds = self._settings.max_trial_seconds, self._clock.seconds(trial.number)
        if limit is None or seconds is None or seconds < limit + GRACE_SECONDS:
            return explain(error)
        return f"{too_long(limit)}, and did not react to that, so its process was ended"

    def _with_measures(self, outcome: Outcome, measures: dict[str, float]) -> Outcome:
        """Returns `outcome` with `measures` added to its scores; a failed outcome if an objective is missing or NaN."""
        scores = measures | outcome.scores
        reason = missing_objective(scores, self._settings.objectives)
        return Outcome("failed", reason=reason) if reason else Outcome("complete", scores)

    def _fail(self, trial: optuna.Trial, reason: str) -> None:
        trial.set_user_attr(REASON, reason)
        self._store(trial, TrialState.FAIL)
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            self._reason = f"{self._failures} trials in a row failed; the last one: {reason}"

    def _refuse(self, trial: optuna.Trial, feasibility: ArchFeasibility) -> None:
        trial.set_user_attr(INFEASIBLE, feasibility.misses)
        trial.set_user_attr(REASON, feasibility.reason)
        trial.set_user_attr(SCORES, feasibility.measures)
        self._store(trial, TrialState.PRUNED, counts=False)
        self._infeasible += 1
        if self._infeasible >= MOST_INFEASIBLE:
            self._reason = f"{self._infeasible} proposals in a row did not meet all constraints"

    def _store(self, trial: optuna.Trial, state: TrialState, values: list[float] | None = None, *, counts: bool = True) -> None:
        """Ends `trial` in the study and calls `on_end`; `counts` says whether it counts as an evaluated trial."""
        self._evaluated += counts
        measured = self._clock.end(trial.number)
        if measured is not None:
            trial.set_user_attr(SECONDS, measured[0])
            trial.set_user_attr(SPENT_SECONDS, measured[1])
        stored = self._study.tell(trial, values, state=state)
        self._exhaustion.add(trial_arch(stored, self._settings.model_space))
        self._inputs.on_end(stored)
