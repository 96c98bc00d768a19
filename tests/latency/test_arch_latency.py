"""Latency as a measure of searches of one's own, from where a user finds it."""

from __future__ import annotations

import pytest

from hubserve.experiment import Constraint, NasExperiment
from hubserve.latency import MeasuredLatency
from hubserve.strategy import Random
from tests.experiment.small import SHAPE, Small, Value


@pytest.mark.slow
def test_an_experiment_under_a_limit_on_latency(tmp_path):
    measured = MeasuredLatency(input_size=8, seconds=0.1)

    def search(folder, most):
        experiment = NasExperiment(
            Small(),
            Value(),
            Random(seed=1),
            max_trials=2,
            constraints=[Constraint("latency_ms", "<=", most)],
            measures={"latency_ms": measured},
            input_shape=SHAPE,
            folder=tmp_path / folder,
        )
        experiment.run()
        return experiment.trials

    first = search("a", 1e4)
    assert [record.state for record in first] == ["complete"] * 2
    assert all(0 < record.scores["latency_ms"] < 1e4 for record in first)
    # An arch is measured once, so a limit between the two of them parts them for sure.
    fast, slow = sorted(first, key=lambda record: record.scores["latency_ms"])
    limit = (fast.scores["latency_ms"] + slow.scores["latency_ms"]) / 2
    states = {record.number: record.state for record in search("b", limit)}
    assert (states[fast.number], states[slow.number]) == ("complete", "infeasible")
