"""Folders of labelled images for a model that is there already: which class of the model each sub-folder is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from hubserve.cards.labels import imagenet_wnids
from hubserve.cards.labels import labels as known_labels
from hubserve.data.folder_walk import walk
from hubserve.data.layout import class_folders
from hubserve.data.names import part_of
from hubserve.data.scan import Item
from hubserve.errors import DatasetError

Rule = Literal["wnid", "label", "number", "order"]


@dataclass(frozen=True)
class LabelledImages:
    """Images with the classes of a certain model.

    Attributes:
        items: Image files with class indices, sorted by sub-folder and name.
        rule: How sub-folders became classes: "wnid" (the name is the WordNet id of one of ImageNet's classes), "label" (the
            folder has the name of the class), "number" (the folder has the index of the class, from 0, as its name), or
            "order" (the n-th folder in the order of names is class n).
    """

    items: tuple[Item, ...]
    rule: Rule


def image_files(folder: Path) -> list[Path]:
    """The image files in `folder`, at any depth, sorted; a file is an image by the ending of its name, hidden ones are not.

    Raises:
        DatasetError: The folder cannot be opened.
    """
    try:
        return walk(folder).images
    except OSError as error:
        raise DatasetError(f"{folder} cannot be opened: {error.strerror}") from error


def labelled_images(folder: Path, labels: Sequence[str]) -> LabelledImages:
    """The images in `folder` with the classes of a model; of a folder that is divided into parts, those of its last part.

    The last part is test/, or val/ where there is no test/, under any of the names that `hubserve.data.names.part_of` knows.

    Args:
        folder: Folder with a sub-folder for each class, or for some of them.
        labels: Names of the model's classes, in the order of their indices.

    Raises:
        DatasetError: There is no such folder, no sub-folder or no image, or the sub-folders cannot be matched to classes.
    """
    root = _last_part(folder)
    found = class_folders(root, allow_empty=True).parts[None]
    rule, classes = _match(list(found), labels, root)
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
    # A model that was trained on folders with these names has ImageNet's names of the classes as labels.
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
    # Where some folders are known by name, one that is not is mistyped, and the order would shift all the others.
    if len(names) == len(labels) and not any(name in indices or name in wnids for name in names):
        return "order", {name: i for i, name in enumerate(names)}
    unknown = next(name for name in names if name not in indices)
    raise DatasetError(
        f"{root}: folder {unknown!r} is neither a WordNet id nor one of the model's {len(labels)} labels (such as "
        f"{labels[0]!r}), and there are {len(names)} folders, so their order does not give the class either"
    )
