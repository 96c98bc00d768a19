"""A supernet trained by two processes: each batch of one process is two half batches of two."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

from hubserve.errors import EvaluatorError, StrategyError
from hubserve.evaluator import Classification
from hubserve.strategy import DARTS, RandomOneShot
from tests.supernet.spaces import Small, images

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def evaluator(batch_size: int, devices: int) -> Classification:
    data = TensorDataset(images(16), torch.arange(16) % 10)
    return Classification(
        train_dataloaders=data,
        val_dataloaders=data,
        optimizer="sgd",
        learning_rate=0.05,
        batch_size=batch_size,
        devices=devices,
        max_epochs=2,
        accelerator="cpu",
    )


@pytest.mark.parametrize("strategy", [RandomOneShot(), RandomOneShot(sandwich=1)], ids=["one path", "sandwich"])
def test_two_processes_train_as_one_with_batches_of_both(strategy, tmp_path):
    """The space has no batch norm, so that the gradients of halves average to that of the whole."""
    alone = strategy.run(Small(), evaluator(8, 1), seed=1, device="cpu")
    steps = []
    stopped = strategy.run(
        Small(), evaluator(4, 2), seed=1, folder=tmp_path, on_step=steps.append, should_stop=lambda: len(steps) == 3
    )
    assert (stopped.stopped, len(steps)) == (True, 3)
    together = strategy.run(Small(), evaluator(4, 2), seed=1, folder=tmp_path)
    assert len(together.history) == len(alone.history) == 4
    assert [row["train_loss"] for row in together.history] == pytest.approx(
        [row["train_loss"] for row in alone.history], rel=1e-3
    )
    expected = alone.supernet.state_dict()
    for key, tensor in together.supernet.state_dict().items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-3, atol=1e-4)


def test_what_cannot_be_sent_or_followed_is_refused():
    with pytest.raises(EvaluatorError, match="cannot be sent to other processes"):
        RandomOneShot(lambda arch: True).run(Small(), evaluator(4, 2))
    with pytest.raises(StrategyError, match="without devices = 2"):
        DARTS().run(Small(), evaluator(4, 2))


class Ending(Classification):
    """An evaluator of which only the first process trains to the end."""

    def train_part(self, seed, part):
        if part[0] == 1:
            raise SystemExit(3)
        return super().train_part(seed, part)


def test_a_process_that_ends_early_is_named():
    data = TensorDataset(images(16), torch.arange(16) % 10)
    given = Ending(train_dataloaders=data, batch_size=4, devices=2, accelerator="cpu", max_epochs=1)
    with pytest.raises(EvaluatorError, match="process 1 of 2 ended with exit code"):
        RandomOneShot().run(Small(), given)
