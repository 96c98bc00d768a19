"""Reads a folder of labelled images for an existing model, and matches its sub-folders to the classes of the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from hubserve.cards.labels import imagenet_wnids
from hubserve.cards.labels import labels as known_labels
from hubserve.data.folder_walk import walk
from hubserve.data.layout import class_folders, no_image_text
from hubserve.data.names import part_of
from hubserve.data.scan import Item
from hubserve.errors import DatasetError

Rule = Literal["wnid", "label", "number", "order"]


@dataclass(frozen=True)
class LabelledImages:
    """Image files with the class indices of one given model.

    Attributes:
        items: Pairs of an image file and the index of its class, sorted by sub-folder and file name.
        rule: How the name of a sub-folder gave its class: "wnid" (the WordNet id of an ImageNet class), "label" (the label
            of the class), "number" (the index of the class, counted from 0), or "order" (the sub-folders, sorted by name,
            are the classes in the order of their indices).
    """

    items: tuple[Item, ...]
    rule: Rule


def image_files(folder: Path) -> list[Path]:
    """Returns the sorted paths of all image files below `folder`, at any depth.

    A file counts as an image by the suffix of its name. Hidden files and folders are skipped.

    Raises:
        DatasetError: The folder cannot be opened.
    """
    try:
        return walk(folder).images
    except OSError as error:
        raise DatasetError(f"{folder} cannot be opened: {error.strerror}") from error


def labelled_images(folder: Path, labels: Sequence[str]) -> LabelledImages:
    """Returns the images below `folder` with the class index that the model has for each.

    If `folder` is divided into parts, only the images in test/ are returned, or those in val/ if there is no test/. The parts
    may have any of the names that `hubserve.data.names.part_of` knows.

    Args:
        folder: Folder with one sub-folder per class. Classes of the model may be missing.
        labels: Labels of the model's classes, in the order of their indices.

    Raises:
        DatasetError: The folder does not exist, has no sub-folder or no image, or its sub-folders do not match the classes.
    """
    root = _last_part(folder)
    layout = class_folders(root, allow_empty=True)
    found = layout.parts[None]
    rule, classes = _match(list(found), labels, root)
    if not any(found.values()):
        raise DatasetError(no_image_text(root, found, layout.left_out))
    return LabelledImages(tuple((path, classes[name]) for name, paths in found.items() for path in paths), rule)


def _last_part(folder: Path) -> Path:
    if folder.is_dir():
        parts = {part_of(entry.name): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
        for part in ("test", "val"):
            if part in parts:
                return parts[part]  # type: ignore[index]
    return folder


def _match(names: Sequence[str], labels: Sequence[str], root: Path) -> tuple[Rule, dict[str, int]]:
    wnids = {wnid: i for i, wnid in enumerate(imagenet_wnids())}
    if len(labels) == len(wnids) and all(name in wnids for name in names):
        return "wnid", wnids
    indices = {normalize("NFC", label): i for i, label in enumerate(labels)}
    if all(name in indices for name in names):
        return "label", indices
    # The labels are ImageNet's class names where a model was trained on folders that are named by WordNet ids.
    imagenet = known_labels("imagenet-1k")
    if all(name in wnids and imagenet[wnids[name]] in indices for name in names):
        return "wnid", {name: indices[imagenet[wnids[name]]] for name in names}
    numbers = {str(i): i for i in range(len(labels))}
    if all(name in numbers for name in names):
        if any(label in indices for label in numbers):
            raise DatasetError(
                f"{root}: the folders {', '.join(map(repr, names[:5]))} are numbers, and so are labels of the model, such as "
                f"{next(label for label in labels if label in numbers)!r}, but not all are among them: rename the folders to "
                "the labels that they have"
            )
        return "number", numbers
    # If some names are known, an unknown one is probably mistyped; matching by order would then shift the other classes.
    if len(names) == len(labels) and not any(name in indices or name in wnids for name in names):
        return "order", {name: i for i, name in enumerate(names)}
    unknown = next(name for name in names if name not in indices)
    raise DatasetError(
        f"{root}: folder {unknown!r} is neither a WordNet id nor one of the model's {len(labels)} labels (such as "
        f"{labels[0]!r}), and there are {len(names)} folders, so their order does not give the class either"
    )
