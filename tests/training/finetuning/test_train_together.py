"""Fine-tuning in two processes: the steps are those of one process with twice the batch, and all end together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import torch

from hubserve.errors import DatasetError, DivergedError, EvaluatorError
from hubserve.process_tree import descendants
from hubserve.training.finetuning.fine_tune import Progress, fine_tune
from hubserve.training.finetuning.layer_training import LayerTraining
from tests.training.finetuning.small import COLOURS, parts, recipe, start
from tests.training.finetuning.test_fine_tune import KilledError, tuned

pytestmark = pytest.mark.xdist_group("ddp")

PLAIN = {"augment": {"crop": 1.0, "flip": False, "mixup": 0.0, "cutmix": 0.0}, "batch_norm": "frozen"}
"""Settings with which the division of a step among processes does not change its gradients."""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return parts(tmp_path_factory.mktemp("images"))


def scores(history):
    return [(row.epoch, row.train_loss, row.val_acc, row.val_loss) for row in history]


def weights(model):
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


@pytest.mark.slow
def test_two_processes_make_the_steps_of_one(tmp_path, images):
    """24 images in steps of 14 and 10, which is 7 and 5 in each process; 12 images to validate."""
    alone, expected = tuned(tmp_path / "alone", images, batch_size=14, learning_rate=0.001, **PLAIN)
    together, history = tuned(tmp_path / "together", images, batch_size=7, learning_rate=0.001, devices=2, **PLAIN)
    for found, single in zip(scores(history), scores(expected), strict=True):
        assert found == pytest.approx(single, abs=1e-4)
    assert len({row.val_loss for row in history}) == 4  # The weights changed in each epoch.
    assert torch.allclose(weights(alone), weights(together), atol=1e-4)


@pytest.mark.long
def test_interrupted_it_ends_as_without(tmp_path, images):
    """With all that is random: augmentation, mixtures, batch norm in training mode, an uneven last step of 5 images."""
    settings = {"devices": 2, "batch_size": 5, "early_layers": "train"}
    alone, history = tuned(tmp_path / "alone", images, **settings)

    def stop(rows):
        if rows[-1].epoch == 1:
            raise KilledError

    with pytest.raises(KilledError):
        tuned(tmp_path / "killed", images, progress=Progress(epoch=stop), **settings)
    assert not training_processes(os.getpid())
    with pytest.raises(EvaluatorError, match=r"recipe\.devices = 2, and now it is 1"):
        tuned(tmp_path / "killed", images, batch_size=5, early_layers="train")
    resumed, again = tuned(tmp_path / "killed", images, **settings)
    assert scores(again) == scores(history)
    assert torch.equal(weights(alone), weights(resumed))


@pytest.mark.long
def test_the_time_is_kept_to(tmp_path, images):
    """The processes agree on the step at which it is over: none waits for another one."""
    began = time.monotonic()
    _, history = tuned(tmp_path, images, epochs=None, minutes=0.5, devices=2)
    assert len(history) > 2
    assert history[-1].seconds <= 33
    assert time.monotonic() - began < 120


@pytest.mark.long
def test_an_error_in_the_other_process_ends_both(tmp_path):
    """An image that only the second process reads becomes none after the first validation."""
    train, val = parts(tmp_path / "images")
    bad = val.items[1][0]  # Of the validation images, the second process has those with odd indices.

    def spoil(rows):
        bad.write_bytes(b"no image")
        raise KilledError

    with pytest.raises(KilledError):
        tuned(tmp_path, (train, val), early_layers="train", devices=2, progress=Progress(epoch=spoil))
    with pytest.raises(DatasetError, match=bad.name):
        tuned(tmp_path, (train, val), early_layers="train", devices=2)
    assert not training_processes(os.getpid())


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_an_error(tmp_path, images):
    with pytest.raises(DivergedError, match=r"recipe\.learning_rate"):
        tuned(tmp_path, images, learning_rate=1e12, warm_up=0.0, ema_decay=None, epochs=5, devices=2)


PROGRAM = """
import sys
from pathlib import Path
from tests.training.finetuning.small import COLOURS, parts, recipe, start
from hubserve.training.finetuning.fine_tune import Progress, fine_tune
from hubserve.training.trial_weights import save_weights

if __name__ == "__main__":
    folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
    network = start()
    say = Progress(epoch=lambda history: print(history[-1].epoch, flush=True))
    fine_tune(network, *parts(folder / "images"), recipe(epochs=epochs, devices=2, early_layers="train"),
              labels=tuple(COLOURS), seed=0, folder=folder / "run", progress=say)
    save_weights(network.model, folder)
"""


def program(folder, epochs):
    """The running program; it prints each epoch that ended."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(epochs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def training_processes(pid):
    """The processes of the training below a program, in the order in which they were started."""
    found = []
    for each in sorted(descendants(pid)):
        with suppress(OSError), open(f"/proc/{each}/cmdline", "rb") as file:
            if b"spawn_main" in file.read():
                found.append(each)
    return found


def wait_for_end(pids):
    end = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < end, "a process of the training outlives the others"
        time.sleep(0.05)


@pytest.mark.long
def test_kill_9_of_the_program_or_of_a_process_ends_all_and_it_goes_on(tmp_path):
    alone = program(tmp_path / "alone", 6)
    assert alone.communicate(timeout=300)[0].split() == [str(epoch) for epoch in range(7)]
    for victim in ("program", 0, 1):
        running = program(tmp_path / "killed", 6)
        assert running.stdout is not None
        assert running.stderr is not None
        for _ in range(2):
            running.stdout.readline()
        processes = training_processes(running.pid)
        assert len(processes) == 2
        os.kill(running.pid if victim == "program" else processes[victim], signal.SIGKILL)
        _, errors = running.communicate(timeout=120)
        assert running.returncode != 0
        if victim != "program":
            assert f"process {victim} of a training on several devices was ended by SIGKILL" in errors
        wait_for_end([running.pid, *processes])
    last = program(tmp_path / "killed", 6)
    assert last.wait(300) == 0
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("alone", "killed")]
    assert files[0] == files[1]


@pytest.mark.slow
def test_a_process_that_is_asked_to_stop_ends_all(tmp_path):
    """SIGINT, as a terminal sends it and as SIGTERM is turned into by a job."""
    running = program(tmp_path, 500)
    assert running.stdout is not None
    running.stdout.readline()
    processes = training_processes(running.pid)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=120)
    assert running.returncode == -signal.SIGINT
    wait_for_end(processes)


def test_too_few_images_for_the_devices(tmp_path, images):
    with pytest.raises(EvaluatorError, match="24 images to train and 12 to validate on 16 devices: at least 32 and 1"):
        tuned(tmp_path, images, devices=16)


def test_another_kind_of_training_runs_on_one_device(tmp_path, images):
    class Other(LayerTraining):
        pass

    with pytest.raises(EvaluatorError, match=r"recipe\.devices = 2: this training runs on one device"):
        fine_tune(start(), *images, recipe(devices=2), labels=tuple(COLOURS), seed=0, folder=tmp_path, training=Other)
