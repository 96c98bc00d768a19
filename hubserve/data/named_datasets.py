"""`load_search_data` and `load_dataset`: load a data set by its name, such as "cifar10", or "folder" for own images."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hubserve.data.cifar import cifar
from hubserve.data.digits import digits
from hubserve.data.hub_dataset import PREFIX
from hubserve.data.labelled_data import LabelledData
from hubserve.data.listing_rows import ENDINGS, is_listing
from hubserve.data.movie_sentences import movie_sentences
from hubserve.data.names import class_names
from hubserve.data.own_images import PLAIN, Reading, own_images, own_preprocess
from hubserve.data.own_texts import own_texts
from hubserve.data.search_data import SearchData
from hubserve.data.speech.spoken_numbers import NAME as SPOKEN_NUMBERS
from hubserve.data.speech.spoken_numbers import spoken_numbers
from hubserve.errors import DatasetError
from hubserve.find_named import NamedKind, find_named
from hubserve.preprocess import Preprocess
from hubserve.similar_names import suggest
from hubserve.typed_arguments import typed_arguments
from hubserve.validation_sentence import first_mistake

OWN_TEXTS = ("text-folder", "text-listing")
"""Names of the data sets of the user's own texts."""

OWN_IMAGES = ("folder", "listing", "hf")
"""Names of the data sets of the user's own images; the function that loads them also has the argument `reading`."""

DATASETS: dict[str, Callable[..., SearchData]] = {
    "digits": digits,
    "cifar10": partial(cifar, "cifar10"),
    "cifar100": partial(cifar, "cifar100"),
    "movie-sentences": movie_sentences,
    **dict.fromkeys(OWN_IMAGES, own_images),
    **dict.fromkeys(OWN_TEXTS, own_texts),
    SPOKEN_NUMBERS: spoken_numbers,
}
"""Function that loads the data set of each name; its keyword arguments are the settings of the data set."""

WITHOUT_PLACE = {
    "digits": "come with scikit-learn",
    "movie-sentences": "are downloaded into the folder of hubserve",
    SPOKEN_NUMBERS: "are made by eSpeak NG",
}
"""Name of each data set that has no folder -> where it comes from, for error messages."""


DATASET_KIND = NamedKind(
    "hubserve.datasets",
    "no data set",
    DatasetError,
    lambda found: None if callable(found) else f"is a {type(found).__name__}, and a data set is a function that loads it",
)
"""How data sets are found by their names."""


def load_dataset(name: str, folder: Path | str | None = None, *, reading: Reading = PLAIN, **settings: Any) -> LabelledData:
    """Loads labelled images by the name of the data set and returns them in three parts. Only "hf" is downloaded.

    Args:
        name: "digits", "cifar10", "cifar100", or for the user's own images "folder", "listing" or "hf". Or the name of an entry
            point of the group "hubserve.datasets", or an import path such as "mypkg.data:flowers": a function that is called
            with `folder`, if that is given, and the settings, and returns a `LabelledData`.
        folder: Folder with the files of the data set. For "listing" it is the CSV, TSV or Parquet file, for "hf" the name of
            the data set, `owner/name`. For "digits", which needs no files, it must be None.
        reading: Parts of an earlier scan to reuse, and a progress callback; only used for the user's own images.
        settings: Keyword arguments of `digits`, `cifar` or `own_images`, such as `size`, `seed` and `val_share`.

    Raises:
        DatasetError: The data set or a setting is unknown, a value is not allowed, the folder is missing, its files do not have
            the expected layout, or the data are no labelled images.
        MissingExtraError: A library of an optional extra is not installed.
        StorageError: Data cannot be stored, since the disk is full or not writable.

    >>> data = load_dataset("digits", size=32)
    >>> Classification(datamodule=data, num_classes=len(data.labels), max_epochs=3)
    """
    data = load_search_data(name, folder, reading=reading, **settings)
    if not isinstance(data, LabelledData):
        raise DatasetError(f"the data set {name!r} has no images with labels: load it by load_search_data, or by a search job")
    return data


def load_search_data(name: str, folder: Path | str | None = None, *, reading: Reading = PLAIN, **settings: Any) -> SearchData:
    """Loads a data set of any kind by its name and returns it in three parts; see `load_dataset`, also for the errors.

    "movie-sentences" are texts, which are downloaded once; "text-folder" and "text-listing" are the user's own texts;
    "spoken-numbers" are speech, which eSpeak NG makes once. Other data than labelled images are no error here.
    """
    settings = dataset_settings(name, settings)
    if name not in DATASETS:
        return _own_data(name, folder, settings)
    more = {"reading": reading} if name in OWN_IMAGES else {}
    return DATASETS[name](*_place(name, folder), **settings, **more)


