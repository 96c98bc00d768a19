"""Fine-tuning as a whole: what it learns, its budget, and that it goes on after a kill."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from hubserve.errors import DatasetError, DivergedError, EvaluatorError
from hubserve.training.finetuning.fine_tune import Progress, class_weights, fine_tune
from hubserve.training.finetuning.layer_training import CHECKPOINT
from hubserve.training.finetuning.square_images import SquareImages
from tests.training.finetuning.small import COLOURS, PREPROCESS, parts, recipe, start

LABELS = tuple(COLOURS)
QUIET = Progress()


def tuned(folder, images, *, network=None, progress=QUIET, seed=0, **changes):
    network = network or start()
    history = fine_tune(network, *images, recipe(**changes), labels=LABELS, seed=seed, folder=folder / "run", progress=progress)
    return network.model, history


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return parts(tmp_path_factory.mktemp("images"))


def test_it_learns(tmp_path, images):
    model, history = tuned(tmp_path, images, epochs=6)
    assert [row.epoch for row in history] == list(range(7))
    assert history[0].train_loss is None
    assert max(row.val_acc for row in history) >= 0.8
    assert not model.training
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
    assert all(row.seconds >= before.seconds for before, row in itertools.pairwise(history))


def test_the_early_layers_stay_and_the_others_change(tmp_path, images):
    before = {name: tensor.clone() for name, tensor in start().model.state_dict().items()}
    model, history = tuned(tmp_path, images, learning_rate=0.2, patience=None)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert "classifier.weight" in changed
    if max(history, key=lambda row: (row.val_acc, -row.val_loss)).epoch > 0:
        assert any(name.startswith("blocks") for name in changed)
    assert "stem.0.weight" not in changed
    assert "stem.1.running_mean" not in changed


def test_an_untrained_network_is_trained_as_a_whole_from_a_small_head(tmp_path, images):
    """Its features vanish in eval mode; a head fitted to them would be millions of times too large for the training."""
    network = start()
    for norm in (module for module in network.model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    model, history = tuned(tmp_path, images, network=network, epochs=12, patience=None)
    losses = [row.train_loss for row in history[1:]]
    assert max(losses) < 2 * torch.tensor(3.0).log()
    assert losses[-1] < losses[0]
    assert not torch.equal(model.state_dict()["stem.0.weight"], before["stem.0.weight"])


def test_all_layers_are_trained_where_that_is_asked_for(tmp_path, images):
    network = start()
    before = network.model.state_dict()["stem.0.weight"].clone()
    model, history = tuned(tmp_path, images, network=network, early_layers="train", ema_decay=None)
    assert not list((tmp_path / "run").glob("*.npy"))
    if max(history, key=lambda row: (row.val_acc, -row.val_loss)).epoch > 0:
        assert not torch.equal(model.state_dict()["stem.0.weight"], before)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", [0, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 2))])
def test_after_a_kill_it_ends_as_without(tmp_path, images, at):
    """Stopped after the checkpoint of an epoch; what the first process knew is lost."""
    alone, history = tuned(tmp_path / "alone", images)

    def stop(rows):
        if rows[-1].epoch == at:
            raise KilledError

    with pytest.raises(KilledError):
        tuned(tmp_path / "killed", images, progress=Progress(epoch=stop))
    assert (tmp_path / "killed" / "run" / CHECKPOINT).is_file()
    resumed, again = tuned(tmp_path / "killed", images)
    assert [(row.epoch, row.train_loss, row.val_acc, row.val_loss) for row in again] == [
        (row.epoch, row.train_loss, row.val_acc, row.val_loss) for row in history
    ]
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.mark.slow
def test_stopped_while_features_are_computed_it_ends_as_without(tmp_path, images):
    alone, _ = tuned(tmp_path / "alone", images)
    done = itertools.count()

    def stop(message, share):
        if next(done) == 2:
            raise KilledError

    with pytest.raises(KilledError):
        tuned(tmp_path / "killed", images, progress=Progress(step=stop))
    resumed, _ = tuned(tmp_path / "killed", images)
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in alone.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_after_an_image_is_removed_the_features_are_those_of_the_others(tmp_path, part):
    """They are found by place: those of the killed run would be one place off, and have the labels of others."""
    images = parts(tmp_path / "images")

    def stop(rows):
        raise KilledError

    with pytest.raises(KilledError):
        tuned(tmp_path / "kept", images, progress=Progress(epoch=stop))
    shutil.copytree(tmp_path / "kept", tmp_path / "anew")
    for file in (tmp_path / "anew" / "run").glob("*.npy"):
        file.unlink()
    left = [SquareImages(one.items[number == part :], PREPROCESS) for number, one in enumerate(images)]
    (kept, history), (anew, expected) = (tuned(tmp_path / name, left) for name in ("kept", "anew"))
    assert [(row.train_loss, row.val_loss) for row in history] == [(row.train_loss, row.val_loss) for row in expected]
    assert all(torch.equal(tensor, anew.state_dict()[name]) for name, tensor in kept.state_dict().items())


def test_the_images_that_the_head_alone_is_trained_on_are_drawn_by_the_seed(tmp_path, images, monkeypatch):
    monkeypatch.setattr("hubserve.training.finetuning.head.MOST_IMAGES", 10)
    first, second = (tuned(tmp_path / name, images, epochs=1)[1] for name in ("one", "two"))
    assert [row.val_loss for row in first] == [row.val_loss for row in second]


PROGRAM = """
import sys
from pathlib import Path
from tests.training.finetuning.small import COLOURS, parts, recipe, start
from hubserve.training.finetuning.fine_tune import fine_tune
from hubserve.training.trial_weights import save_weights

