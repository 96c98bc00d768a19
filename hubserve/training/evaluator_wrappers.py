"""Evaluators that wrap another evaluator: `FailureHandler`, `MultipleEvaluation` and `Replay`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from hubserve.errors import EvaluatorError, TrialPruned
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Evaluator, Trial


class FailureHandler(Evaluator):
    """An evaluator that, if an evaluation fails, repeats it with another seed or returns a fixed score.

    Exactly one of `metric` and `retry_patience` must be given. Only the first attempt reports intermediate values, and may be
    pruned.

    Args:
        evaluator: Evaluator that may fail.
        metric: Score that is returned if the evaluation fails: one number for all objectives, or a number for each objective,
            by name.
        retry_patience: Number of further attempts, at least 1; if the last one fails, its exception is raised.
        failure_types: Classes of exceptions that count as a failure; TrialPruned never does.

    Raises:
        EvaluatorError: Both or none of `metric` and `retry_patience` are given, or one has a value that is not allowed.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        metric: float | Mapping[str, float] | None = None,
        retry_patience: int | None = None,
        failure_types: tuple[type[Exception], ...] = (Exception,),
    ) -> None:
        if (metric is None) == (retry_patience is None):
            raise EvaluatorError(
                f"FailureHandler: metric = {metric!r}, retry_patience = {retry_patience!r}: give exactly one of them"
            )
        if retry_patience is not None and retry_patience < 1:
            raise EvaluatorError(f"FailureHandler: retry_patience = {retry_patience} must be at least 1")
        names = [objective.name for objective in evaluator.objectives]
        scores = dict(metric) if isinstance(metric, Mapping) else dict.fromkeys(names, metric)
        if sorted(scores) != sorted(names):
            raise EvaluatorError(f"FailureHandler: metric = {metric!r} must have a number for each of {', '.join(names)}")
        self.objectives = evaluator.objectives
        self._evaluator = evaluator
        self._scores = scores
        self._retries = retry_patience or 0
        self._failures = failure_types

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        for attempt in range(self._retries + 1):
            try:
                return self._evaluator.evaluate(space, arch, _again(trial, attempt))
            except TrialPruned:
                raise
            except self._failures:
                if self._retries and attempt == self._retries:
                    raise
        return {name: score for name, score in self._scores.items() if score is not None}


class MultipleEvaluation(Evaluator):
    """An evaluator that evaluates an arch several times, each time with another seed, and returns the mean of each score.

    Only the first evaluation reports intermediate values, and may be pruned.

    Args:
        evaluator: Evaluator whose scores depend on the seed.
        repeat: Number of evaluations of each arch, at least 1.

    Raises:
        EvaluatorError: `repeat` is below 1.
    """

    def __init__(self, evaluator: Evaluator, repeat: int) -> None:
        if repeat < 1:
            raise EvaluatorError(f"MultipleEvaluation: repeat = {repeat} must be at least 1")
        self.objectives = evaluator.objectives
        self.repeat = repeat
        self._evaluator = evaluator

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        runs = [self._evaluator.evaluate(space, arch, _again(trial, run)) for run in range(self.repeat)]
        return {name: sum(run[name] for run in runs) / self.repeat for name in runs[0]}


class Replay(Evaluator):
    """An evaluator that evaluates each arch once, and returns the same scores if the arch is evaluated again in this process.

    The intermediate values of the first evaluation are reported again as well, so a pruner may end the later trial. An
    evaluation that failed or was ended early is not kept.

    Args:
        evaluator: Evaluator that is called once for each arch.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.objectives = evaluator.objectives
        self._evaluator = evaluator
        self._known: dict[tuple[type[ModelSpace], str, str], _Evaluated] = {}

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        # Not the space itself: a setting such as a dict cannot be hashed.
        key = (type(space), repr(space), json.dumps(space.canonical(arch), sort_keys=True))
        known = self._known.get(key)
        if known is None:
            recorded = _RecordedTrial(trial.number, trial.seed, trial.folder, trial.experiment, trial.checkpoint, inner=trial)
            self._known[key] = known = _Evaluated(self._evaluator.evaluate(space, arch, recorded), recorded.reports)
        else:
            for step, value in known.reports:
                trial.report(step, value)
        return dict(known.scores)


@dataclass(frozen=True)
class _Evaluated:
    """The scores and the reports of an evaluation.

    Attributes:
        scores: Scores by name.
        reports: (step, value) of each report, in their order.
    """

    scores: dict[str, float]
    reports: list[tuple[int, float]]


@dataclass(frozen=True)
class _RecordedTrial(Trial):
    """A trial that keeps what is reported, and passes it on to another one.

    Attributes:
        inner: The trial to which reports are passed on.
        reports: (step, value) of each report so far, in their order.
    """

    inner: Trial = field(default_factory=Trial)
    reports: list[tuple[int, float]] = field(default_factory=list)

    def report(self, step: int, value: float) -> None:
        self.inner.report(step, value)
        self.reports.append((step, value))


def _again(trial: Trial, attempt: int) -> Trial:
    """Returns the trial of an attempt.

    For attempt 0 it is `trial` itself. For later ones it is a trial with another seed and a sub-folder of the folder of
    `trial`, which is created. It ignores reports, and has no checkpoint.
    """
    if attempt == 0:
        return trial
    folder = None if trial.folder is None else trial.folder / f"attempt-{attempt}"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return Trial(number=trial.number, seed=trial.seed + attempt * 1_000_003, folder=folder, experiment=trial.experiment)
