"""The loop of a search: ask, submit, tell in the order of completion, until there is a reason to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import optuna
from optuna import Study
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import SpaceExhausted
from hubserve.experiment.constraints import Feasibility, Screen
from hubserve.experiment.executors import Executor
from hubserve.experiment.space_exhaustion import Coverage
from hubserve.experiment.storage import FileStorage
from hubserve.experiment.study import MOST_ATTEMPTS, unfinished
from hubserve.experiment.trial_evaluation import Channel, Outcome, StudyTrial, evaluate, explain
from hubserve.experiment.trial_record import ATTEMPTS, EXHAUSTED, INFEASIBLE, REASON, SCORES, is_trial, was_evaluated
from hubserve.space import Arch, ModelSpace
from hubserve.strategy import suggest_arch, trial_arch
from hubserve.training.evaluator import Evaluator, Objective

MOST_FAILURES = 20
"""Failed trials in a row after which something other than the archs must be wrong."""

MOST_INFEASIBLE = 1000
"""Proposals in a row of which none was feasible, after which the search ends."""


@dataclass(frozen=True)
class Plan:
    """What a search is given.

    Attributes:
        study: its strategy is the sampler.
        space: told to the strategy.
        evaluator: scores archs.
        objectives: of the study.
        screen: measures archs before they are evaluated, and judges them.
        executor: entered already.
        repeat: go on when every arch of the space had a trial.
        max_trials: evaluated trials in the study, those of earlier runs included; None is no bound.
        deadline: on the monotonic clock, after which no trial begins; None is no bound.
        seed: of the experiment.
        folder: of the experiment's files, or None.
        told: called after each trial that ended.
        stopped: whether somebody asked for the end.
    """

    study: Study
    space: ModelSpace
    evaluator: Evaluator
    objectives: tuple[Objective, ...]
    screen: Screen
    executor: Executor
    repeat: bool
    max_trials: int | None
    deadline: float | None
    seed: int
    folder: Path | None
    told: Callable[[FrozenTrial], None]
    stopped: Callable[[], bool]

    def trial_folder(self, number: int) -> Path | None:
        """Of one trial's files."""
        return None if self.folder is None else self.folder / "trials" / f"{number:06d}"


def search(plan: Plan) -> str:
    """Runs trials until there is a reason to end; returns the reason, a sentence."""
    return _Search(plan).run()