folder = Path(sys.argv[1])
network = start()
fine_tune(network, *parts(folder / "images"), recipe(epochs=6), labels=tuple(COLOURS), seed=0, folder=folder / "run")
save_weights(network.model, folder)
"""


@pytest.mark.long
def test_killed_at_any_moment_it_ends_as_without(tmp_path):
    """Real processes and `kill -9`, at moments spread over a whole run."""
    command = [sys.executable, "-c", PROGRAM]
    began = time.monotonic()
    subprocess.run([*command, str(tmp_path / "alone")], check=True, timeout=200)
    whole = time.monotonic() - began
    for share in (0.5, 0.65, 0.8, 0.9):
        process = subprocess.Popen([*command, str(tmp_path / "killed")])
        time.sleep(share * whole)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, str(tmp_path / "killed")], check=True, timeout=200)
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("alone", "killed")]
    assert weights[0] == weights[1]
    assert not [name for name in os.listdir(tmp_path / "killed" / "run") if name.startswith(".") and name.endswith(".pt")]


@pytest.mark.parametrize("network", [("NasBench201", {"num_labels": 5, "stem_out_channels": 4, "num_modules_per_stack": 1})])
def test_other_spaces(tmp_path, images, network):
    _, history = tuned(tmp_path, images, network=start(space=network[0], settings=network[1]), epochs=1)
    assert len(history) == 2


def test_a_network_with_an_auxiliary_head(tmp_path, images):
    settings = {"num_labels": 5, "width": (8,), "num_cells": (3,), "auxiliary_loss": True}
    network = start(space="DARTS", settings=settings)
    assert any("auxiliary" in name for name in network.head)
    _, history = tuned(tmp_path, images, network=network, epochs=1, batch_size=12)
    assert history[1].train_loss is not None


@pytest.mark.parametrize("batch_size", [23, 24])
def test_a_last_batch_of_one_image_trains(tmp_path, images, batch_size):
    """24 images in batches of 23: batch norm cannot be trained on the one that is left."""
    _, history = tuned(tmp_path, images, epochs=1, batch_size=batch_size)
    assert len(history) == 2


def test_the_time_is_kept_to(tmp_path, images):
    began = time.monotonic()
    _, history = tuned(tmp_path, images, epochs=None, minutes=0.1)
    assert len(history) > 2
    assert history[-1].seconds <= 6.5
    assert time.monotonic() - began < 20


def test_patience_ends_it(tmp_path, images):
    _, history = tuned(tmp_path, images, epochs=50, patience=1, learning_rate=1e-9)
    assert len(history) < 50


def test_a_loss_that_is_not_finite_is_an_error(tmp_path, images):
    with pytest.raises(DivergedError, match=r"recipe\.learning_rate"):
        tuned(tmp_path, images, learning_rate=1e12, warm_up=0.0, ema_decay=None, epochs=5)


def test_a_corrupt_checkpoint_is_named(tmp_path, images):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(EvaluatorError, match=rf"(?s){CHECKPOINT} is corrupt.*delete it"):
        tuned(tmp_path, images)


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    train, val = parts(tmp_path / "images")
    train.items[3][0].write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"3\.png"):
        tuned(tmp_path, (train, val))


class TestClassWeights:
    def test_rare_classes_weigh_more(self):
        found = class_weights(recipe(class_weights="auto"), torch.tensor([0, 0, 0, 1]), ("a", "b"))
        assert found is not None
        assert found.tolist() == pytest.approx([2 / 3, 2.0])

    def test_by_name(self):
        found = class_weights(recipe(class_weights={"b": 3.0}), torch.tensor([0, 1]), ("a", "b"))
        assert found is not None
        assert found.tolist() == pytest.approx([0.5, 1.5])

    def test_none(self):
        assert class_weights(recipe(), torch.tensor([0, 1]), ("a", "b")) is None

    def test_an_unknown_class(self):
        with pytest.raises(EvaluatorError, match="'c' is none of the classes a, b"):
            class_weights(recipe(class_weights={"c": 1.0}), torch.tensor([0, 1]), ("a", "b"))


def test_frozen_batch_norm_keeps_its_statistics(tmp_path, images):
    network = start()
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items() if "running_mean" in name}
    model, _ = tuned(tmp_path, images, network=network, batch_norm="frozen")
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
