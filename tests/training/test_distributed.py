"""Training in two processes: the steps are those of one process with twice the batch, and all agree on the result."""

from __future__ import annotations

import os
import threading
from functools import partial

import pytest
import torch
from torch import nn

from hubserve.errors import EvaluatorError
from hubserve.evaluator import Classification, Trial
from hubserve.training.distributed import run_together
from hubserve.training.trial_weights import pack, unpack
from tests.process_tree import listening, tree
from tests.training.nets import blobs

pytestmark = pytest.mark.xdist_group("ddp")


class Net(nn.Sequential):
    """Its weights have more bytes than the buffer of a pipe, 64 KB, which holds up a process that returns them that way."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Linear(3, 4000), nn.ReLU(), nn.Linear(4000, 3))


def evaluator(batch_size, **settings):
    return Classification(
        train_dataloaders=blobs(64), val_dataloaders=blobs(31, seed=1), optimizer="sgd", learning_rate=0.05, max_epochs=3,
        schedule="cosine", gradient_clip_val=0.3, ema_decay=0.9, batch_size=batch_size, accelerator="cpu", **settings,
    )  # fmt: skip


class Sockets:
    """All sockets that this process and its descendants listen on while the block runs, and their number at most."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.processes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Sockets:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        before = listening(os.getpid())
        while not self._over.wait(0.02):
            self.processes = max(self.processes, len(tree(os.getpid())))
            self.found |= listening(os.getpid()) - before


def everywhere(devices, model, trained):
    """Scores here and their sum over all processes, with the weights and theirs."""
    scores = trained._fit_on(devices, model, Trial(seed=4), channels_last=False)
    weights = nn.utils.parameters_to_vector(model.parameters()).detach()
    return scores, devices.total(torch.tensor(scores["val_loss"])).item(), pack(model), devices.total(weights.clone()).tolist()


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one_and_agree():
    alone = Net()
    expected = evaluator(16).fit(alone, Trial(seed=4))
    together = evaluator(8, devices=2, strategy="ddp")
    with Sockets() as sockets:
        scores, loss_sum, weights, weight_sum = run_together(together.settings, partial(everywhere, trained=together), Net())
    assert sockets.processes >= 3
    assert sockets.found
    assert all(each.startswith("tcp 127.0.0.1:") for each in sockets.found), sockets.found
    trained = Net()
    trained.load_state_dict(unpack(weights))
    vector = nn.utils.parameters_to_vector(trained.parameters())
    assert torch.allclose(vector, nn.utils.parameters_to_vector(alone.parameters()), atol=1e-5)
    assert scores == pytest.approx(expected, abs=1e-5)
    # The other process has the same scores and weights: together they are twice these.
    assert loss_sum == pytest.approx(2 * scores["val_loss"], rel=1e-6)
    assert torch.allclose(torch.tensor(weight_sum), 2 * vector, atol=1e-6)


@pytest.mark.slow
def test_an_error_comes_back_as_what_it_was():
    with pytest.raises(EvaluatorError, match=r"loss is .* in epoch 0|validation gives"):
        Classification(
            train_dataloaders=blobs(64), val_dataloaders=blobs(), optimizer="sgd", learning_rate=1e30, accelerator="cpu",
            devices=2, strategy="ddp", batch_size=4,
        ).fit(Net())  # fmt: skip
