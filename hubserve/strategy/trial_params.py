"""An arch as the parameters of an Optuna trial, and back."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from hubserve.space import Arch, Choice, ModelSpace


def trial_arch(trial: FrozenTrial, space: ModelSpace) -> Arch:
    """The arch that a stored trial tries; empty where the strategy proposed none."""
    params = trial.params
    return {label: choice.from_category(params[label]) for label, choice in space.choices.items() if label in params}


@lru_cache(maxsize=4096)
def distribution(choice: Choice) -> CategoricalDistribution:
    """The categorical distribution over the answers to a choice; an answer of several inputs is text such as "0,2"."""
    return CategoricalDistribution(tuple(map(choice.to_category, choice.answers())))


def categories(arch: Mapping[str, Any], space: ModelSpace) -> dict[str, Any]:
    """The parameters of a trial that tries `arch`."""
    return {label: space.choices[label].to_category(answer) for label, answer in arch.items()}
