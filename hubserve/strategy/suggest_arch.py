"""suggest_arch: the arch that a trial of any Optuna study tries."""

import optuna
from optuna.trial import BaseTrial

from hubserve.space import Arch, ModelSpace
from hubserve.strategy.base import Strategy
from hubserve.strategy.trial_params import distribution


def suggest_arch(trial: BaseTrial, space: ModelSpace) -> Arch:
    """The arch that the trial's sampler proposes; it is asked only for choices that matter.

    With it any Optuna study searches a model space:

    >>> study.optimize(lambda trial: evaluate(suggest_arch(trial, space)))

    A `Strategy` that has no space yet is bound to `space`, and proposes what `space.check` allows. Another sampler of Optuna
    does not know that rule: call `space.check` on its archs, or wrap the sampler with `as_strategy`.

    Raises:
        SpaceExhausted: The strategy has no arch left. `study.optimize` ends with this error, its last trial failed.
    """
    if isinstance(trial, optuna.Trial) and isinstance(trial.study.sampler, Strategy) and trial.study.sampler.space is None:
        trial.study.sampler.bind(space)
    return space.arch_from(
        lambda choice: choice.from_category(trial.suggest_categorical(choice.label, distribution(choice).choices))
    )
