"""scripts/bench search: the goals stand beside what was measured."""

from __future__ import annotations

import pytest

from tests.scripts.loaded_bench import loaded_bench


@pytest.fixture
def bench():
    with loaded_bench("search") as module:
        yield module


@pytest.mark.parametrize(("slowest", "verdict"), [(1.5, "met    "), (1.6, "MISSED ")])
def test_overhead(bench, monkeypatch, capsys, slowest, verdict):
    """One storage is slower than the others, with many labels."""
    storages = list(bench.STORAGES.values())
    monkeypatch.setattr(bench, "_bare_ms", lambda make, labels, n: 2.0)
    monkeypatch.setattr(
        bench, "_experiment_ms", lambda make, labels, n: 2.0 * (slowest if (make, labels) == (storages[-1], 67) else 1.1)
    )
    bench._overhead(10)
    said = capsys.readouterr().out
    place = f"{list(bench.STORAGES)[-1]}, 67 labels"
    assert f"{verdict}NasExperiment at most 1.5 times bare Optuna: at most {slowest:.2f} times ({place})" in said
