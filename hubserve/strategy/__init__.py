"""Search strategies: Optuna samplers that propose the archs that a search tries.

Every `Strategy` works in any Optuna study, and any Optuna sampler can be passed where a strategy is expected; `suggest_arch`
makes an arch from an Optuna trial.

A strategy that never repeats an arch raises SpaceExhausted from `suggest_arch` when no untried arch is left. A NasExperiment
then ends and records this as the reason; `study.optimize` marks its last trial as failed and raises the error.
"""

from hubserve.strategy.bananas import BANANAS
from hubserve.strategy.base import Strategy, suggest_arch
from hubserve.strategy.chain import Chain, Deduplication, Filter, Middleware
from hubserve.strategy.evolution import RegularizedEvolution
from hubserve.strategy.grid_search import GridSearch
from hubserve.strategy.local_search import LocalSearch
from hubserve.strategy.oneshot.base import OneShotResult, OneShotStrategy
from hubserve.strategy.oneshot.cost_limits import Penalty, RangeFilter
from hubserve.strategy.oneshot.darts import DARTS
from hubserve.strategy.oneshot.enas import ENAS
from hubserve.strategy.oneshot.extract_subnet import SupernetEvaluator
from hubserve.strategy.oneshot.gumbel_darts import GumbelDARTS
from hubserve.strategy.oneshot.proxyless import Proxyless
from hubserve.strategy.oneshot.random_oneshot import RandomOneShot
from hubserve.strategy.oneshot.search import OneShotProgress
from hubserve.strategy.pairwise_gp import PairwiseGP
from hubserve.strategy.pareto_evolution import ParetoEvolution
from hubserve.strategy.policy_based_rl import PolicyBasedRL
from hubserve.strategy.random_search import Random
from hubserve.strategy.sampler_adapter import Reseeded, as_strategy
from hubserve.strategy.tpe_nsga2 import NSGA2, TPE, TPEStrategy
from hubserve.strategy.trial_params import trial_arch

__all__ = [
    "BANANAS",
    "DARTS",
    "ENAS",
    "NSGA2",
    "TPE",
    "Chain",
    "Deduplication",
    "Filter",
    "GridSearch",
    "GumbelDARTS",
    "LocalSearch",
    "Middleware",
    "OneShotProgress",
    "OneShotResult",
    "OneShotStrategy",
    "PairwiseGP",
    "ParetoEvolution",
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
