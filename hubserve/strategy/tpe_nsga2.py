"""Samplers of Optuna under the field's names, with defaults for architecture search."""

from __future__ import annotations

from optuna.samplers import NSGAIISampler, TPESampler

from hubserve.strategy.base import at_least, probability
from hubserve.strategy.sampler_adapter import Reseeded


class TPE(Reseeded):
    """Tree-structured Parzen estimator: Optuna's, which learns where good trials differ from the rest.

    Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization", section 4. It follows the study's direction, unlike
    NNI's wrapper, which minimises whatever the metric means.

    Args:
        n_startup_trials: random trials before the first estimate.
        n_ei_candidates: draws of which the most promising is proposed.
        seed: see Strategy.
    """

    same_for_all_trials = True

    def __init__(self, n_startup_trials: int = 10, n_ei_candidates: int = 24, *, seed: int | None = None) -> None:
        at_least("TPE", 1, n_startup_trials=n_startup_trials, n_ei_candidates=n_ei_candidates)
        super().__init__(
            lambda trial_seed: TPESampler(n_startup_trials=n_startup_trials, n_ei_candidates=n_ei_candidates, seed=trial_seed),
            seed=seed,
        )


TPEStrategy = TPE
"""NNI's other name of it."""


class NSGA2(Reseeded):
    """NSGA-II, Optuna's: evolves a Pareto front, for two objectives or more.

    Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II".

    Args:
        population_size: of a generation; the first generation is random.
        mutation_prob: of each choice; None is one over the number of choices.
        crossover_prob: of a child having two parents.
        swapping_prob: of each choice being the second parent's.
        seed: see Strategy.
    """

    same_for_all_trials = True

    def __init__(
        self,
        population_size: int = 20,
        *,
        mutation_prob: float | None = None,
        crossover_prob: float = 0.9,
        swapping_prob: float = 0.5,
        seed: int | None = None,
    ) -> None:
        at_least("NSGA2", 2, population_size=population_size)
        probability("NSGA2", mutation_prob=mutation_prob, crossover_prob=crossover_prob, swapping_prob=swapping_prob)
        super().__init__(
            lambda trial_seed: NSGAIISampler(
                population_size=population_size,
                mutation_prob=mutation_prob,
                crossover_prob=crossover_prob,
                swapping_prob=swapping_prob,
                seed=trial_seed,
            ),
            seed=seed,
        )
