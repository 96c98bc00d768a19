"""Reads a folder of labelled images for an existing model, whose classes `match_class_folders` finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from hubserve.data.folder_walk import LeftOut, folder_names, walk
from hubserve.data.hub_dataset import PREFIX, fetch
from hubserve.data.layout import Layout, class_folders, no_image_text, part_folders
from hubserve.data.listing import listing_layout
from hubserve.data.listing_rows import is_listing
from hubserve.data.match_class_folders import Rule, match_class_folders
from hubserve.data.names import Part, shown
from hubserve.data.scan import CheckOption, Item, scan
from hubserve.errors import DatasetError
from hubserve.package.accuracy_report import Items


@dataclass(frozen=True)
class LabelledImages:
    """Image files with the class indices of one given model.

    Attributes:
        items: Pairs of an image file and the index of its class, sorted by sub-folder and file name.
        rule: How the name of a sub-folder gave its class: "wnid" (the WordNet id of an ImageNet class), "label" (the label
            of the class), "number" (the index of the class, counted from 0), or "order" (the sub-folders, sorted by name,
            are the classes in the order of their indices, because the caller asked for that).
        root: Folder of the data set; of a listing, the folder in which it lies.
        left_out: Files that are not used, because they are hidden, for example, or not images by the endings of their names.
        drawn: Whether these are the images that were drawn to test the model, of the data that it was trained on.
        part: Part of the data that these images are; None if the data are not divided into parts.
    """

    kind: ClassVar[Items] = "images"

    items: tuple[Item, ...]
    rule: Rule
    root: Path
    left_out: tuple[LeftOut, ...] = ()
    drawn: bool = False
    part: Part | None = None

    @property
    def files(self) -> list[str]:
        """The path of each image for messages, relative to `root`; of an image outside of it, the whole path."""
        return [shown(path.relative_to(self.root) if path.is_relative_to(self.root) else path) for path, _ in self.items]


def image_files(folder: Path) -> list[Path]:
    """Returns the sorted paths of all image files below `folder`, at any depth.

    A file counts as an image by the suffix of its name. Hidden files and folders are skipped.

    Raises:
        DatasetError: The folder cannot be opened.
    """
    try:
        return walk(folder).images
    except OSError as error:
        raise DatasetError(f"{shown(folder)} cannot be opened: {error.strerror}") from error


def labelled_images(
    data: Path | str, labels: Sequence[str], trained: Mapping[str, Any] = MappingProxyType({}), *, by_order: bool = False
) -> LabelledImages:
    """Returns labelled images with the class index that the model has for each.

    If the data are divided into parts, only the images of the test part are returned, or those of the validation part if there
    is no test part. The parts may have any of the names that `hubserve.data.names.part_of` knows. Files are not decoded: a file
    counts as an image by the suffix of its name.

    Args:
        data: Folder with one sub-folder per class, a listing, or the address of a data set of the Hugging Face hub, as in
            `hubserve.data.scan.scan`. Classes of the model may be missing.
        labels: Labels of the model's classes, in the order of their indices.
        trained: `Scan.outline` of the data that the model was trained on; empty if it is not known. If `data` are the same,
            only the images are returned that were drawn to test the model.
        by_order: Whether the classes of the data, sorted by name, are those of the model in the order of their indices. It is
            refused if the name of one says which class it is, or if there are not as many.

    Raises:
        DatasetError: There are no such data or no image in them, or the classes do not match those of the model.
        MissingExtraError: A library of an optional extra is not installed.
        OSError: A folder cannot be read, or a data set of the hub cannot be stored.
    """
    drawn = _drawn_test_part(data, labels, trained)
    if drawn is not None:
        return drawn
    layout = _last_part(data)
    ((part, found),) = layout.parts.items()
    rule, classes = match_class_folders(list(found), labels, layout.root, by_order)
    if not any(found.values()):
        raise DatasetError(no_image_text(layout.root, found, layout.left_out))
    items = tuple((path, classes[name]) for name, paths in found.items() for path in paths)
    # Of a folder in parts, `layout.root` is the part.
    root = Path(data) if Path(data).is_dir() else layout.root
    return LabelledImages(items, rule, root, tuple(layout.left_out), part=part)


def _drawn_test_part(data: Path | str, labels: Sequence[str], trained: Mapping[str, Any]) -> LabelledImages | None:
    """Returns the images that were drawn to test the model; None if the data are not those that it was trained on."""
    if trained.get("parts") not in ("drawn", "partly drawn"):
        return None
    check: CheckOption = "all" if trained.get("checked") == "decoded" else "headers"
    try:
        found = scan(data, seed=trained["seed"], val_share=trained["val_share"], check=check)
    except (DatasetError, KeyError):
        return None
    if found.sha256 != trained.get("sha256") or found.labels != tuple(labels):
        return None
    return LabelledImages(tuple(found.items("test")), "label", found.root, found.left_out, drawn=True, part="test")


def _last_part(data: Path | str) -> Layout:
    """Returns the layout of the last part of the data alone; of a folder, class folders without images are kept."""
    listing = fetch(data) if isinstance(data, str) and data.startswith(PREFIX) else Path(data)
    if is_listing(listing) and listing.is_file():
        layout = listing_layout(listing)
        order: tuple[Part | None, ...] = ("test", "val", "train", None)
        part = next(part for part in order if part in layout.parts)
        return replace(layout, parts={part: layout.parts[part]})
    folders = part_folders(listing, folder_names(listing))
    part = next((known for known in ("test", "val", "train") if known in folders), None)
    layout = class_folders(listing if part is None else listing / folders[part], allow_empty=True)
    (found,) = layout.parts.values()
    return replace(layout, parts={part: found})
