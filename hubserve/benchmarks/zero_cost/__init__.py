"""Zero-cost scores: numbers that rank archs by one batch and an untrained network, in milliseconds to seconds an arch.

`zero_cost_scores` scores a network. `ZeroCostMeasure` scores archs, remembers their scores, and is a measure of an experiment;
`ZeroCost` is the evaluator that searches by such a score. `hubserve.experiment.quantile_constraint` refuses archs with low
scores before they are trained.
"""

from hubserve.benchmarks.zero_cost.jacov import jacov
from hubserve.benchmarks.zero_cost.naswot import naswot
from hubserve.benchmarks.zero_cost.score_functions import SCORES, defined_scores, zero_cost_scores
from hubserve.benchmarks.zero_cost.scores_by_arch import ZeroCostMeasure, draw_batch
from hubserve.benchmarks.zero_cost.snip import snip
from hubserve.benchmarks.zero_cost.synflow import synflow
from hubserve.benchmarks.zero_cost.zen import zen
from hubserve.benchmarks.zero_cost.zero_cost_evaluator import ZeroCost

__all__ = [
    "SCORES",
    "ZeroCost",
    "ZeroCostMeasure",
    "defined_scores",
    "draw_batch",
    "jacov",
    "naswot",
    "snip",
    "synflow",
    "zen",
    "zero_cost_scores",
]
