"""scripts/bench zero_cost: what a score must do to beat the baseline, and that finished cells are not computed again."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from hubserve.benchmarks.zero_cost import SCORES
from tests.scripts.loaded_bench import loaded_bench


@pytest.fixture
def bench():
    with loaded_bench("zero_cost") as module:
        yield module


def test_it_computes_every_score(bench):
    assert sorted(bench.ORDER) == sorted(SCORES)


def test_who_beats_the_baseline(bench):
    rng = np.random.default_rng(0)
    accuracies = {str(i): float(value) for i, value in enumerate(rng.normal(size=100))}
    noise = {"naswot": 0.1, "params": 1.0, "synflow": 5.0}
    cells = {"macs": [], "zen": []}
    for name, much in noise.items():
        values = ((arch, value + much * rng.normal()) for arch, value in accuracies.items())
        cells[name] = [bench.ScoredArch(arch, name, 64, 0, value, 10.0) for arch, value in values]
    # Of an arch without the baseline, nothing is compared.
    cells["synflow"].append(bench.ScoredArch("unknown", "synflow", 64, 0, 1.0, 10.0))
    table = bench.report(cells, accuracies, 100)
    columns = [list(column.cells) for column in table.columns]
    assert columns[0] == ["naswot", "params", "synflow"]
    assert columns[1] == ["100"] * 3
    assert columns[5] == ["yes", "", "no"]
    assert table.caption.startswith("MISSED: naswot within 0.05 of 0.79: 0.9")


def test_an_interval_contains_the_statistic(bench):
    rng = np.random.default_rng(1)
    a = rng.normal(size=200)
    b = a + rng.normal(size=200)
    low, high = bench.interval(bench.spearman, (a, b), 200)
    assert low < bench.spearman(a, b) < high < low + 0.3


def test_what_is_finished_is_not_computed_again(bench, tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    archs = [f"arch {number}" for number in range(31)]
    table.write_text("arch,c10_test_200ep\n" + "".join(f"{arch},{i}\n" for i, arch in enumerate(archs)))
    out, asked = tmp_path / "cells.jsonl", []

    def computed(missing, batch, seed, workers, deadline):
        asked.append(missing)
        return [bench.ScoredArch(arch, name, 64, seed, float(archs.index(arch)), 1.0) for arch, name in missing]

    monkeypatch.setattr(bench, "computed", computed)
    monkeypatch.setattr(bench, "cifar_batch", lambda *_: None)
    arguments = {"data": tmp_path, "table": table, "seed": 0, "images": 64, "resamples": 20, "out": out}
    bench.main(archs=30, seconds=60, workers=1, **arguments)
    bench.main(archs=31, seconds=60, workers=1, **arguments)
    bench.main(archs=31, seconds=60, workers=1, **arguments)
    order = sorted(archs)
    Random(0).shuffle(order)
    assert [len(missing) for missing in asked] == [30 * len(SCORES), len(SCORES)]
    assert {arch for arch, _ in asked[1]} == {order[30]}
