"""Random search."""

from __future__ import annotations

from hubserve.strategy.base import Strategy


class Random(Strategy):
    """Draws every choice on its own, by the space's prior where it states one: the baseline that others must beat.

    Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization".
    """
