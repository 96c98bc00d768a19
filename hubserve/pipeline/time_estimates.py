"""Estimates, before a network is fine-tuned, how long its features, training, test, export and profile take.

Images are decoded and pass through the network for a moment; the estimates are multiples of what that took. An export cannot be
measured beforehand: its time is proportional to the number of modules of the network, with the factor of the last export of the
same formats on this machine, or, without one, with `SECONDS_PER_MODULE`.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from hubserve.atomic import write_atomic
from hubserve.errors import OutputError
from hubserve.home import home
from hubserve.jobs import TimedPart
from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.package.manifest import Format
from hubserve.pipeline.image_parts import ImageParts
from hubserve.training.device import OneDevice
from hubserve.training.finetuning.augmented_views import RandomViews
from hubserve.training.finetuning.features import FeatureFolder, extractor
from hubserve.training.finetuning.fine_tune import training_settings
from hubserve.training.finetuning.prepare_features import number_of_views
from hubserve.training.finetuning.split_network import split_for
from hubserve.training.kept_memory import kept_memory
from hubserve.training.seeding import seeded

T = TypeVar("T")

SAMPLE = 32
"""Largest number of images that are decoded and pass through the network for the measurement."""

TRAINING_FACTOR = 4
"""Time of a training step over that of a pass without gradients: 3.9 to 4.8 on the CPU (`./scripts/bench train`)."""

SECONDS_PER_MODULE: dict[Format, float] = {
    "onnx": 0.07,
    "torchscript": 0.015,
    "pt2": 0.03,
    "onnx-fp16": 0.07,
    "onnx-int8": 0.07,
    "executorch": 0.07,
    "executorch-int8": 0.14,
    "litert": 0.07,
    "litert-int8": 0.14,
    "ncnn": 0.03,
}
"""Seconds of an export for each module of the network, where this machine has exported none yet.

Measured as CPU time, with the imports, of mobilenetv3-small-050, efficientnet-lite0 and proxyless-gpu; the two other formats of
ONNX are not measured and have the number of "onnx".
"""

EXPORTS = "export_seconds.json"
"""File in HUBSERVE_HOME with the seconds per module of the last export of each set of formats on this machine."""


def estimate_seconds(
    model: nn.Module,
    parts: ImageParts,
    recipe: FineTuneRecipe,
    *,
    formats: Sequence[Format],
    profile_seconds: float,
    folder: Path,
) -> dict[TimedPart, float]:
    """Returns the estimated seconds of each part of a fine-tuning, after a measurement of a few seconds.

    "features" is part of "fine-tune". No random number of the fine-tuning depends on the measurement.

    Args:
        model: Network with its new head, on the CPU. Afterwards it is in eval mode.
        parts: Images of the job.
        recipe: Recipe of the job.
        formats: Formats that are exported.
        profile_seconds: Seconds for which the latency is measured.
        folder: Folder in which features will be stored; it is made.

    Raises:
        DatasetError: An image cannot be read.
        EvaluatorError: The recipe asks for a precision that the device does not have.
        OSError: The folder cannot be made.
    """
    train, val, test = parts.train, parts.val, parts.test
    count = min(SAMPLE, len(train))
    model.eval()
    with seeded(0), torch.no_grad(), kept_memory(torch.device("cpu")):  # As in the phases that are estimated.
        decode, squares = _per_image(count, lambda: train.squares(range(count)))
        inputs = train.normalise(squares)
        model(inputs[:2])  # The first call allocates memory.
        forward, _ = _per_image(count, lambda: model(inputs))
        split = split_for(model, inputs[:2], recipe)
        device = OneDevice(training_settings(recipe)).device
        model.to(device).to(memory_format=torch.channels_last)
        trained = _seconds_on(device, model, inputs)
        change, _ = _per_image(count, lambda: RandomViews(recipe.augment, train.preprocess.input_size)(squares))
        early = features = 0.0
        if split.early is not None and split.shape is not None:
            early = _seconds_on(device, split.early, inputs)
            store = FeatureFolder(folder, extractor(split.early, device), split.shape)
            if store.capacity_for(len(train) + len(val)) >= 2:
                plain = len(train) * (decode + early)
                views = number_of_views(recipe, store.capacity_for(len(train)), plain)
                features = plain + len(val) * (decode + early) + (views - 1) * len(train) * (change + early)
    model.to("cpu").to(memory_format=torch.contiguous_format)
    stored = features > 0
    if stored:
        trained = max(trained - early, 0.0)
    step = TRAINING_FACTOR * trained + (0.0 if stored else change)
    # GPUs share the work; processes on the CPU share its cores, too.
    together = recipe.devices if device.type == "cuda" else 1
    epoch = (len(train) * step + len(val) * trained) / together
    tuning = [] if recipe.seconds is None else [recipe.seconds]
    if recipe.epochs is not None:
        tuning.append(features + (len(train) + len(val)) * trained + recipe.epochs * epoch)
    return {
        "features": features,
        "fine-tune": min(tuning),
        "test": (len(val) + len(test)) * forward + len(test) * decode,
        "export": estimate_export(model, formats),
        "profile": profile_seconds,
    }


def estimate_export(model: nn.Module, formats: Sequence[Format]) -> float:
    """Returns the estimated seconds of an export of a network in some formats."""
    usual = sum(SECONDS_PER_MODULE[name] for name in formats)
    return number_of_modules(model) * _noted_exports().get(_key(formats), usual)


def note_export(model: nn.Module, formats: Sequence[Format], seconds: float) -> None:
    """Notes how long an export took, for the next estimate; does nothing if HUBSERVE_HOME cannot be written."""
    with suppress(OSError, OutputError):
        found = _noted_exports() | {_key(formats): seconds / number_of_modules(model)}
        home().mkdir(parents=True, exist_ok=True)
        write_atomic(home() / EXPORTS, json.dumps(found, indent=2) + "\n")


def number_of_modules(model: nn.Module) -> int:
    """Returns the number of modules of a network, itself included."""
    return sum(1 for _ in model.modules())


def _noted_exports() -> dict[str, float]:
    """Returns the seconds per module by formats; empty if nothing was noted, or the file cannot be read."""
    with suppress(OSError, ValueError, OutputError):
        found = json.loads((home() / EXPORTS).read_text("utf-8"))
        if isinstance(found, dict) and all(isinstance(value, float) and 0 < value < 3600 for value in found.values()):
            return found
    return {}


def _key(formats: Sequence[Format]) -> str:
    return ",".join(sorted(formats))


def _seconds_on(device: torch.device, network: nn.Module, inputs: Tensor) -> float:
    """Returns the seconds for each image of a pass on a device, as features and scores are computed."""
    run = extractor(network, device)
    run(inputs[:2])  # The first call allocates memory.
    return _per_image(len(inputs), lambda: run(inputs))[0]


def _per_image(count: int, work: Callable[[], T]) -> tuple[float, T]:
    """Calls `work` on `count` images; returns the seconds for each image, and the result."""
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) / count, result
