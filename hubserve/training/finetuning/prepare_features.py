"""Chooses how many views of the images get stored features, and computes them."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from hubserve.atomic import write_atomic
from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.training.finetuning.augmented_views import RandomViews
from hubserve.training.finetuning.features import (
    MOST_VIEWS,
    ComputedFeatures,
    Extract,
    FeatureFolder,
    Features,
    StoredFeatures,
    extractor,
)
from hubserve.training.finetuning.split_network import SplitNetwork
from hubserve.training.finetuning.square_images import SquareImages

VIEWS_SHARE = 0.2
"""Largest share of a budget of time that is spent on features of the training images."""

PLAN = "views.json"
"""File with the number of stored views, which a continued run must have again."""

Step = Callable[[str, float | None], None]
"""Called with a sentence about what is done, and the share of it that is done, or None where it is unknown."""


@dataclass(frozen=True)
class PreparedFeatures:
    """The features of all images.

    Attributes:
        train: Training images, in each batch with a random view of each.
        plain: Training images as they are in serving.
        val: Validation images as they are in serving.
    """

    train: Features
    plain: Features
    val: Features


def prepare_features(
    split: SplitNetwork,
    train: SquareImages,
    val: SquareImages,
    recipe: FineTuneRecipe,
    *,
    device: torch.device,
    seed: int,
    folder: Path,
    step: Step,
) -> PreparedFeatures:
    """Computes and stores the features of the early layers, or, if two views do not fit on the disk, leaves that to each batch.

    Args:
        split: The divided network, on `device`. The weights of its early layers are marked as not trained.
        train: Training images.
        val: Validation images.
        recipe: Augmentation and budget.
        device: Device of the network.
        seed: Seed of the random views.
        folder: Folder of the files.
        step: Called with what is done.

    Raises:
        DatasetError: An image cannot be read.
    """
    views = RandomViews(recipe.augment, train.preprocess.input_size)
    if split.early is None or split.shape is None:
        return _computed(train, val, None, views)
    for parameter in split.early.parameters():
        parameter.requires_grad_(False)
    extract = extractor(split.early, device)
    store = FeatureFolder(folder, extract, split.shape)
    if store.capacity_for(len(train) + len(val)) < 2:
        return _computed(train, val, extract, views)

    def view(name: str, images: SquareImages, number: int) -> Path:
        def advance(done: int, total: int) -> None:
            step(f"features of the early layers, {name}: {done} of {total} images", done / total)

        view_seed = (seed * 1_000_003 + 2**40 + number) % 2**63
        return store.view(name, images, views if number else None, seed=view_seed, advance=advance)

    plain_val = view("val", val, 0)
    began = time.monotonic()
    plain = view("view-0", train, 0)
    count = _pinned_views(folder / PLAN, recipe, store.capacity_for(len(train)), time.monotonic() - began)
    files = [plain, *(view(f"view-{number}", train, number) for number in range(1, count))]
    return PreparedFeatures(StoredFeatures(files), StoredFeatures([plain]), StoredFeatures([plain_val]))


def _computed(train: SquareImages, val: SquareImages, extract: Extract | None, views: RandomViews) -> PreparedFeatures:
    return PreparedFeatures(
        train=ComputedFeatures(train, extract, views),
        plain=ComputedFeatures(train, extract),
        val=ComputedFeatures(val, extract),
    )


def number_of_views(recipe: FineTuneRecipe, capacity: int, seconds: float) -> int:
    """Returns how many views of each training image get stored features, the plain view included: at least 2.

    Args:
        recipe: Recipe with the budget.
        capacity: Number of views that fit on the disk.
        seconds: Seconds that the features of one view of all training images take.
    """
    most = float(min(capacity, MOST_VIEWS))
    if recipe.epochs is not None:
        most = min(most, recipe.epochs + 1)
    if recipe.seconds is not None:
        most = min(most, VIEWS_SHARE * recipe.seconds / max(seconds, 1e-3))
    return max(2, math.floor(most))


def _pinned_views(plan: Path, recipe: FineTuneRecipe, capacity: int, seconds: float) -> int:
    """Returns the number of views in the file `plan`; if it does not exist, chooses the number and writes the file."""
    if plan.is_file():
        return int(json.loads(plan.read_text("utf-8"))["views"])
    count = number_of_views(recipe, capacity, seconds)
    write_atomic(plan, json.dumps({"views": count}))
    return count
