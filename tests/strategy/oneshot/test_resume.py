"""A run that was killed goes on to the same end."""

from __future__ import annotations

import pytest
import torch

from hubserve.errors import StrategyError, SupernetError
from hubserve.strategy import DARTS, ENAS, GumbelDARTS, Proxyless, RandomOneShot
from hubserve.strategy.oneshot import base
from tests.marks import slow_but
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import TINY, Small

STRATEGIES = {
    "DARTS": lambda: DARTS(arc_learning_rate=0.01),
    "GumbelDARTS": lambda: GumbelDARTS(),
    "Proxyless": lambda: Proxyless(),
    "ENAS": lambda: ENAS(batches_per_update=2, final_samples=2),
    "RandomOneShot": lambda: RandomOneShot(),
    "sandwich": lambda: RandomOneShot(sandwich=1),
}


QUICK = {"Proxyless", "sandwich"}
"""One that learns probabilities, and one that does not."""


@pytest.mark.parametrize("name", slow_but(STRATEGIES, QUICK))
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


@pytest.mark.parametrize("name", slow_but(STRATEGIES, QUICK))
def test_a_finished_run_trains_no_more_and_ends_the_same(name, tmp_path):
    # As after a kill between the last checkpoint and whatever the caller does with the result.
    space = TINY["NasBench201"]
    first = STRATEGIES[name]().run(space, Noise(epochs=2), seed=3, folder=tmp_path, device="cpu")
    steps = []
    again = STRATEGIES[name]().run(space, Noise(epochs=2), seed=3, folder=tmp_path, on_step=steps.append, device="cpu")
    assert steps == []
    assert again.history == first.history
    assert again.arch == first.arch


class Scheduled(Noise):
    """Keeps its optimizer, whose learning rate a scheduler of torch sets, or none does."""

    def __init__(self, *, schedule=None, **settings):
        super().__init__(**settings)
        self.schedule = schedule

    def make_optimizer(self, parameters):
        self.optimizer = super().make_optimizer(parameters)
        return self.optimizer

    def make_schedule(self, optimizer, total_steps):
        return None if self.schedule is None else self.schedule(optimizer, total_steps)


@pytest.mark.parametrize("name", slow_but(["DARTS", "Proxyless", "ENAS", "sandwich"], QUICK))
def test_more_epochs_than_before_are_those_of_the_longer_run(name, tmp_path):
    space = TINY["NasBench201"]
    whole = STRATEGIES[name]().run(space, Scheduled(epochs=3), seed=3, device="cpu")
    STRATEGIES[name]().run(space, Scheduled(epochs=1), seed=3, folder=tmp_path, device="cpu")
    longer = STRATEGIES[name]().run(space, Scheduled(epochs=3), seed=3, folder=tmp_path, device="cpu")
    assert longer.history == whole.history
    assert longer.arch == whole.arch
    expected = whole.supernet.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in longer.supernet.state_dict().items())


@pytest.mark.parametrize(
    "schedule",
    [
        torch.optim.lr_scheduler.CosineAnnealingLR,
        lambda optimizer, steps: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, steps),
        lambda optimizer, steps: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps),
    ],
)
def test_with_more_epochs_the_learning_rate_is_that_of_the_longer_schedule(schedule, tmp_path):
    def run(epochs, folder=None):
        evaluator, rates = Scheduled(epochs=epochs, schedule=schedule), []

        def note(row):
            group = evaluator.optimizer.param_groups[0]
            rates.append((group["lr"], group["betas"]))

        RandomOneShot().run(Small(), evaluator, seed=3, folder=folder, on_step=note, device="cpu")
        return rates

    run(1, tmp_path)
    assert run(4, tmp_path) == [(pytest.approx(rate), pytest.approx(betas)) for rate, betas in run(4)[2:]]


def test_fewer_epochs_than_before_are_refused(tmp_path):
    RandomOneShot().run(Small(), Noise(epochs=2), folder=tmp_path, device="cpu")
    with pytest.raises(StrategyError, match="of another search: epochs was 2 and is 1"):
        RandomOneShot().run(Small(), Noise(epochs=1), folder=tmp_path, device="cpu")


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
    with pytest.raises(StrategyError, match=r"sandwich was not set and is 2, distill was not set and is 0\.5"):
        RandomOneShot(sandwich=2).run(Small(), Noise(), folder=tmp_path, seed=1, device="cpu")


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
