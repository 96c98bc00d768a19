"""`prepare_features`: chooses for how many augmented views of each image features are stored, and computes them."""

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
from hubserve.training.kept_memory import kept_memory

VIEWS_SHARE = 0.2
"""Share of a time budget that features of the training images may take; two views are computed in any case."""

PLAN = "views.json"
"""Name of the file with the chosen number of views; a resumed run uses the same number."""

Step = Callable[[str, float | None], None]
"""Progress callback, called with a sentence about the current step and the share of it that is done, None if it is unknown."""


@dataclass(frozen=True)
class PreparedFeatures:
    """The features of the training and validation images.

    Attributes:
        train: Features of the training images; each batch takes a random augmented view of each of its images.
        plain: Features of the training images without augmentation.
        val: Features of the validation images without augmentation.
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
    """Computes the features of the early layers, stores them on disk, and returns them.

    What an interrupted call with the same images and folder has stored is used again, with the same number of views. If the
    network has no early layers, or two views do not fit on the disk, nothing is stored, and the returned features are computed
    anew for each batch.

    Args:
        split: Divided network, on `device`. `requires_grad` of its early layers' weights is set to False.
        train: Training images.
        val: Validation images.
        recipe: Recipe whose augmentation and budget are used.
        device: Device of the network.
        seed: Seed of the random views.
        folder: Folder in which features are stored.
        step: Progress callback.

    Raises:
        DatasetError: An image cannot be read.
        OSError: The features cannot be written (StorageError for a full, read-only or forbidden disk).
    """
    views = RandomViews(recipe.augment, train.preprocess.input_size)
    if split.early is None or split.shape is None:
        return _computed(train, val, None, views)
    for parameter in split.early.parameters():
        parameter.requires_grad_(False)
    extract = extractor(split.early, device)
    store = FeatureFolder(folder, extract, split.shape)
    # Once the plan is written, features are stored: what they take of the disk is not counted again.
    if not (folder / PLAN).is_file() and store.capacity_for(len(train) + len(val)) < 2:
        return _computed(train, val, extract, views)
    store.keep_only_of(train, val)

    def view(name: str, images: SquareImages, number: int) -> Path:
        def advance(done: int, total: int) -> None:
            step(f"features of the early layers, {name}: {done} of {total} images", done / total)

        view_seed = (seed * 1_000_003 + 2**40 + number) % 2**63
        return store.view(name, images, views if number else None, seed=view_seed, advance=advance)

    with kept_memory(device):
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
    """Returns how many views of each training image get stored features, the plain view included: 2 to `MOST_VIEWS`.

    There are at most one more than epochs, as many as fit on the disk, and as many as `VIEWS_SHARE` of the time permits; but 2
    in any case.

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
