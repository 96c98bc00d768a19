"""A space's choices as Optuna's distributions, and a trial's parameters as an arch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from optuna import Trial
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from hubserve.space import Arch, Choice, ModelSpace


def suggest_arch(trial: Trial, space: ModelSpace) -> Arch:
    """The arch that the trial's sampler proposes; only choices that matter are asked. Not yet held to `space.check`.

    With it any Optuna study searches a model space:

    >>> study.optimize(lambda trial: evaluate(suggest_arch(trial, space)))
    """
    arch: Arch = {}
    for choice in space.gates_first:
        if choice.active(arch):
            categories = distribution(choice).choices
            arch[choice.label] = _answer(choice, trial.suggest_categorical(choice.label, categories))
    return arch


def trial_arch(trial: FrozenTrial, space: ModelSpace) -> Arch:
    """The arch of a stored trial."""
    return {label: _answer(choice, trial.params[label]) for label, choice in space.choices.items() if label in trial.params}


@lru_cache(maxsize=4096)
def distribution(choice: Choice) -> CategoricalDistribution:
    """The categorical distribution over the answers to a choice; an input choice's lists become text such as "0,2"."""
    return CategoricalDistribution(tuple(category(choice, answer) for answer in choice.answers()))


def category(choice: Choice, answer: Any) -> Any:
    """How `answer` is written as a category of `distribution(choice)`."""
    return ",".join(map(str, answer)) if choice.multiple else answer


def _answer(choice: Choice, category: Any) -> Any:
    if not choice.multiple:
        return category
    return [int(index) for index in category.split(",")] if category else []
