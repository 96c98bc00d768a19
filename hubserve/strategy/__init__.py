"""Search strategies: Optuna samplers under the field's names.

Any Optuna sampler is a strategy, and these work in any Optuna study; `suggest_arch` asks a trial for an arch.
"""

from __future__ import annotations

from hubserve.strategy.evolution import RegularizedEvolution
from hubserve.strategy.grid import GridSearch
from hubserve.strategy.params import suggest_arch, trial_arch
from hubserve.strategy.random import Random
from hubserve.strategy.reseeded import TPE, Reseeded
from hubserve.strategy.rl import PolicyBasedRL

__all__ = [
    "TPE",
    "GridSearch",
    "PolicyBasedRL",
    "Random",
    "RegularizedEvolution",
    "Reseeded",
    "suggest_arch",
    "trial_arch",
]
