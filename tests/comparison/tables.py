"""Small tables for the tests of comparisons."""

from __future__ import annotations

import itertools
import random

from hubserve.comparison import BenchmarkTable, Scores, table_of_rows
from hubserve.comparison.scored_csv import ChosenValues
from hubserve.comparison.table_space import TableSpace


def product_table(name: str = "product", *, seed: int = 0, minimize: str | None = None) -> BenchmarkTable:
    """60 archs whose scores depend on their choices, with noise; the cost grows with the score."""
    rng = random.Random(seed)
    columns = {"kernel": (3, 5, 7), "width": (8, 16, 24, 32), "act": ("gelu", "none", "relu", "silu", "tanh")}
    rows = {}
    for kernel, width, act in itertools.product(*columns.values()):
        score = kernel + width / 4 + len(act) + rng.random()
        rows[kernel, width, act] = {"valid": score, "test": score + rng.random(), "ms": kernel * width + rng.random()}
    space = TableSpace(tuple(columns.items()))
    return table_of_rows(name, space, ChosenValues(tuple(columns)), rows, Scores(("valid",), "test", minimize))
