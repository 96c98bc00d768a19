"""The way from a trial of any Optuna study to an arch."""

from __future__ import annotations

import optuna
from optuna.trial import BaseTrial

from hubserve.space import Arch, ModelSpace
from hubserve.strategy.base import Strategy
from hubserve.strategy.trial_params import distribution


def suggest_arch(trial: BaseTrial, space: ModelSpace) -> Arch:
    """The arch that the trial's sampler proposes; only choices that matter are asked.

    With it any Optuna study searches a model space:

    >>> study.optimize(lambda trial: evaluate(suggest_arch(trial, space)))

    A strategy of ours that was not told its space yet is told now, and proposes what `space.check` agrees to. Another sampler
    of Optuna knows no such rule: hold its archs to `space.check`, or hand the sampler to `as_strategy`.

    Raises:
        SpaceExhausted: every arch had its turn. A study that calls `optimize` ends with this error, its last trial failed.
    """
    if isinstance(trial, optuna.Trial) and isinstance(trial.study.sampler, Strategy) and trial.study.sampler.space is None:
        trial.study.sampler.bind(space)
    return space.arch_from(
        lambda choice: choice.from_category(trial.suggest_categorical(choice.label, distribution(choice).choices))
    )
