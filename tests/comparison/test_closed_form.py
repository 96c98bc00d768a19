"""The exact expectation of random search, against all orders of small tables and against a published figure."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass

import numpy as np
import pytest
from torch import nn

from hubserve.comparison import Scores, TableSpace, named_table, table_of_rows
from hubserve.comparison.closed_form import random_closed_form
from hubserve.comparison.nas_benchmark_tables import TableOptions
from hubserve.comparison.scored_csv import ChosenValues
from hubserve.errors import ArchError
from hubserve.space import ModelSpace


def small_table(drive, judge, *, invalid=0, lower_is_better=False):
    """As many archs as scores, and some without."""
    space = TableSpace((("a", tuple(range(len(judge) + invalid))),))
    rows = {(i,): {"v": drive[i], "t": judge[i]} for i in range(len(judge))}
    return table_of_rows("small", space, ChosenValues(("a",)), rows, Scores(("v",), "t", None, lower_is_better))


def judged(table, archs, run=0):
    """Judging score of the arch that is best among `archs`; of the first one, if several are."""
    rows = [arch for arch in archs if arch < len(table)]
    if not rows:
        return table.worst_judge
    return float(table.judge[max(rows, key=lambda row: table.sign * table.drive[run, row])])


TABLES = {
    "plain": small_table([3.0, 1.0, 2.0, 5.0], [1.0, 4.0, 2.0, 3.0]),
    "equal driving scores": small_table([2.0, 1.0, 2.0, 2.0], [1.0, 4.0, 2.0, 9.0]),
    "invalid archs": small_table([2.0, 1.0, 2.0], [1.0, 4.0, 2.0], invalid=2),
    "lower is better": small_table([2.0, 1.0, 3.0], [1.0, 4.0, 2.0], invalid=1, lower_is_better=True),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("repeats", [False, True])
def test_equals_the_mean_over_all_draws(name, repeats):
    table = TABLES[name]
    archs = range(table.space.grid_size)
    exact = random_closed_form(table, len(archs), [0], repeats=repeats)
    for n in range(1, len(archs) + 1):
        draws = itertools.product(archs, repeat=n) if repeats else itertools.permutations(archs, n)
        scores = [judged(table, draw) for draw in draws]
        assert exact.mean[n - 1] == pytest.approx(statistics.mean(scores), rel=1e-12)
        assert exact.variance[n - 1] == pytest.approx(statistics.pvariance(scores), rel=1e-9, abs=1e-12)


def test_stays_when_all_archs_were_drawn():
    exact = random_closed_form(TABLES["plain"], 9, [0])
    assert exact.mean[3:].tolist() == [3.0] * 6
    assert exact.variance[3:].tolist() == [0.0] * 6


def test_runs_count_as_often_as_seeds_choose_them():
    table = small_table([(1.0, 2.0), (2.0, 1.0)], [10.0, 20.0])
    assert random_closed_form(table, 2, [0, 1]).mean.tolist() == [15.0, 15.0]
    assert random_closed_form(table, 2, [0, 2, 1]).mean[1] == pytest.approx((20 + 20 + 10) / 3)


def test_nasbench201_has_the_known_expectation(shared):
    options = TableOptions(str(shared / "benchmarks" / "nb201.csv"), dataset="cifar100")
    exact = random_closed_form(named_table("NasBench201", options), 500, range(3), repeats=True)
    # Computed by another program, which broke ties in another way: 0.001 may differ.
    known = [53.718, 57.997, 58.915, 59.481, 59.969]
    assert [float(exact.mean[n - 1]) for n in (10, 50, 100, 200, 500)] == pytest.approx(known, abs=0.002)


@dataclass(frozen=True)
class Weighted(ModelSpace):
    def build(self, pick):
        pick("a", (0, 1), weights=(1, 3))
        return nn.Identity()


@dataclass(frozen=True)
class Refusing(ModelSpace):
    def build(self, pick):
        pick("a", (0, 1))
        return nn.Identity()

    def check(self, arch):
        if arch["a"]:
            raise ArchError("no")


@pytest.mark.parametrize("space", [Weighted(), Refusing()])
def test_none_where_archs_are_not_equally_likely(space):
    table = table_of_rows("t", space, ChosenValues(("a",)), {(0,): {"v": 1.0}, (1,): {"v": 2.0}}, Scores(("v",), "v"))
    assert random_closed_form(table, 3, [0]) is None


def test_a_space_of_many_archs():
    """A table of three archs in a space of 10^12: the chance to find one is computed without loss."""
    space = TableSpace(tuple((f"c{i}", tuple(range(10))) for i in range(12)))
    rows = {(0,) * 11 + (i,): {"v": float(i), "t": float(i)} for i in range(3)}
    table = table_of_rows("sparse", space, ChosenValues(tuple(space.choices)), rows, Scores(("v",), "t"))
    exact = random_closed_form(table, 100, [0])
    assert np.allclose(exact.mean, [3e-12 * n for n in range(1, 101)], rtol=1e-3)
