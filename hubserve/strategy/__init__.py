"""Search strategies: Optuna samplers under the field's names.

Any Optuna sampler is a strategy, and these work in any Optuna study; `suggest_arch` asks a trial for an arch.

How a search ends by itself: a strategy that never repeats an arch raises SpaceExhausted when it has no other, out of
`suggest_arch`. A NasExperiment then stops and says so; `study.optimize` fails its last trial and raises the error.
"""

from __future__ import annotations

from hubserve.strategy.base import Strategy
from hubserve.strategy.chain import Chain, Deduplication, Filter, Middleware
from hubserve.strategy.distributions import trial_arch
from hubserve.strategy.evolution import RegularizedEvolution
from hubserve.strategy.grid import GridSearch
from hubserve.strategy.oneshot import (
    DARTS,
    ENAS,
    GumbelDARTS,
    OneShotProgress,
    OneShotResult,
    OneShotStrategy,
    Penalty,
    Proxyless,
    RandomOneShot,
    RangeFilter,
    SupernetEvaluator,
)
from hubserve.strategy.optuna_samplers import NSGA2, TPE, TPEStrategy
from hubserve.strategy.optuna_strategy import Reseeded, as_strategy
from hubserve.strategy.random import Random
from hubserve.strategy.rl import PolicyBasedRL
from hubserve.strategy.suggest_arch import suggest_arch

__all__ = [
    "DARTS",
    "ENAS",
    "NSGA2",
    "TPE",
    "Chain",
    "Deduplication",
    "Filter",
    "GridSearch",
    "GumbelDARTS",
    "Middleware",
    "OneShotProgress",
    "OneShotResult",
    "OneShotStrategy",
    "Penalty",
    "PolicyBasedRL",
    "Proxyless",
    "Random",
    "RandomOneShot",
    "RangeFilter",
    "RegularizedEvolution",
    "Reseeded",
    "Strategy",
    "SupernetEvaluator",
    "TPEStrategy",
    "as_strategy",
    "suggest_arch",
    "trial_arch",
]