@dataclass
class _Search:
    plan: Plan
    pending: dict[Future[Outcome], tuple[optuna.Trial, dict[str, float]]] = field(default_factory=dict)
    evaluated: int = 0
    failures: int = 0
    infeasible: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        self.coverage = Coverage(self.plan.space)

    def run(self) -> str:
        plan = self.plan
        self.evaluator, self.space = plan.executor.share(plan.evaluator), plan.executor.share(plan.space)
        for trial in plan.study.get_trials(deepcopy=False):
            self.evaluated += was_evaluated(trial)
            if is_trial(trial) and trial.state.is_finished():
                self.coverage.add(trial_arch(trial, plan.space))
        trials = self._trials()
        while True:
            while not self._over() and len(self.pending) < plan.executor.workers:
                self._begin(next(trials))
            if not self.pending:
                return self.reason
            done, _ = wait(self.pending, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda future: self.pending[future][0].number):
                self._end(future)

    def _over(self) -> bool:
        """Whether no further trial begins; notes why."""
        plan = self.plan
        if not self.reason:
            if plan.stopped():
                self.reason = "stopped on request"
            elif plan.max_trials is not None and self.evaluated + len(self.pending) >= plan.max_trials:
                self.reason = f"{plan.max_trials} trials were evaluated, as many as were asked for"
            elif self.coverage.complete and not plan.repeat:
                self.reason = f"the space is exhausted: each of its {plan.space.count()} archs had a trial"
            elif plan.deadline is not None and time.monotonic() >= plan.deadline:
                self.reason = "the time is over"
        return bool(self.reason)

    def _trials(self) -> Iterator[optuna.Trial]:
        """Those that a process left when it was killed, under their own numbers, and then new ones without end."""
        again, given_up = unfinished(self.plan.study)
        for trial in given_up:
            self._fail(trial.number, f"it was begun {MOST_ATTEMPTS} times, and each time the process was gone before it ended")
        for trial in again:
            # Its strategy depends on its number and the stored trials, so it proposes the same arch.
            begun = optuna.Trial(self.plan.study, trial._trial_id)
            begun.set_user_attr(ATTEMPTS, trial.user_attrs.get(ATTEMPTS, 1) + 1)
            yield begun
        while True:
            yield self.plan.study.ask()

    def _begin(self, trial: optuna.Trial) -> None:
        plan = self.plan
        try:
            arch = suggest_arch(trial, plan.space)
        except SpaceExhausted as exhausted:
            trial.set_user_attr(EXHAUSTED, True)
            plan.study.tell(trial, state=TrialState.FAIL)
            self.reason = f"the space is exhausted: {exhausted}"
            return
        try:
            judged = plan.screen.judge(arch)
        except Exception as error:
            self._fail(trial.number, f"it could not be measured: {explain(error)}")
            return
        if judged.misses:
            self._refuse(trial, judged)
            return
        self.infeasible = 0
        self.pending[self._submit(trial, arch)] = (trial, judged.measures)

    def _submit(self, trial: optuna.Trial, arch: Arch) -> Future[Outcome]:
        plan, storage = self.plan, self.plan.study._storage
        channel = None
        # Optuna prunes where there is one objective, and a study in memory is not seen from other processes.
        if len(plan.objectives) == 1 and (plan.executor.shares_memory or not isinstance(storage, InMemoryStorage)):
            channel = Channel(storage, plan.study.study_name, trial._trial_id, plan.study.pruner)
        if isinstance(storage, FileStorage):
            storage.flush()
        told = StudyTrial(
            number=trial.number,
            seed=Random(f"{plan.seed}/{trial.number}").randrange(2**31),
            folder=plan.trial_folder(trial.number),
            experiment=plan.study.study_name,
            channel=channel,
        )
        return plan.executor.submit(evaluate, self.evaluator, self.space, arch, told)

    def _end(self, future: Future[Outcome]) -> None:
        trial, measures = self.pending.pop(future)
        error = future.exception()
        outcome = future.result() if error is None else Outcome("failed", reason=explain(error))
        if outcome.state == "complete":
            outcome = self._checked(outcome, measures)
        if outcome.state == "failed":
            self._fail(trial.number, outcome.reason)
            return
        self.failures = 0
        if outcome.state == "pruned":
            trial.set_user_attr(REASON, outcome.reason)
            self._tell(trial.number, TrialState.PRUNED)
            return
        self._complete(trial, outcome.scores)

    def _checked(self, outcome: Outcome, measures: dict[str, float]) -> Outcome:
        """With the measures among the scores; failed where an objective is not among them, or no number."""
        scores = measures | outcome.scores
        for objective in self.plan.objectives:
            value = scores.get(objective.name)
            if value is None:
                return Outcome("failed", reason=f"the evaluator gave {sorted(scores)} and not the objective {objective.name!r}")
            if value != value:
                return Outcome("failed", reason=f"the evaluator gave {objective.name} = nan")
        return Outcome("complete", scores)

    def _complete(self, trial: optuna.Trial, scores: dict[str, float]) -> None:
        if len(scores) > len(self.plan.objectives):
            trial.set_user_attr(SCORES, scores)
        self._tell(trial.number, TrialState.COMPLETE, [scores[objective.name] for objective in self.plan.objectives])

    def _fail(self, number: int, reason: str) -> None:
        trial = self.plan.study.get_trials(deepcopy=False)[number]
        self.plan.study._storage.set_trial_user_attr(trial._trial_id, REASON, reason)
        self._tell(number, TrialState.FAIL)
        self.failures += 1
        if self.failures >= MOST_FAILURES:
            self.reason = f"{self.failures} trials in a row failed; the last one: {reason}"

    def _tell(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        self.evaluated += 1
        self._note(self.plan.study.tell(number, values, state=state))

    def _note(self, trial: FrozenTrial) -> None:
        self.coverage.add(trial_arch(trial, self.plan.space))
        self.plan.told(trial)

    def _refuse(self, trial: optuna.Trial, judged: Feasibility) -> None:
        trial.set_user_attr(INFEASIBLE, judged.misses)
        trial.set_user_attr(REASON, judged.reason)
        self._note(self.plan.study.tell(trial, state=TrialState.PRUNED))
        self.infeasible += 1
        if self.infeasible >= MOST_INFEASIBLE:
            self.reason = f"{self.infeasible} proposals in a row met not all constraints"
