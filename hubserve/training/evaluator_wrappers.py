"""Evaluators around evaluators: what becomes of failures, of chance, and of archs that come again."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hubserve.errors import EvaluatorError, TrialPruned
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Evaluator, Trial


class FailureHandler(Evaluator):
    """Evaluates again, with another seed, where an evaluation fails, or scores the failure.

    Give exactly one of `metric` and `retry_patience`.

    Args:
        evaluator: the one that may fail.
        metric: the score of a failed arch: one number for all objectives, or a number by objective.
        retry_patience: further attempts; the last failure is the trial's.
        failure_types: what counts as a failure. A pruned trial never does.
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
    """The mean score of several evaluations with seeds of their own.

    The first evaluation reports intermediate values, and may be pruned; the others do not report.

    Args:
        evaluator: the one whose score varies.
        repeat: evaluations of each arch.
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
    """Evaluates each arch once and answers with the same scores when it comes again, within this process.

    Args:
        evaluator: the one that is worth asking once only.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self.objectives = evaluator.objectives
        self._evaluator = evaluator
        self._known: dict[tuple[ModelSpace, str], dict[str, float]] = {}

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        key = (space, json.dumps(space.canonical(arch), sort_keys=True))
        if key not in self._known:
            self._known[key] = self._evaluator.evaluate(space, arch, trial)
        return dict(self._known[key])


def _again(trial: Trial, attempt: int) -> Trial:
    """The trial itself at first, then one with another seed, a folder within the trial's, and nobody to report to."""
    if attempt == 0:
        return trial
    folder = None if trial.folder is None else trial.folder / f"attempt-{attempt}"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return Trial(number=trial.number, seed=trial.seed + attempt * 1_000_003, folder=folder)
