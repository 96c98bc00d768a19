"""`ScoredArchs`, the archs that a study has tried with their scores, and mutated and neighbouring archs of the best ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from hubserve.errors import ArchError
from hubserve.space import Arch, Choice, ModelSpace
from hubserve.strategy.trial_params import trial_arch

MOST_ANSWERS = 64
"""A choice with more answers than this has so many random ones among the neighbours of an arch."""


@dataclass(frozen=True)
class ScoredArchs:
    """The archs of the finished trials of a study, ordered by trial number, with their scores.

    Attributes:
        archs: Archs of the trials.
        scores: Values of the trials, shape (trials, objectives), negated where the study minimizes, so that more is better.
            A pruned trial has its last reported value if the study has a single objective. Trials without a value, and those
            with an infinite one, have the lowest finite value of each objective. If no trial has finite values, there are
            neither archs nor rows.
    """

    archs: list[Arch]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, study: Study, space: ModelSpace) -> ScoredArchs:
        """Returns the scored archs of `study`; trials whose parameters are no arch of the space are left out."""
        signs = np.array([1.0 if direction.name == "MAXIMIZE" else -1.0 for direction in study.directions])
        archs, rows = [], []
        finished = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        trials = study.get_trials(deepcopy=False, states=finished)
        for trial, arch in zip(trials, archs_of(trials, space), strict=True):
            if arch is not None:
                archs.append(arch)
                rows.append(signs * _values(trial, len(signs)))
        scores = np.array(rows, float).reshape(len(archs), len(signs))
        known = np.isfinite(scores)
        if not known.all(axis=1).any():
            return cls([], scores[:0])
        lowest = np.where(known, scores, np.inf).min(axis=0)
        return cls(archs, np.where(known, scores, lowest))

    def best(self, count: int) -> list[Arch]:
        """Returns the archs with the highest score of the first objective, the highest first; of equals the earlier one."""
        order = np.argsort(-self.scores[:, 0], kind="stable")[:count]
        return [self.archs[index] for index in order]


def front_archs(study: Study, space: ModelSpace) -> list[Arch]:
    """Returns the archs of the Pareto front of the complete trials of `study` (`study.best_trials`)."""
    return [arch for arch in archs_of(study.best_trials, space) if arch is not None]


def running_archs(study: Study, space: ModelSpace, trial: FrozenTrial) -> list[Arch]:
    """Returns the archs of the running trials of `study`, except `trial`; those that are not yet known are left out."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    archs = archs_of((other for other in running if other.number != trial.number), space)
    return [arch for arch in archs if arch is not None]


def archs_of(trials: Iterable[FrozenTrial], space: ModelSpace) -> Iterator[Arch | None]:
    """Yields the canonical arch of each trial; None for a trial whose parameters are no arch of the space."""
    for trial in trials:
        try:
            yield space.canonical(trial_arch(trial, space))
        except (ArchError, ValueError):
            yield None


def _values(trial: FrozenTrial, objectives: int) -> NDArray[np.float64]:
    values = [math.nan] * objectives
    if trial.state is TrialState.COMPLETE:
        values = trial.values
    elif trial.state is TrialState.PRUNED and objectives == 1 and trial.intermediate_values:
        values = [trial.intermediate_values[max(trial.intermediate_values)]]
    return np.array(values, float)


def neighbours(space: ModelSpace, arch: Arch, rng: Random) -> Iterator[Arch]:
    """Yields the archs that differ from `arch` in the answer to one choice and that the space's check accepts.

    They come in random order. Choices that become active by the other answer are drawn. Of a choice with more than
    `MOST_ANSWERS` answers, so many random other answers are taken, which may repeat.
    """
    changes = [(label, answer) for label in arch for answer in _others(space.choices[label], arch[label], rng)]
    rng.shuffle(changes)
    for label, answer in changes:
        child = _changed(space, {**arch, label: answer}, rng)
        if space.allows(child):
            yield child


def _others(choice: Choice, current: Any, rng: Random) -> list[Any]:
    if choice.size <= MOST_ANSWERS:
        return [answer for answer in choice.answers() if answer != current]
    return [choice.another(current, rng) for _ in range(MOST_ANSWERS)]


def _changed(space: ModelSpace, known: Arch, rng: Random) -> Arch:
    return space.arch_from(lambda choice: known[choice.label] if choice.label in known else choice.random(rng))


def mutants(space: ModelSpace, parents: list[Arch], count: int, mutations: int, rng: Random) -> list[Arch]:
    """Returns `count` archs, each a random one of `parents` with 1 to `mutations` mutations; archs may repeat.

    In a space with a single arch, nothing can be mutated: returns a copy of the list `parents`, whatever `count` is.
    """
    if all(choice.size == 1 for choice in space.choices.values()):
        return list(parents)
    found = []
    for _ in range(count):
        arch = rng.choice(parents)
        for _ in range(rng.randint(1, mutations)):
            arch = space.mutate(arch, rng)
        found.append(arch)
    return found
