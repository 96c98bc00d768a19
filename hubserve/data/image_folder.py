"""Folders of images: which files are images, and which class each sub-folder is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hubserve.cards.labels import imagenet_wnids
from hubserve.errors import DatasetError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
"""Endings of the names of image files, in small letters; capitals are taken, too."""

Item = tuple[Path, int]
"""An image file and the index of its class."""

Rule = Literal["wnid", "label", "number", "order"]


@dataclass(frozen=True)
class ImageFolder:
    """A folder with a sub-folder of images for each class.

    Attributes:
        root: The folder.
        files: Name of each sub-folder -> its image files, at any depth; both are sorted by name. A sub-folder may be empty.
    """

    root: Path
    files: Mapping[str, Sequence[Path]]

    def items(self, classes: Mapping[str, int]) -> list[Item]:
        """All images with the index of their class.

        Args:
            classes: Name of a sub-folder -> index of its class.

        Raises:
            DatasetError: There is a sub-folder that `classes` lacks, or no image at all.
        """
        unknown = next((name for name in self.files if name not in classes), None)
        if unknown is not None:
            raise DatasetError(f"{self.root} has a folder {unknown!r}, which is none of the {len(classes)} classes")
        found = [(path, classes[name]) for name, paths in self.files.items() for path in paths]
        if not found:
            raise DatasetError(
                f"{self.root} has {len(self.files)} class folders and no image in them; known endings: {sorted(SUFFIXES)}"
            )
        return found


@dataclass(frozen=True)
class LabelledImages:
    """Images with the classes of a certain model.

    Attributes:
        items: Image files with class indices, sorted by sub-folder and name.
        rule: How sub-folders became classes: "wnid" (the class is the position of the WordNet id among the 1000 sorted ids of
            ImageNet), "label" (the folder has the name of the class), "number" (the folder has the index of the class, from
            0, as its name), or "order" (the n-th folder in the order of names is class n).
    """

    items: tuple[Item, ...]
    rule: Rule


def image_files(folder: Path) -> list[Path]:
    """The image files in `folder`, at any depth, sorted; a file is an image by the ending of its name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def scan_folder(root: Path) -> ImageFolder:
    """The sub-folders of `root` and their image files; hidden folders and files beside the sub-folders are left out.

    Raises:
        DatasetError: `root` is no folder, or has no sub-folders.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; expected one with a sub-folder for each class")
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise DatasetError(f"{root} has no sub-folders; expected one for each class, with images in it")
    return ImageFolder(root, {entry.name: image_files(entry) for entry in folders})


def labelled_images(folder: Path, labels: Sequence[str]) -> LabelledImages:
    """The images in `folder` with the classes of a model; where there is a sub-folder "val", its images alone.

    Args:
        folder: Folder with a sub-folder for each class, or for some of them.
        labels: Names of the model's classes, in the order of their indices.

    Raises:
        DatasetError: There is no such folder, no sub-folder or no image, or the sub-folders cannot be matched to classes.
    """
    found = scan_folder(folder / "val" if (folder / "val").is_dir() else folder)
    rule, classes = _match(list(found.files), labels, found.root)
    return LabelledImages(tuple(found.items(classes)), rule)


def _match(names: Sequence[str], labels: Sequence[str], root: Path) -> tuple[Rule, dict[str, int]]:
    wnids = {wnid: i for i, wnid in enumerate(imagenet_wnids())}
    if len(labels) == len(wnids) and all(name in wnids for name in names):
        return "wnid", wnids
    indices = {label: i for i, label in enumerate(labels)}
    if all(name in indices for name in names):
        return "label", indices
    numbers = {str(i): i for i in range(len(labels))}
    if all(name in numbers for name in names):
        return "number", numbers
    # Where some folders are known by name, one that is not is mistyped, and the order would shift all the others.
    if len(names) == len(labels) and not any(name in indices or name in wnids for name in names):
        return "order", {name: i for i, name in enumerate(names)}
    unknown = next(name for name in names if name not in indices)
    raise DatasetError(
        f"{root}: folder {unknown!r} is neither a WordNet id nor one of the model's {len(labels)} labels (such as "
        f"{labels[0]!r}), and there are {len(names)} folders, so their order does not give the class either"
    )
