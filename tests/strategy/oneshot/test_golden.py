"""Checkpoints of one-shot searches that commit 4304603 wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hubserve.hub import NasBench201
from hubserve.strategy import GumbelDARTS, RandomOneShot
from hubserve.strategy.oneshot.checkpoint import CHECKPOINT
from tests.strategy.oneshot.data import Noise

RUNS = Path(__file__).parents[2] / "golden" / "runs" / "jobs"
SPACE = NasBench201(stem_out_channels=2, num_modules_per_stack=1)


@pytest.mark.parametrize(
    ("job", "strategy"),
    [("golden_killed_gumbel", GumbelDARTS(arc_learning_rate=0.01)), ("golden_killed_then", RandomOneShot())],
)
def test_its_state_is_loaded_and_stays_the_same_when_it_is_saved(job, strategy):
    (run,) = RUNS.glob(f"{job}-*")
    written = torch.load(run / "search" / "supernet" / CHECKPOINT, weights_only=True)["search"]
    search = strategy.search(SPACE, Sgd(), seed=0, total_steps=51)
    search.load_state_dict(written)
    state = search.state_dict()
    weights = {key: tensor for part in written["weights"].values() for key, tensor in part.items()}
    assert state["weights"].keys() == {f"tensors.{key}" for key in weights}
    assert all(torch.equal(state["weights"][f"tensors.{key}"], tensor) for key, tensor in weights.items())
    assert state["optimizer"]["groups"] == written["optimizer"]["groups"]
    assert state["optimizer"]["state"].keys() == written["optimizer"]["state"].keys()
    assert state.keys() == written.keys()
    for label, logits in written.get("logits", {}).items():
        assert torch.equal(state["logits"][label], logits)
    # What is written now is read, too.
    again = strategy.search(SPACE, Sgd(), seed=1, total_steps=51)
    again.load_state_dict(state)
    loaded = again.state_dict()["weights"]
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state["weights"].items())


class Sgd(Noise):
    """The optimizer of the golden jobs."""

    def make_optimizer(self, parameters):
        return torch.optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
