"""`train_together`: trains the layers after the early ones in several processes, each on its own device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from torch import Tensor, nn

from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.jobs.status import EpochRow
from hubserve.training.device import Devices
from hubserve.training.distributed import run_together
from hubserve.training.finetuning.clock import Clock
from hubserve.training.finetuning.features import TrainingPart
from hubserve.training.finetuning.layer_training import LayerTraining
from hubserve.training.finetuning.prepare_features import prepare_features
from hubserve.training.finetuning.split_network import split_for
from hubserve.training.finetuning.square_images import SquareImages
from hubserve.training.memory_format import training_format
from hubserve.training.received_messages import received
from hubserve.training.settings import TrainingSettings
from hubserve.training.trial_weights import pack, unpack


@dataclass(frozen=True, kw_only=True)
class LayersWork:
    """The arguments of `LayerTraining` and `prepare_features` that each process needs besides the network.

    If features are stored, those of all views must exist in `folder` already.

    Attributes:
        heads: Names of the modules of the head and of auxiliary heads.
        train: Training images.
        val: Validation images.
        recipe: How to train.
        classes: Number of classes.
        class_weights: Weight of each class in the loss, (classes,); None weights all classes equally.
        seed: Seed of all random numbers.
        folder: Folder of the stored features and of the checkpoint.
        clock: Time since the fine-tuning began.
    """

    heads: tuple[str, ...]
    train: SquareImages
    val: SquareImages
    recipe: FineTuneRecipe
    classes: int
    class_weights: Tensor | None
    seed: int
    folder: Path
    clock: Clock


def train_together(
    model: nn.Module, work: LayersWork, settings: TrainingSettings, on_epoch: Callable[[Sequence[EpochRow]], None]
) -> list[EpochRow]:
    """Trains `model` in place in `settings.devices` processes, and returns the scores of all epochs.

    Args:
        model: The network, on the CPU, with the weights from which the training starts; afterwards it has those of the best
            epoch.
        work: What to train, and how.
        settings: Number of devices, accelerator and precision.
        on_epoch: Called in this process, in another thread, after each epoch with all scores so far. An error that it raises
            ends the training and is raised here.

    Raises:
        HubserveError: As `LayerTraining.run` raises it; or (EvaluatorError) the devices or the precision are not available, or
            a process was killed or failed.
        Exception: `on_epoch` raised it.
    """
    with received(on_epoch) as connection:
        history, weights = run_together(settings, partial(_train_layers, work=work, connection=connection), model)
    model.load_state_dict(unpack(weights))
    return history


def _train_layers(devices: Devices, model: nn.Module, work: LayersWork, connection: Connection) -> tuple[list[EpochRow], bytes]:
    """Trains the layers in one of the processes; returns the scores of all epochs and the weights of the whole network.

    The first process sends the scores of all epochs so far after each epoch, over `connection`.
    """
    model.eval()
    split = split_for(model, work.train.normalise(work.train.squares([0, 1])), work.recipe)
    model.to(devices.device).to(memory_format=training_format(model))
    features = prepare_features(
        split,
        work.train,
        work.val,
        work.recipe,
        device=devices.device,
        seed=work.seed,
        folder=work.folder,
        step=lambda message, share: None,
    )
    layers = LayerTraining(
        split.rest,
        [model.get_submodule(name) for name in work.heads],
        TrainingPart(features.train, work.train.labels),
        TrainingPart(features.val, work.val.labels),
        work.recipe,
        classes=work.classes,
        class_weights=work.class_weights,
        devices=devices,
        seed=work.seed,
        folder=work.folder,
        clock=work.clock,
        on_epoch=lambda history: connection.send(list(history)),
    )
    return layers.run(), pack(model)
