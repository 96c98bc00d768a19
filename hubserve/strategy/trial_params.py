"""Converts archs to the parameters of Optuna trials and back."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from hubserve.space import Arch, Choice, ModelSpace


def trial_arch(trial: FrozenTrial, space: ModelSpace) -> Arch:
    """Returns the arch that a stored trial tries; an empty dict if the trial has no parameters of the space.

    Parameters of other names are left out. Nothing is checked: labels may be missing, and values may be no candidates.

    Raises:
        ValueError: The parameter of a choice of inputs is text, but not such as "0,2".
    """
    params = trial.params
    return {label: choice.from_category(params[label]) for label, choice in space.choices.items() if label in params}


@lru_cache(maxsize=4096)
def distribution(choice: Choice) -> CategoricalDistribution:
    """Returns the categorical distribution over the answers to `choice`; a list of inputs becomes text such as "0,2"."""
    return CategoricalDistribution(tuple(map(choice.to_category, choice.answers())))


def categories(arch: Mapping[str, Any], space: ModelSpace) -> dict[str, Any]:
    """Returns the Optuna parameters of a trial that tries `arch`, by label."""
    return {label: space.choices[label].to_category(answer) for label, answer in arch.items()}
