"""`fine_tune`: trains a network on images: computes features of the early layers, trains the head, then the other layers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hubserve.errors import EvaluatorError
from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.jobs.status import EpochRow
from hubserve.training.device import OneDevice
from hubserve.training.finetuning.clock import Clock
from hubserve.training.finetuning.features import TrainingPart
from hubserve.training.finetuning.head import find_head, head_inputs, train_head
from hubserve.training.finetuning.layer_training import CHECKPOINT, LayerTraining
from hubserve.training.finetuning.new_head import NewHead
from hubserve.training.finetuning.prepare_features import Step, prepare_features
from hubserve.training.finetuning.split_network import is_untrained, split_for
from hubserve.training.finetuning.square_images import SquareImages
from hubserve.training.finetuning.train_together import LayersWork, train_together
from hubserve.training.memory_format import training_format
from hubserve.training.seeding import seeded
from hubserve.training.settings import TrainingSettings


@dataclass(frozen=True)
class Progress:
    """Functions that `fine_tune` calls to report its progress.

    Attributes:
        step: Called with a sentence about the current step, and the share of the step that is done, None if it is unknown.
        epoch: Called after each epoch with the scores of all epochs so far.
        features: Called once with the seconds that the features of the early layers took.
    """

    step: Step = lambda message, share: None
    epoch: Callable[[Sequence[EpochRow]], None] = lambda history: None
    features: Callable[[float], None] = lambda seconds: None


def fine_tune(
    network: NewHead,
    train: SquareImages,
    val: SquareImages,
    recipe: FineTuneRecipe,
    *,
    labels: Sequence[str],
    seed: int,
    folder: Path,
    progress: Progress = Progress(),
    training: Callable[..., LayerTraining] = LayerTraining,
) -> list[EpochRow]:
    """Trains `network.model` in place, and returns the scores of all epochs.

    The new head, if it is one linear layer, is first fitted alone; then all layers that are not frozen are trained. If a call
    was killed, another one with the same arguments continues it; with a budget in epochs, the result is the same as without the
    interruption. With `recipe.devices` above 1, the features and the head are computed on one device, and the other layers are
    trained in that many processes, which this one starts.

    Args:
        network: Network with a new head; its head and, unless they are frozen, its other layers are trained. Without new
            tensors in its head, the head is trained as the other layers are.
        train: Training images.
        val: Validation images, by which the penalty of the head and the epoch whose weights are kept are chosen.
        recipe: Settings of the training.
        labels: Names of the classes in the order of their indices; `recipe.class_weights` may refer to them.
        seed: Seed of all random numbers.
        folder: Folder for stored features and the checkpoint; it is created if it does not exist.
        progress: Functions to which the progress is reported.
        training: Class that trains the layers; it is called with the arguments of `LayerTraining`. Another one than
            `LayerTraining` trains on one device only.

    Returns:
        Scores of all epochs on the validation images. The model has the weights of the best epoch, in eval mode, on the CPU.

    Raises:
        DatasetError: An image cannot be read.
        DivergedError: The loss is not finite any more.
        EvaluatorError: There are too few images, the checkpoint is corrupt or of another number of devices, a class weight
            names no class, `recipe.devices` is above 1 with another `training` than `LayerTraining`, or the devices or the
            precision are not available, or one of their processes failed.
        OSError: A file cannot be written (StorageError for a full, read-only or forbidden disk).
    """
    check_amounts(recipe, len(train), len(val))
    if recipe.devices > 1 and training is not LayerTraining:
        raise EvaluatorError(f"recipe.devices = {recipe.devices}: this training runs on one device; leave devices out")
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    weights = class_weights(recipe, train.labels, labels)
    model = network.model
    example = train.normalise(train.squares([0, 1]))
    split = split_for(model, example, recipe)
    settings = training_settings(recipe)
    device = OneDevice(settings)
    # Convolutions of mobile networks train about 1.6 times as fast on the CPU with the channels last.
    model.to(device.device).to(memory_format=training_format(model))
    features = prepare_features(split, train, val, recipe, device=device.device, seed=seed, folder=folder, step=progress.step)
    progress.features(clock.seconds)
    train_part, val_part = TrainingPart(features.train, train.labels), TrainingPart(features.val, val.labels)
    names = tuple(dict.fromkeys(name.rpartition(".")[0] for name in network.head))
    heads = {model.get_submodule(name) for name in names}
    if heads and not (folder / CHECKPOINT).is_file():
        progress.step("training the head", None)
        main = None
        if not is_untrained(model):  # A head that is fitted to its features is far too large for those of the training.
            main = find_head(split.rest, heads, features.val.batch(torch.tensor([0])).to(device.device))
        if main is not None:
            plain = TrainingPart(features.plain, train.labels)
            with seeded(seed):  # Of many images, some are drawn.
                of_train, of_val = (head_inputs(split.rest, main, part, device.device) for part in (plain, val_part))
            train_head(main, of_train, of_val, weights)
        _initialise(heads - {main}, seed)
    progress.step("training the other layers", None)
    rest: dict[str, Any] = {"classes": len(labels), "class_weights": weights, "seed": seed, "folder": folder, "clock": clock}
    if recipe.devices == 1:
        layers = training(split.rest, heads, train_part, val_part, recipe, devices=device, on_epoch=progress.epoch, **rest)
        history = layers.run()
    else:
        work = LayersWork(heads=names, train=train, val=val, recipe=recipe, **rest)
        history = train_together(model.to("cpu"), work, settings, progress.epoch)
    model.to("cpu").to(memory_format=torch.contiguous_format).eval()
    return history


def check_amounts(recipe: FineTuneRecipe, train: int, val: int) -> None:
    """Checks that there are enough images: two training images for each device, as batch norm needs, and a validation image.

    Args:
        recipe: Recipe, of which `devices` is used.
        train: Number of training images.
        val: Number of validation images.

    Raises:
        EvaluatorError: There are too few.
    """
    least = 2 * recipe.devices
    if train < least or val < 1:
        on = "" if recipe.devices == 1 else f" on {recipe.devices} devices"
        raise EvaluatorError(f"{train} images to train and {val} to validate{on}: at least {least} and 1")


def class_weights(recipe: FineTuneRecipe, train_labels: Tensor, labels: Sequence[str]) -> Tensor | None:
    """Returns the weight of each class in the loss, (classes,), with mean 1 over the training images.

    It is None if `recipe.class_weights` is "none".

    Args:
        recipe: Recipe, of which `class_weights` is used.
        train_labels: Class index of each training image, (n,) int64.
        labels: Names of the classes, in the order of their indices.

    Raises:
        EvaluatorError: A weight is given for a class that does not exist.
    """
    wanted = recipe.class_weights
    if wanted == "none":
        return None
    counts = torch.bincount(train_labels, minlength=len(labels)).float()
    if wanted == "auto":
        found = 1 / counts.clamp(min=1)
    else:
        unknown = next((name for name in wanted if name not in labels), None)
        if unknown is not None:
            raise EvaluatorError(f"recipe.class_weights: {unknown!r} is none of the classes {', '.join(labels)}")
        found = torch.tensor([wanted.get(name, 1.0) for name in labels])
    return found * counts.sum() / (found * counts).sum()


def _initialise(heads: Iterable[nn.Module | None], seed: int) -> None:
    """Initialises the weights of heads that `train_head` does not train, with small random numbers.

    These are auxiliary heads, and a main head that is not a single linear layer or belongs to an untrained network. None stands
    for no head.
    """
    generator = torch.Generator().manual_seed(seed)
    for head in heads:
        for parameter in [] if head is None else head.parameters():
            if parameter.dim() > 1:
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.01)


def training_settings(recipe: FineTuneRecipe) -> TrainingSettings:
    """Returns the settings of a fine-tuning that decide its devices and precision."""
    return TrainingSettings(
        nn.CrossEntropyLoss,
        recipe.learning_rate,
        recipe.weight_decay,
        "sgd",
        precision=recipe.precision,
        accelerator="auto",
        devices=recipe.devices,
    )