def dataset_settings(name: str, settings: Mapping[str, Any], *, refused: str | None = None) -> dict[str, Any]:
    """Checks the name and the settings of a data set without reading any file of it.

    Args:
        name: Name of the data set, as for `load_dataset`.
        settings: Its settings.
        refused: Reason for which no data set of the user's own is imported, for the message; None imports it.

    Returns:
        The settings with the types that the function of the data set asks for, see `hubserve.typed_arguments`: `preprocess`,
        which may be a mapping, is a `Preprocess`.

    Raises:
        DatasetError: There is no data set `name`, it cannot be imported or may not be, it has no setting with one of the names
            in `settings`, a value is not allowed, or settings exclude each other.
    """
    load = find_named(name, DATASETS, DATASET_KIND, refused=refused)
    parameters = inspect.signature(load).parameters.values()
    named = {inspect.Parameter.KEYWORD_ONLY} | (set() if name in DATASETS else {inspect.Parameter.POSITIONAL_OR_KEYWORD})
    # `reading` is an argument for calling programs and not a setting that a user may give.
    known = [found.name for found in parameters if found.kind in named and found.name != "reading"]
    takes_any = any(found.kind is found.VAR_KEYWORD for found in parameters)
    for setting in settings:
        if setting not in known and not takes_any:
            raise DatasetError(f"the data set {name!r} has no setting {setting!r}. {suggest(setting, known)}")
    both = [setting for setting in ("size", "resize", "fit") if setting in settings]
    if name in OWN_IMAGES and both and settings.get("preprocess") is not None:
        raise DatasetError(
            f"the data set {name!r}: preprocess and {both[0]} are both given; preprocess has all: its keys are "
            f"{', '.join(Preprocess.model_fields)}"
        )
    typed = typed_arguments(load, settings, where=f"the data set {name!r}: ", error=DatasetError)
    if name in OWN_IMAGES:
        try:
            own_preprocess(**{key: typed[key] for key in ("size", "resize", "fit", "preprocess") if key in typed})
        except ValidationError as error:
            raise DatasetError(f"the data set {name!r}: {first_mistake(error)}") from error
    return typed


def _own_data(name: str, folder: Path | str | None, settings: Mapping[str, Any]) -> SearchData:
    """Loads a data set of the user's own.

    Raises:
        DatasetError: Its function fails, or returns something else than data, no items to train or to validate with, or labels
            that a package cannot hold.
    """
    load = find_named(name, DATASETS, DATASET_KIND)
    try:
        data = load(*(() if folder is None else (Path(folder),)), **settings)
    except Exception as error:
        raise DatasetError(f"{name} raised {type(error).__name__}: {error}") from error
    if not isinstance(data, SearchData):
        raise DatasetError(
            f"{name} returned a {type(data).__name__}; it must return a hubserve.data.labelled_data.LabelledData"
        )
    if isinstance(data, LabelledData):
        class_names(data.labels, name)
    for part, items in (("train", data.train), ("val", data.val)):
        if not len(items):  # type: ignore[arg-type]
            raise DatasetError(f"{name} returned no item in the part {part!r}")
    return data


def _place(name: str, folder: Path | str | None) -> tuple[Path | str, ...]:
    if name in WITHOUT_PLACE:
        if folder is not None:
            raise DatasetError(f"{name} {WITHOUT_PLACE[name]}, and folder = {folder} is given; leave it out")
        return ()
    if name == "hf":
        if not folder:
            raise DatasetError("the data set 'hf' needs the name of a data set of the Hugging Face hub, such as owner/name")
        return (PREFIX + str(folder).removeprefix(PREFIX),)
    if name in ("listing", "text-listing"):
        if folder is None or not is_listing(Path(folder)) or not Path(folder).is_file():
            raise DatasetError(f"the data set {name!r} needs a file that ends in {', '.join(ENDINGS)}, and {folder} is none")
        return (Path(folder),)
    if folder is None or not Path(folder).is_dir():
        raise DatasetError(f"the data set {name!r} needs its folder, and {folder} is none; it is never downloaded")
    return (Path(folder),)
