"""Search strategies, which are Optuna samplers: they propose the archs that a search tries.

Any Optuna sampler is a strategy, and these work in any Optuna study; `suggest_arch` asks a trial for an arch.

A strategy that never repeats an arch raises SpaceExhausted out of `suggest_arch` when it has no other. A NasExperiment then
ends, with that as its reason; `study.optimize` fails its last trial and raises the error.
"""

from hubserve.strategy.base import Strategy
from hubserve.strategy.chain import Chain, Deduplication, Filter, Middleware
from hubserve.strategy.evolution import RegularizedEvolution
from hubserve.strategy.grid_search import GridSearch
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
from hubserve.strategy.policy_based_rl import PolicyBasedRL
from hubserve.strategy.random_search import Random
from hubserve.strategy.sampler_adapter import Reseeded, as_strategy
from hubserve.strategy.suggest_arch import suggest_arch
from hubserve.strategy.tpe_nsga2 import NSGA2, TPE, TPEStrategy
from hubserve.strategy.trial_params import trial_arch

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
