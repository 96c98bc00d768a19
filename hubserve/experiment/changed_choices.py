"""`changed_choice`: finds out from stored trials whether the choices of a model space were changed since they were tried."""

from collections.abc import Iterable

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from hubserve.space import ModelSpace
from hubserve.strategy import trial_arch
from hubserve.strategy.trial_params import distribution


def changed_choice(trials: Iterable[FrozenTrial], space: ModelSpace) -> str | None:
    """Returns a phrase that says which choice of `space` was another one when the trials were stored; None if none was.

    A choice was another one if it had other candidates, or the same in another order, or if it was asked for in other archs.
    Only choices that a trial has answered, or should have, can be compared. Rules (`ModelSpace.check`) are not compared.

    Args:
        trials: Trials of one study.
        space: The space as it is now.
    """
    compared: set[str] = set()
    for trial in trials:
        for label in trial.distributions:
            if label in compared:
                continue
            compared.add(label)
            if label not in space.choices:
                return f"the choice {label!r} is no longer one of {type(space).__name__}"
            if trial.distributions[label] != distribution(space.choices[label]):
                now = _listed(distribution(space.choices[label]))
                return f"the choice {label!r} had the candidates {_listed(trial.distributions[label])} and has {now}"
        # Of other trials, a process may have been killed before all choices were answered.
        if trial.params and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            arch = trial_arch(trial, space)
            for choice in space.gates_first:
                if choice.active(arch) != (choice.label in arch):
                    had = "was asked for" if choice.label in arch else "was not asked for"
                    return f"the choice {choice.label!r} {had} in the arch {arch} of trial {trial.number}"
    return None


def _listed(found: BaseDistribution) -> str:
    return repr(found.choices) if isinstance(found, CategoricalDistribution) else repr(found)
