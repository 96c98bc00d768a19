"""One-shot strategies, which search a space by training one supernet."""

from hubserve.strategy.oneshot.base import OneShotResult, OneShotStrategy
from hubserve.strategy.oneshot.cost_limits import Penalty, RangeFilter
from hubserve.strategy.oneshot.darts import DARTS, GumbelDARTS
from hubserve.strategy.oneshot.enas import ENAS
from hubserve.strategy.oneshot.extraction import Extraction, SupernetEvaluator, extract
from hubserve.strategy.oneshot.proxyless import Proxyless
from hubserve.strategy.oneshot.random_oneshot import RandomOneShot
from hubserve.strategy.oneshot.search import OneShotProgress

__all__ = [
    "DARTS",
    "ENAS",
    "Extraction",
    "GumbelDARTS",
    "OneShotProgress",
    "OneShotResult",
    "OneShotStrategy",
    "Penalty",
    "Proxyless",
    "RandomOneShot",
    "RangeFilter",
    "SupernetEvaluator",
    "extract",
]
