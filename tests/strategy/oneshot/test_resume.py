"""A run that was killed goes on to the same end."""

from __future__ import annotations

import pytest
import torch

from hubserve.errors import StrategyError, SupernetError
from hubserve.strategy import DARTS, ENAS, GumbelDARTS, Proxyless, RandomOneShot
from hubserve.strategy.oneshot import base
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import TINY, Small

STRATEGIES = {
    "DARTS": lambda: DARTS(arc_learning_rate=0.01),
    "GumbelDARTS": lambda: GumbelDARTS(),
    "Proxyless": lambda: Proxyless(),
    "ENAS": lambda: ENAS(batches_per_update=2, final_samples=2),
    "RandomOneShot": lambda: RandomOneShot(),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_goes_on_as_if_nothing_had_happened(name, tmp_path):
    space = TINY["NasBench101"] if name == "ENAS" else Small()
    whole = STRATEGIES[name]().run(space, Noise(epochs=3), seed=3, device="cpu")

    class KilledError(Exception):
        pass

    def kill(row):
        if row["step"] == 3:
            raise KilledError

    with pytest.raises(KilledError):
        STRATEGIES[name]().run(space, Noise(epochs=3), seed=3, folder=tmp_path, on_step=kill, device="cpu")
    steps = []
    resumed = STRATEGIES[name]().run(space, Noise(epochs=3), seed=3, folder=tmp_path, on_step=steps.append, device="cpu")
    assert [row["step"] for row in steps] == [2, 3, 4, 5]
    assert resumed.history == whole.history
    assert resumed.arch == whole.arch
    expected = whole.supernet.state_dict()
    assert resumed.supernet.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.supernet.state_dict().items())


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_finished_run_trains_no_more_and_ends_the_same(name, tmp_path):
    # As after a kill between the last checkpoint and whatever the caller does with the result.
    space = TINY["NasBench201"]
    first = STRATEGIES[name]().run(space, Noise(epochs=2), seed=3, folder=tmp_path, device="cpu")
    steps = []
    again = STRATEGIES[name]().run(space, Noise(epochs=2), seed=3, folder=tmp_path, on_step=steps.append, device="cpu")
    assert steps == []
    assert again.history == first.history
    assert again.arch == first.arch


def test_a_stopped_run_says_so_and_goes_on(tmp_path):
    steps = []
    stopped = DARTS().run(
        Small(), Noise(epochs=2), folder=tmp_path, on_step=steps.append, should_stop=lambda: len(steps) == 3, device="cpu"
    )
    assert stopped.stopped
    assert len(stopped.history) == 3
    Small().validate(stopped.arch)
    assert len(DARTS().run(Small(), Noise(epochs=2), folder=tmp_path, device="cpu").history) == 4


def test_costs_are_those_of_the_beginning(tmp_path):
    """Latency, measured again, is another."""
    space, costs = TINY["NasBench201"], iter(range(10_000))

    def cost(arch):
        return 100.0 + next(costs)

    def run(**settings):
        strategy = DARTS(arc_learning_rate=0.1, penalty={"profiler": cost, "baseline": 100.0})
        return strategy.run(space, Noise(epochs=2), folder=tmp_path, device="cpu", **settings)

    steps = []
    stopped = run(on_step=steps.append, should_stop=lambda: len(steps) == 3)
    resumed = run()
    assert stopped.cost_r2 == resumed.cost_r2
    assert resumed.history[:3] == stopped.history
    search = DARTS().search(space, Noise(), seed=0, total_steps=1)
    assert search.state_dict()["costs"] is None


def test_a_checkpoint_of_another_search_is_refused(tmp_path):
    RandomOneShot().run(Small(), Noise(), folder=tmp_path, seed=1, device="cpu")
    with pytest.raises(StrategyError, match="of another search"):
        RandomOneShot().run(Small(), Noise(), folder=tmp_path, seed=2, device="cpu")


def test_a_corrupt_checkpoint_is_named(tmp_path):
    (tmp_path / "oneshot.pt").write_bytes(b"nothing")
    with pytest.raises(StrategyError, match="cannot be read"):
        RandomOneShot().run(Small(), Noise(), folder=tmp_path, device="cpu")


def test_a_machine_that_is_too_small_is_reported_before_the_start(monkeypatch):
    monkeypatch.setattr(base, "machine_bytes", lambda device: (1000, 1000))
    evaluator = Noise()
    with pytest.raises(SupernetError, match="DARTS is estimated to take"):
        DARTS().run(Small(), evaluator, device="cpu")


def test_little_free_memory_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(base, "machine_bytes", lambda device: (1000, 2**50))
    RandomOneShot().run(Small(), Noise(), device="cpu")
    assert "MiB of cpu are free" in caplog.text
