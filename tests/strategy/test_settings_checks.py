"""Settings of strategies: frozen, checked when they are made, and shown by repr."""

from __future__ import annotations

import dataclasses

import optuna
import pytest

from hubserve.errors import StrategyError
from hubserve.strategy import (
    BANANAS,
    NSGA2,
    TPE,
    Chain,
    Deduplication,
    GridSearch,
    LocalSearch,
    PairwiseGP,
    ParetoEvolution,
    PolicyBasedRL,
    Random,
    RegularizedEvolution,
    Reseeded,
    Strategy,
    as_strategy,
)

MADE = {
    "Random(dedup=False, seed=1)": lambda: Random(False, seed=1),
    "GridSearch(shuffle=True, dedup=True, seed=1)": lambda: GridSearch(seed=1),
    "RegularizedEvolution(population_size=8, sample_size=None, mutation_prob=None, crossover=False, dedup=True, seed=1)": (
        lambda: RegularizedEvolution(8, seed=1)
    ),
    "LocalSearch(initial=3, seed=1)": lambda: LocalSearch(3, seed=1),
    "BANANAS(initial=3, parents=10, candidates=200, trees=30, seed=1)": lambda: BANANAS(3, seed=1),
    "PairwiseGP(initial=3, candidates=400, seed=1)": lambda: PairwiseGP(3, seed=1),
    "ParetoEvolution(initial=3, seed=1)": lambda: ParetoEvolution(3, seed=1),
    "TPE(n_startup_trials=5, n_ei_candidates=24, seed=1)": lambda: TPE(5, seed=1),
    "NSGA2(population_size=4, mutation_prob=None, crossover_prob=0.9, swapping_prob=0.5, seed=1)": lambda: NSGA2(4, seed=1),
    "PolicyBasedRL(samples_per_update=4, replay_buffer_size=4, reward_for_invalid=None, hidden=64, "
    "ppo=Ppo(learning_rate=0.01, epochs=5, batch_size=None, clip=0.2, entropy_weight=0.01), seed=1)": (
        lambda: PolicyBasedRL(4, seed=1)
    ),
    "Chain(strategy=Random(dedup=True, seed=1), middlewares=(Deduplication(patience=7),), seed=1)": (
        lambda: Chain(Random(seed=1), Deduplication(patience=7))
    ),
    "Reseeded(QMCSampler, seed=1)": lambda: Reseeded(lambda seed: optuna.samplers.QMCSampler(seed=seed), seed=1),
}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("shown", MADE, ids=lambda shown: shown.partition("(")[0])
def test_repr_shows_settings_and_seed(shown):
    assert repr(MADE[shown]()) == shown


def test_a_wrapped_sampler_is_shown():
    assert repr(as_strategy(optuna.samplers.RandomSampler())).startswith("WrappedSampler(RandomSampler, seed=")


@pytest.mark.parametrize(
    "strategy", [MADE[shown]() for shown in MADE if not shown.startswith("Reseeded")], ids=lambda s: type(s).__name__
)
def test_settings_are_frozen(strategy):
    name = dataclasses.fields(strategy.settings)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(strategy.settings, name, 3)
    before = repr(strategy)
    if isinstance(strategy, (TPE, NSGA2)):
        optuna.create_study(sampler=strategy).ask().suggest_categorical("a", (1, 2))
    assert repr(strategy) == before


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: RegularizedEvolution(0), "^RegularizedEvolution: population_size = 0 must be at least 1"),
        (lambda: RegularizedEvolution(4, 5), "sample_size = 5 is more than population_size = 4"),
        (lambda: TPE(n_ei_candidates=0), "^TPE: n_ei_candidates = 0 must be at least 1"),
        (lambda: NSGA2(crossover_prob=1.5), "^NSGA2: crossover_prob = 1.5 is a probability, from 0 to 1"),
        (lambda: PolicyBasedRL(epochs=0), "^Ppo: epochs = 0 must be at least 1"),
        (lambda: Deduplication(patience=0), "^Deduplication: patience = 0 must be at least 1"),
    ],
)
def test_settings_are_checked_when_made(make, complaint):
    with pytest.raises(StrategyError, match=complaint):
        make()


def test_a_strategy_of_ones_own_needs_no_settings():
    class First(Strategy):
        def propose(self, study, trial):
            return self.bound.grid_arch(0)

    assert repr(First(seed=4)) == "First(seed=4)"
