"""`compare`: strategies on tables, for many seeds, and what is read off it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hubserve.comparison import (
    Competitor,
    Scores,
    compare,
    pair_frame,
    random_frame,
    rank_frame,
    read_scored_csv,
    summary_frame,
    table_of_rows,
    time_frame,
)
from hubserve.comparison.comparison import MARKS
from hubserve.comparison.scored_csv import ChosenValues
from hubserve.comparison.table_space import TableSpace
from hubserve.errors import ExperimentError, StrategyError
from hubserve.strategy import Random
from tests.comparison.tables import product_table


class TestSmall:
    def test_curves_marks_and_frames(self):
        table = product_table()
        found = compare(table, ["Random", "RegularizedEvolution:population_size=4"], trials=12, seeds=5)
        assert found.labels == ("Random", "RegularizedEvolution:population_size=4")
        assert found.marks == (10, 12)
        assert found.seeds == tuple(range(5))
        (result,) = found.results
        (regret,) = result.measures
        assert [curves.shape for curves in regret.curves] == [(5, 12)] * 2
        for curves in regret.curves:
            assert (curves >= 0).all()
        summary = summary_frame(found).records()
        mean = float(regret.curves[0][:, 11].mean())
        assert {(row["strategy"], row["trials"]): row["mean"] for row in summary}["Random", 12] == pytest.approx(mean)
        assert {row["strategy"] for row in summary} == {*found.labels, "Random, exact"}
        assert [row["trials"] for row in pair_frame(found).records()] == [10, 12]
        ranks = [row["mean_rank"] for row in rank_frame(found).records() if row["trials"] == 12]
        assert sum(ranks) == pytest.approx(3)
        assert all(row["ms_a_trial"] > 0 for row in time_frame(found).records())

    def test_the_arch_that_drives_best_is_judged(self):
        """Tried in order: the regret is that of the best driving score so far, not the smallest regret so far."""
        rows = {(1,): {"v": 1.0, "t": 9.0}, (2,): {"v": 3.0, "t": 4.0}, (3,): {"v": 2.0, "t": 10.0}}
        table = table_of_rows("t", TableSpace((("a", (1, 2, 3)),)), ChosenValues(("a",)), rows, Scores(("v",), "t"))
        found = compare(table, ["GridSearch:shuffle=false"], trials=5, seeds=1)
        assert found.results[0].measures[0].curves[0].tolist() == [[1.0, 6.0, 6.0, 6.0, 6.0]]
        assert time_frame(found).records()[0]["ended_early"] == 1

    def test_lower_is_better(self):
        rows = {(1,): {"v": 3.0, "t": 7.0}, (2,): {"v": 1.0, "t": 2.5}, (3,): {"v": 2.0, "t": 2.0}}
        scores = Scores(("v",), "t", lower_is_better=True)
        table = table_of_rows("t", TableSpace((("a", (1, 2, 3)),)), ChosenValues(("a",)), rows, scores)
        found = compare(table, ["GridSearch:shuffle=false"], trials=3, seeds=1)
        assert found.results[0].measures[0].curves[0].tolist() == [[5.0, 0.5, 0.5]]

    def test_an_invalid_arch_costs_a_trial(self):
        rows = {(1,): {"v": 1.0, "t": 9.0}, (3,): {"v": 2.0, "t": 10.0}}
        table = table_of_rows("t", TableSpace((("a", (2, 1, 3)),)), ChosenValues(("a",)), rows, Scores(("v",), "t"))
        found = compare(table, ["GridSearch:shuffle=false"], trials=3, seeds=1)
        assert found.results[0].measures[0].curves[0].tolist() == [[1.0, 1.0, 0.0]]
        assert found.results[0].cells[0][0].rows == (-1, 0, 1)
        assert time_frame(found).records()[0]["invalid"] == pytest.approx(1 / 3)

    def test_a_run_for_each_seed(self):
        rows = {(1,): {"v": (1.0, 5.0), "t": (9.0, 11.0)}, (2,): {"v": (2.0, 0.0), "t": 7.0}}
        table = table_of_rows("t", TableSpace((("a", (1, 2)),)), ChosenValues(("a",)), rows, Scores(("v",), "t"))
        found = compare(table, ["GridSearch:shuffle=false"], trials=2, seeds=2)
        assert found.results[0].measures[0].curves[0][:, 1].tolist() == [3.0, 0.0]

    def test_several_tables(self):
        first, second = product_table("first"), product_table("second", seed=1)
        found = compare([first, second], ["Random", "TPE"], trials=6, seeds=2)
        assert {row["table"] for row in rank_frame(found).records()} == {"first", "second", "all"}
        alone = compare(second, ["Random", "TPE"], trials=6, seeds=2)
        for ours, theirs in zip(found.results[1].measures[0].curves, alone.results[0].measures[0].curves, strict=True):
            assert np.array_equal(ours, theirs)

    def test_two_objectives(self):
        table = product_table(minimize="ms")
        found = compare(table, ["Random", "NSGA2:population_size=4"], trials=30, seeds=3)
        assert [measured.name for measured in found.results[0].measures] == ["hypervolume", "regret"]
        shares = found.results[0].measures[0].curves[0]
        assert (np.diff(shares, axis=1) >= 0).all()
        assert 0 < shares[:, -1].min() <= shares.max() <= 1 + 1e-12
        everything = compare(table, ["GridSearch"], trials=table.space.grid_size, seeds=1)
        assert everything.results[0].measures[0].curves[0][0, -1] == pytest.approx(1)

    @pytest.mark.parametrize(
        ("change", "error", "complaint"),
        [
            ({"trials": 0}, ExperimentError, "trials = 0"),
            ({"seeds": 0}, ExperimentError, "at least one table, one strategy and one seed"),
            ({"seeds": [3, 3]}, ExperimentError, "3 is named twice among the seeds"),
            ({"marks": [99]}, ExperimentError, "after 99 trials of 5"),
            (
                {"tables": product_table(minimize="ms"), "reference": (99, None)},
                ExperimentError,
                "no arch is better than the ref",
            ),
            ({"strategies": []}, ExperimentError, "at least one table"),
            ({"strategies": ["Random", "Random"]}, ExperimentError, "Random is named twice among the strategies"),
            ({"strategies": ["Rondom"]}, StrategyError, r"no strategy is called 'Rondom'. Did you mean Random\?"),
            ({"strategies": ["NSGA2:population_size=1"]}, StrategyError, "population_size = 1 must be at least 2"),
            ({"tables": []}, ExperimentError, "at least one table"),
            ({"tables": [product_table("t"), product_table("t")]}, ExperimentError, "t is named twice among the tables"),
            ({"tables": [product_table("t"), product_table("u", minimize="ms")]}, ExperimentError, "some tables have one"),
        ],
    )
    def test_senseless_arguments(self, change, error, complaint):
        arguments = {"tables": product_table(), "strategies": ["Random"], "trials": 5, "seeds": 1} | change
        with pytest.raises(error, match=complaint):
            compare(arguments.pop("tables"), arguments.pop("strategies"), **arguments)

    def test_a_strategy_for_one_objective(self):
        with pytest.raises(StrategyError, match=r"RegularizedEvolution, seed 0, trial 0 on product: .* for one objective"):
            compare(product_table(minimize="ms"), ["RegularizedEvolution"], trials=5, seeds=1)

    def test_what_a_strategy_raises(self):
        class Breaks(Random):
            def propose(self, study, trial):
                if trial.number == 3:
                    raise RuntimeError("out of ideas")
                return super().propose(study, trial)

        with pytest.raises(StrategyError, match=r"mine, seed 0, trial 3 on product: RuntimeError: out of ideas \(.*:\d+\)"):
            compare(product_table(), [Competitor("mine", Breaks)], trials=5, seeds=1)

    def test_marks_beyond_the_trials_are_left_out(self):
        found = compare(product_table(), ["Random"], trials=MARKS[2], seeds=1)
        assert found.marks == MARKS[:3]


def test_random_is_held_to_its_closed_form(tmp_path):
    """A search that finds other rows than its archs have is found out."""
    file = tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    file.write_text("a,b,v,t\n" + "".join(f"{a},{b},{rng.random()},{rng.random()}\n" for a in range(9) for b in range(9)))
    table = read_scored_csv(file, ["a", "b"], Scores(("v",), "t"))
    fair = compare(table, ["Random", "Random:dedup=false"], trials=20, seeds=60)
    assert fair.warnings == []
    checks = random_frame(fair).records()
    assert [(row["strategy"], row["trials"]) for row in checks] == [(name, n) for name in fair.labels for n in (10, 20)]
    assert all(row["holds"] and abs(row["standard_errors"]) < 4 for row in checks)
    # Without repeats more archs are seen, so less regret is expected.
    assert checks[1]["exact"] < checks[3]["exact"]
    # A key that ignores a choice reaches a ninth of the rows.
    broken = dataclasses.replace(table, name="broken", key=lambda arch: (arch["a"], 0))
    assert compare(broken, ["Random"], trials=20, seeds=60).warnings[-1].startswith("broken: Random has a regret of")
