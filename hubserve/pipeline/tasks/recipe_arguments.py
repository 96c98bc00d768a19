"""Makes the arguments of evaluators from a recipe of a job, and the loaders of its data."""

from typing import Any

from torch.utils.data import DataLoader, Dataset

from hubserve.jobs import Recipe


def recipe_arguments(recipe: Recipe) -> dict[str, Any]:
    """Returns the arguments of `Classification`, except the data, that a recipe gives."""
    others = recipe.model_dump(exclude={"epochs", "gradient_clip", "start"})
    return {"max_epochs": recipe.epochs, "gradient_clip_val": recipe.gradient_clip, **others}


def loader(data: Dataset[Any], batch_size: int, workers: int, *, shuffle: bool) -> Dataset[Any] | DataLoader[Any]:
    """Returns `data` itself if `workers` is 0: evaluators then load the items in this process; else a loader with processes."""
    if workers == 0:
        return data
    # Not persistent_workers: evaluators make a new loader, with an order of its own, for each pass.
    return DataLoader(data, batch_size, shuffle=shuffle, num_workers=workers)
