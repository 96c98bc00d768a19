"""A training that was interrupted goes on after its last complete epoch, and ends as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hubserve.errors import EvaluatorError
from hubserve.evaluator import Classification, Trial


class KilledError(Exception):
    pass


@dataclass(frozen=True)
class KilledTrial(Trial):
    """A trial that is killed when an epoch is reported; `seen` has the epochs that were."""

    kill: int = -1
    seen: tuple[list[int], ...] = ()

    def report(self, step, value):
        for each in self.seen:
            each.append(step)
        if step == self.kill:
            raise KilledError


def network() -> nn.Module:
    torch.manual_seed(0)
    # With dropout: the random numbers of an epoch depend on the state in which the one before left the generator.
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def evaluator(**settings) -> Classification:
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(20, 4, generator=generator), torch.arange(20) % 2)
    defaults = {"optimizer": "sgd", "schedule": "cosine", "batch_size": 8, "max_epochs": 4, "ema_decay": 0.9}
    return Classification(train_dataloaders=data, val_dataloaders=data, accelerator="cpu", **(defaults | settings))


@pytest.mark.parametrize("settings", [{}, {"ema_decay": None}, {"max_steps": 8, "schedule": None}])
def test_it_goes_on_to_the_same_end(settings, tmp_path):
    whole, again, seen = network(), network(), []
    expected = evaluator(**settings).fit(whole)
    file = tmp_path / "unfinished" / "training.pt"
    with pytest.raises(KilledError):
        evaluator(**settings).fit(again, KilledTrial(checkpoint=file, kill=2))
    fresh = network()
    assert evaluator(**settings).fit(fresh, KilledTrial(checkpoint=file, seen=(seen,))) == expected
    assert seen[0] == 2
    assert all(torch.equal(tensor, whole.state_dict()[key]) for key, tensor in fresh.state_dict().items())
    # Once more after its end: nothing is trained.
    seen.clear()
    assert evaluator(**settings).fit(network(), KilledTrial(checkpoint=file, seen=(seen,))) == expected
    assert seen == []


def test_a_checkpoint_that_does_not_fit_is_named(tmp_path):
    file = tmp_path / "training.pt"
    evaluator().fit(network(), Trial(checkpoint=file))
    with pytest.raises(EvaluatorError, match="is of a training of 12 steps, and this one has 15"):
        evaluator(max_epochs=5).fit(network(), Trial(checkpoint=file))
    with pytest.raises(EvaluatorError, match="is of another network"):
        evaluator().fit(nn.Linear(4, 2), Trial(checkpoint=file))
    with pytest.raises(EvaluatorError, match="is of a training with another average; delete it"):
        evaluator(ema_decay=None).fit(network(), Trial(checkpoint=file))
    with pytest.raises(EvaluatorError, match="is of a training with another optimizer; delete it"):
        evaluator(optimizer="adam").fit(network(), Trial(checkpoint=file))
    file.write_bytes(b"nothing")
    with pytest.raises(EvaluatorError, match="is corrupt"):
        evaluator().fit(network(), Trial(checkpoint=file))
