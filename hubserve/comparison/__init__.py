"""Compares search strategies on tables of known scores: many seeds, intervals, paired tests, ranks and plots.

>>> from hubserve.comparison import Scores, compare, read_scored_csv, summary_frame
>>> table = read_scored_csv(Path("my.csv.gz"), ["kernel", "width"], Scores(("valid",), "test"))
>>> comparison = compare(table, ["Random", "RegularizedEvolution:population_size=20"], trials=100, seeds=50)
>>> summary_frame(comparison).records()

`hubserve compare` is the same as a command.
"""

from hubserve.comparison.benchmark_table import BenchmarkTable, Scores, table_of_rows
from hubserve.comparison.comparison import StrategyComparison, compare
from hubserve.comparison.competitors import Competitor, find_competitors
from hubserve.comparison.frames import Frame, curve_frame, pair_frame, random_frame, rank_frame, summary_frame, time_frame
from hubserve.comparison.nas_benchmark_tables import NAMED_TABLES, named_table
from hubserve.comparison.scored_csv import read_scored_csv
from hubserve.comparison.table_result import TableResult
from hubserve.comparison.table_space import TableSpace

__all__ = [
    "NAMED_TABLES",
    "BenchmarkTable",
    "Competitor",
    "Frame",
    "Scores",
    "StrategyComparison",
    "TableResult",
    "TableSpace",
    "compare",
    "curve_frame",
    "find_competitors",
    "named_table",
    "pair_frame",
    "random_frame",
    "rank_frame",
    "read_scored_csv",
    "summary_frame",
    "table_of_rows",
    "time_frame",
]
