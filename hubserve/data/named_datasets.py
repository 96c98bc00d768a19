"""Data sets by name: `load_dataset`."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hubserve.data.cifar import cifar
from hubserve.data.digits import digits
from hubserve.data.labelled_data import LabelledData
from hubserve.data.own_images import own_images
from hubserve.errors import DatasetError, suggest
from hubserve.validation_sentence import first_mistake

DATASETS: dict[str, Callable[..., LabelledData]] = {
    "digits": digits,
    "cifar10": partial(cifar, "cifar10"),
    "cifar100": partial(cifar, "cifar100"),
    "folder": own_images,
}
"""Name -> function that makes the data set; its keywords are the settings."""


def load_dataset(name: str, folder: Path | str | None = None, **settings: Any) -> LabelledData:
    """The data set of that name; nothing is downloaded.

    Args:
        name: "digits", "cifar10", "cifar100", or "folder" for one's own images.
        folder: Folder in which its files lie; None for the digits, which have none.
        settings: Keywords of `digits`, `cifar` or `own_images`, such as `size`, `seed` and `val_share`.

    Raises:
        DatasetError: There is no such data set or setting, a setting has a value that is not allowed, or the files are not as
            expected.

    >>> data = load_dataset("digits", size=32)
    >>> Classification(datamodule=data, num_classes=len(data.labels), max_epochs=3)
    """
    check_dataset_name(name, settings)
    try:
        return DATASETS[name](*_folder(name, folder), **settings)
    except ValidationError as error:
        raise DatasetError(f"the data set {name!r}: {first_mistake(error, show_value=True)}") from error


def check_dataset_name(name: str, settings: Iterable[str]) -> None:
    """Raises DatasetError if there is no such data set, or it has no setting of one of these names; no file is read."""
    if name not in DATASETS:
        raise DatasetError(f"no data set {name!r}. {suggest(name, DATASETS)}")
    parameters = inspect.signature(DATASETS[name]).parameters.values()
    # `reading` is an argument of a program, not a setting of a job.
    known = [found.name for found in parameters if found.kind is found.KEYWORD_ONLY and found.name != "reading"]
    for setting in settings:
        if setting not in known:
            raise DatasetError(f"the data set {name!r} has no setting {setting!r}. {suggest(setting, known)}")


def _folder(name: str, folder: Path | str | None) -> tuple[Path, ...]:
    if name == "digits":
        if folder is not None:
            raise DatasetError(f"digits come with scikit-learn, and folder = {folder} is given; leave it out")
        return ()
    if folder is None or not Path(folder).is_dir():
        raise DatasetError(f"the data set {name!r} needs its folder, and {folder} is none; it is never downloaded")
    return (Path(folder),)
