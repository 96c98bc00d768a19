"""The winner of a search is fine-tuned from the weights that the search left, and goes on after a kill."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from hubserve import jobs
from hubserve.errors import JobError
from hubserve.pipeline import resolve_job
from hubserve.pipeline.run import run_job
from tests.pipeline.definitions import short

SPOS = {"name": "RandomOneShot", "arguments": {"sandwich": 1}, "then": {"name": "Random"}}
TINY = {"recipe": {"epochs": 1}, "budget": {"trials": 1}, "publish": None}


def run(definition):
    found = jobs.create(definition)
    run_job(found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [{"name": "Random"}, SPOS], ids=["trial", "supernet"])
def test_it_begins_with_the_weights_of_the_search(strategy):
    """With a learning rate of next to nothing, they are the weights in the end."""
    retrain = {"start": "inherited", "epochs": 1, "learning_rate": 1e-9, "weight_decay": 0}
    found = run(short(strategy=strategy, retrain=retrain, **TINY))
    winner = json.loads((found.path / "winner.json").read_text())
    before, after = load_file(winner["weights"]), load_file(found.path / "retrained" / "weights.safetensors")
    names = [name for name in before if name.endswith("weight")]
    assert names
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in names)
    assert not (found.path / "retrained" / "unfinished").exists()
    manifest = json.loads((found.path / "package" / "manifest.json").read_text())
    assert manifest["provenance"]["weights"] == "fine-tuned"


@pytest.mark.slow
@pytest.mark.parametrize("start", ["new", "inherited"])
def test_a_killed_retraining_goes_on(monkeypatch, start):
    monkeypatch.setattr("hubserve.pipeline.status_writer.PAUSE_SECONDS", 0.0)
    found = jobs.create(short(**TINY | {"retrain": {"epochs": 4, "ema_decay": 0.9, "start": start}}))

    def stop(status):
        if status.state == "running" and status.message.startswith("epoch 3 of 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(found, on_status=stop)
    messages = []
    run_job(found, on_status=lambda status: messages.append(status.message))
    trained = [message.split(":")[0] for message in messages if "of 4: val_acc" in message]
    assert list(dict.fromkeys(trained)) == ["epoch 3 of 4", "epoch 4 of 4"]


def test_weights_that_no_evaluator_leaves_are_not_inherited(tmp_path):
    definition = short(retrain={"start": "inherited", "epochs": 1}, evaluator={"name": f"{__name__}:score"})
    with pytest.raises(JobError, match=r"retrain\.start = inherited: .* leaves no weights to inherit; choose new"):
        resolve_job(jobs.parse_job(definition, where="job.yaml"), where=tmp_path)


def score(model):
    return 0.5
