"""`TPE` and `NSGA2`, strategies that use Optuna's samplers with defaults for architecture search."""

from dataclasses import asdict, dataclass

from optuna.samplers import NSGAIISampler, TPESampler

from hubserve.strategy.sampler_adapter import Reseeded
from hubserve.strategy.settings_checks import at_least, probability


@dataclass(frozen=True)
class TPESettings:
    """The arguments of `TPE` except its seed, named as in Optuna's TPESampler. Raises StrategyError if one is below 1."""

    n_startup_trials: int
    n_ei_candidates: int

    def __post_init__(self) -> None:
        at_least(self, 1, "n_startup_trials", "n_ei_candidates")


class TPE(Reseeded):
    """Optuna's tree-structured Parzen estimator, which models how the answers of good trials differ from those of the others.

    Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization", section 4. It minimizes or maximizes as the study does,
    unlike NNI's wrapper, which always minimizes.

    Args:
        n_startup_trials: Number of random trials before the first estimate, at least 1.
        n_ei_candidates: Number of draws of which the most promising one is proposed, at least 1.
        seed: Seed of all random numbers; None draws a seed.

    Raises:
        StrategyError: An argument is out of its range; or, when a trial is sampled, the space's check refused 1000 archs in a
            row.
    """

    settings: TPESettings
    same_for_all_trials = True

    def __init__(self, n_startup_trials: int = 10, n_ei_candidates: int = 24, *, seed: int | None = None) -> None:
        self.settings = TPESettings(n_startup_trials, n_ei_candidates)
        super().__init__(lambda trial_seed: TPESampler(**asdict(self.settings), seed=trial_seed), seed=seed)


TPEStrategy = TPE
"""An alias of `TPE`, which NNI uses."""


@dataclass(frozen=True)
class NSGA2Settings:
    """The arguments of `NSGA2` except its seed, named as in Optuna's NSGAIISampler. Raises StrategyError if one is wrong."""

    population_size: int
    mutation_prob: float | None
    crossover_prob: float
    swapping_prob: float

    def __post_init__(self) -> None:
        at_least(self, 2, "population_size")
        probability(self, "mutation_prob", "crossover_prob", "swapping_prob")


class NSGA2(Reseeded):
    """Optuna's NSGA-II, a genetic algorithm that finds a Pareto front of several objectives.

    Deb et al. 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II".

    Args:
        population_size: Number of trials in a generation, at least 2; the first generation is random.
        mutation_prob: Probability with which each choice is drawn again; None is 1 divided by the number of choices.
        crossover_prob: Probability that a child has two parents.
        swapping_prob: Probability with which each choice is taken from the second parent.
        seed: Seed of all random numbers; None draws a seed.

    Raises:
        StrategyError: An argument is out of its range; or, when a trial is sampled, the space's check refused 1000 archs in a
            row.
    """

    settings: NSGA2Settings
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
        self.settings = NSGA2Settings(population_size, mutation_prob, crossover_prob, swapping_prob)
        super().__init__(lambda trial_seed: NSGAIISampler(**asdict(self.settings), seed=trial_seed), seed=seed)
