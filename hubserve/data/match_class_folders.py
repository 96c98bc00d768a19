"""Matches the names of class folders to the classes of an existing model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from hubserve.cards.labels import imagenet_wnids
from hubserve.cards.labels import labels as known_labels
from hubserve.data.names import shown
from hubserve.errors import DatasetError

Rule = Literal["wnid", "label", "number", "order"]


def match_class_folders(names: Sequence[str], labels: Sequence[str], root: Path, by_order: bool) -> tuple[Rule, dict[str, int]]:
    """Returns how the names of class folders say which class of a model they are, and the index of the class by name.

    Args:
        names: Names of the folders, sorted; in a listing, its labels.
        labels: Labels of the model's classes, in the order of their indices.
        root: Where the folders are, for messages.
        by_order: Whether the folders are the classes in the order of their indices.

    Returns:
        "order" if `by_order` is True. Otherwise the first of these that all names are: "wnid" (the WordNet ids of ImageNet's
        classes), "label" (labels of the model), "number" (indices, counted from 0). And a dictionary that has at least all of
        `names`.

    Raises:
        DatasetError: The names are not all of one of these kinds; they are numbers, and so are some labels of the model; or, by
            order, a name is a label and the names are not the labels in their order, or there are not as many names as labels.
    """
    wnids = {wnid: i for i, wnid in enumerate(imagenet_wnids())}
    if by_order:
        return "order", _in_order(names, labels, root)
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
            label = next(label for label in labels if label in numbers)
            raise DatasetError(
                f"{shown(root)}: the folders {', '.join(map(repr, names[:5]))} are numbers, and so are labels of the model, "
                f"such as {label!r}, but not all are among them: rename the folders to the labels that they have"
            )
        return "number", numbers
    unknown = next(name for name in names if name not in indices)
    how = "rename it"
    if len(names) == len(labels) and not any(name in indices or name in wnids for name in names):
        how += ", or give --by-order if the folders, sorted by name, are the classes in the order of the model's labels"
    raise DatasetError(
        f"{shown(root)}: folder {unknown!r} is neither a WordNet id nor one of the model's {len(labels)} labels (such as "
        f"{labels[0]!r}): {how}"
    )


def _in_order(names: Sequence[str], labels: Sequence[str], root: Path) -> dict[str, int]:
    if len(names) != len(labels):
        raise DatasetError(f"{shown(root)}: by order, {len(names)} folders cannot be the model's {len(labels)} classes")
    # If some names are known, an unknown one is probably mistyped; by order the other classes would be shifted.
    known = next((name for name in names if name in {normalize("NFC", label) for label in labels}), None)
    if known is not None and list(names) != list(labels):
        raise DatasetError(f"{shown(root)}: the folder {known!r} has the name of a label of the model; leave --by-order out")
    return {name: i for i, name in enumerate(names)}
