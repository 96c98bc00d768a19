"""Folders of labelled pictures: ImageNet's layout, or one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hubserve.cards.labels import imagenet_wnids
from hubserve.errors import DatasetError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})

Rule = Literal["wnid", "label", "number", "order"]


@dataclass(frozen=True)
class LabelledImages:
    """Pictures with their classes.

    Attributes:
        items: (file, class index), sorted by folder and name.
        rule: how folders became classes: "wnid" (a WordNet id's place among all 1000 sorted ones, whichever folders are
            present), "label" (the folder is named as the class), "number" (the folder is named as the class's place,
            counted from 0), or "order" (the n-th folder is class n).
    """

    items: tuple[tuple[Path, int], ...]
    rule: Rule


def labelled_images(folder: Path, labels: Sequence[str]) -> LabelledImages:
    """The pictures under `folder`, for a model with these labels; a sub-folder "val" is entered.

    Raises:
        DatasetError: no folder, no pictures, or folders that cannot be matched to classes.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; expected one with a sub-folder for each class")
    root = folder / "val" if (folder / "val").is_dir() else folder
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise DatasetError(f"{root} has no sub-folders; expected one for each class, with pictures in it")
    rule, class_of = _match([entry.name for entry in folders], labels, root)
    items = tuple((path, class_of[entry.name]) for entry in folders for path in _pictures(entry))
    if not items:
        raise DatasetError(f"{root} has {len(folders)} class folders and no picture in them; known endings: {sorted(SUFFIXES)}")
    return LabelledImages(items, rule)


def _match(names: Sequence[str], labels: Sequence[str], root: Path) -> tuple[Rule, dict[str, int]]:
    wnids = {wnid: i for i, wnid in enumerate(imagenet_wnids())}
    if len(labels) == len(wnids) and all(name in wnids for name in names):
        return "wnid", wnids
    places = {label: i for i, label in enumerate(labels)}
    if all(name in places for name in names):
        return "label", places
    numbers = {str(i): i for i in range(len(labels))}
    if all(name in numbers for name in names):
        return "number", numbers
    # Where some folders are known by name, one that is not is mistyped, and the order would shift all the others.
    if len(names) == len(labels) and not any(name in places or name in wnids for name in names):
        return "order", {name: i for i, name in enumerate(names)}
    strange = next(name for name in names if name not in places)
    raise DatasetError(
        f"{root}: folder {strange!r} is neither a WordNet id nor one of the model's {len(labels)} labels (such as "
        f"{labels[0]!r}), and there are {len(names)} folders, so their order does not tell the class either"
    )


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
