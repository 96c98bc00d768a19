"""A comparison in a folder goes on where it was: after a kill, with more seeds, and only where nothing has changed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import numpy as np
import pytest

from hubserve.comparison import Competitor, compare
from hubserve.comparison.cell_file import CELLS, CellFile
from hubserve.comparison.search_cell import SearchCell
from hubserve.errors import ExperimentError
from hubserve.experiment import ProcessExecutor
from hubserve.find_named import importing_from
from hubserve.strategy import Random
from tests.comparison.tables import product_table
from tests.experiment.killing import FORK

STRATEGIES = ["Random", "RegularizedEvolution:population_size=4"]


class Slow(Random):
    """Takes a while for each trial, so that a kill comes in the middle of a search."""

    def propose(self, study, trial):
        time.sleep(0.002)
        return super().propose(study, trial)


def slow_comparison(folder, **more):
    return compare(product_table(), ["Random", Competitor("slow", Slow)], trials=10, seeds=12, folder=folder, **more)


def lines(folder):
    return (folder / CELLS).read_bytes().splitlines()


def counted(folder, strategies=STRATEGIES, table=None, **more):
    """Number of finished searches at the start, and the result."""
    seen = []
    found = compare(table or product_table(), strategies, folder=folder, on_cell=lambda *at: seen.append(at), **more)
    return seen[0][0], seen[-1], found


def test_a_kill_costs_only_the_search_under_way(tmp_path):
    folder = tmp_path / "killed"
    process = FORK.Process(target=slow_comparison, args=(folder,))
    process.start()
    end = time.monotonic() + 120
    while not (folder / CELLS).exists() or len(lines(folder)) < 5:
        assert process.is_alive()
        assert time.monotonic() < end
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    finished = len(lines(folder))
    assert 5 <= finished < 24
    seen = []
    resumed = slow_comparison(folder, on_cell=lambda *at: seen.append(at))
    assert seen[0] in ((finished, 24), (finished - 1, 24))  # The last line may have been under way.
    assert seen[-1] == (24, 24)
    alone = slow_comparison(None)
    for ours, theirs in zip(resumed.results[0].measures[0].curves, alone.results[0].measures[0].curves, strict=True):
        assert np.array_equal(ours, theirs)
    keys = [json.loads(line)["key"] for line in lines(folder)]
    assert len(keys) == len(set(keys)) == 24


def test_more_seeds_and_strategies_only_add(tmp_path):
    assert counted(tmp_path, trials=5, seeds=3)[:2] == (0, (6, 6))
    assert counted(tmp_path, trials=5, seeds=3)[:2] == (6, (6, 6))
    assert counted(tmp_path, trials=5, seeds=4)[:2] == (6, (8, 8))
    assert counted(tmp_path, [*STRATEGIES, "TPE"], trials=5, seeds=4)[:2] == (8, (12, 12))
    assert counted(tmp_path, trials=6, seeds=3)[0] == 0
    assert counted(tmp_path, table=product_table(seed=1), trials=5, seeds=3)[0] == 0
    assert counted(tmp_path, ["Random", "RegularizedEvolution:population_size=5"], trials=5, seeds=3)[0] == 3


def test_a_changed_source_is_run_anew(tmp_path):
    (tmp_path / "my_help.py").write_text("STEP = 1\n")
    source = "import my_help\nfrom hubserve.strategy import Random\n\nclass Mine(Random):\n    step = my_help.STEP\n"
    (tmp_path / "my_strategy.py").write_text(source)

    def first():
        for name in ("my_strategy", "my_help"):
            sys.modules.pop(name, None)
        with importing_from(tmp_path):
            return counted(tmp_path / "out", ["my_strategy:Mine"], trials=5, seeds=2)[0]

    assert [first(), first()] == [0, 2]
    (tmp_path / "my_strategy.py").write_text(source + "    # longer\n")
    assert [first(), first()] == [0, 2]
    (tmp_path / "my_help.py").write_text("STEP = 12\n")
    assert [first(), first()] == [0, 2]
    sys.path.remove(str(tmp_path))


@pytest.mark.slow
def test_processes_find_what_one_process_finds(tmp_path):
    alone = counted(tmp_path / "alone", trials=8, seeds=4)[2]
    with_workers = counted(tmp_path / "workers", trials=8, seeds=4, executor=ProcessExecutor(2, threads=1))[2]
    for ours, theirs in zip(with_workers.results[0].cells, alone.results[0].cells, strict=True):
        assert [cell.rows for cell in ours] == [cell.rows for cell in theirs]


class TestFile:
    CELL = SearchCell(3, (1, -1, 2), 0.5, 0.25)

    def test_a_line_that_was_cut_off_is_removed(self, tmp_path):
        with CellFile(tmp_path) as file:
            file.add("one", self.CELL, table="t", strategy="s")
            file.add("two", self.CELL, table="t", strategy="s")
        whole = (tmp_path / CELLS).read_bytes()
        for length in range(whole.index(b"\n") + 1, len(whole)):
            (tmp_path / CELLS).write_bytes(whole[:length])
            with CellFile(tmp_path) as file:
                assert file.cells == {"one": self.CELL}
                file.add("three", self.CELL, table="t", strategy="s")
            with CellFile(tmp_path) as file:
                assert file.cells == {"one": self.CELL, "three": self.CELL}

    def test_two_at_once_are_refused(self, tmp_path):
        with (
            CellFile(tmp_path),
            pytest.raises(ExperimentError, match=r"another process compares in .*; wait for its end"),
            CellFile(tmp_path),
        ):
            pass

    @pytest.mark.parametrize("content", [b"nonsense\n", b"{}\n", b"3\n", b'{"key": "a", "rows": 3}\n', b"\xff\n"])
    def test_another_file_of_that_name(self, tmp_path, content):
        (tmp_path / CELLS).write_bytes(content)
        with (
            pytest.raises(ExperimentError, match=r"cells\.jsonl is no file of finished searches .*delete it"),
            CellFile(tmp_path),
        ):
            pass
        assert (tmp_path / CELLS).read_bytes() == content
        (tmp_path / CELLS).unlink()
        with CellFile(tmp_path):  # The lock was given back.
            pass
