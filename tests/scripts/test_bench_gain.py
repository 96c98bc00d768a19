"""scripts/bench gain: networks scaled by hand up to a limit, equal budgets, cells that are kept, and paired differences."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from tests.scripts.loaded_bench import loaded_bench
from tests.scripts.test_bench_inherit import write_archive

BUDGET = 60.0
"""CPU seconds of the search, which its rivals get."""


@pytest.fixture
def bench():
    with loaded_bench("gain") as module:
        yield module


def cell(bench, method: str, seed: int, top1: float, **changes):
    """A finished cell; what is not given does not matter."""
    fields = {
        "images": 5,
        "limit_ms": 100.0,
        "val_acc": 0.5,
        "latency_ms": 0.3,
        "arch": {},
        "networks": 5,
        "cpu_seconds": BUDGET,
    }
    return bench.Cell(method=method, seed=seed, top1=top1, wall_seconds=30.0, **(fields | changes))


def test_differences_are_paired_by_seed_and_have_an_interval(bench):
    cells = [cell(bench, bench.SEARCH, seed, top1) for seed, top1 in enumerate((0.80, 0.82, 0.84, 0.10))]
    assert bench.difference(cells, bench.BY_HAND).endswith("no seed is finished")
    cells.append(cell(bench, bench.BY_HAND, 1, 0.81))
    assert bench.difference(cells, bench.BY_HAND).endswith("+1.00 points, one seed")
    cells += [cell(bench, bench.BY_HAND, 0, 0.78), cell(bench, bench.BY_HAND, 2, 0.81)]
    # Differences of 2, 1 and 3 points: mean 2, standard error 1 / sqrt(3), Student's t with two degrees of freedom 4.303.
    assert "+2.00 points, 95 % interval -0.48 to +4.48, 3 seeds" in bench.difference(cells, bench.BY_HAND)


@pytest.mark.slow
def test_families_grow_up_to_the_limit(bench):
    """Their latency is the number of multiply-accumulates here, which is what they grow in."""
    limit = 1e7
    trainer = SimpleNamespace(latency_ms=bench.macs, search=SimpleNamespace(limit_ms=limit))
    archs = {name: bench.largest_within(fixed, trainer) for name, fixed in bench.FAMILIES.items()}
    assert len({json.dumps(arch) for arch in archs.values()}) == len(archs)
    assert all(limit / 4 < bench.macs(arch) <= limit for arch in archs.values())
    assert {value for label, value in archs["deep"].items() if label.endswith("depth")} == {3}
    assert {value for label, value in archs["wide"].items() if label.endswith("width_mult")} == {1.0}
    assert [archs["MobileNetV3-small"][label] for label in ("stem_ks", "s1_i0_ks", "s4_i0_ks", "s4_i0_se")] == [3, 3, 5, "se"]


def test_the_search_of_the_seed_comes_first(bench, tmp_path):
    archive, out = tmp_path / "cifar.tar.xz", tmp_path / "cells.jsonl"
    write_archive(archive)
    app = typer.Typer()
    app.command()(bench.main)
    options = [str(archive), "--seeds", "1", "--images", "5", "--out", str(out), "--method", bench.BY_HAND]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2
    assert "run 'hubserve search' first" in " ".join(result.output.replace("│", " ").split())
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rivals_get_the_time_of_the_search_and_no_cell_runs_twice(bench, tmp_path):
    archive, out = tmp_path / "cifar.tar.xz", tmp_path / "cells.jsonl"
    write_archive(archive)
    Path(out).write_text(json.dumps(asdict(cell(bench, bench.SEARCH, 0, 0.5))) + "\n")
    app = typer.Typer()
    app.command()(bench.main)
    options = [str(archive), "--seeds", "1", "--images", "5", "--threads", "1", "--out", str(out)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    by_hand, at_random = [bench.Cell(**json.loads(line)) for line in out.read_text().splitlines()[1:]]
    assert (by_hand.method, at_random.method) == (bench.BY_HAND, bench.RANDOM)
    assert by_hand.networks == 5
    assert at_random.networks > 1
    for rival in (by_hand, at_random):
        assert 0 <= rival.top1 <= 1
        # One epoch more or less of the budget: each of the networks trains for a whole number of epochs.
        assert rival.cpu_seconds < 1.5 * BUDGET
    before = out.read_text()
    assert CliRunner().invoke(app, options).exit_code == 0
    assert out.read_text() == before
