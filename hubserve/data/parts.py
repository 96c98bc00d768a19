"""Draws the part (training, validation or test) of each image, and stores the parts of all files in a record."""

import itertools
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from hubserve.atomic import write_atomic
from hubserve.data.folder_walk import LeftOut
from hubserve.data.names import PARTS, Part
from hubserve.errors import DatasetError
from hubserve.preprocess import Fit

PINNED = "parts.json"
"""Name of the file of a `PinnedParts` in the folder of a run."""

How = Literal["given", "drawn", "partly drawn"]
"""How the parts were found: "given" by the user's folders or listing, "drawn" at random, or "partly drawn" (both)."""


class PinnedFile(NamedTuple):
    """One image file and the part to which it is assigned.

    Attributes:
        file: Path relative to the folder of the data set; absolute if the file lies outside of it.
        label: Index of the file's class.
        part: Part to which the file is assigned.
        bytes: Size of the file in bytes.
        sha256: SHA-256 of the file's content in hexadecimal; None if the file was not hashed.
    """

    file: str
    label: int
    part: Part
    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class PinnedParts:
    """A record of the part of each file of a data set; a run stores it, and reads it when it is resumed.

    Attributes:
        classes: Names of the classes, in the order of their indices.
        how: How the parts were found: "given", "partly drawn" or "drawn".
        seed: Seed of the random draw.
        sha256: SHA-256 over the class names and each file's path, class, part and content; the same as `Scan.sha256`.
        files: All images that are used.
        left_out: All files that are not used, each with the reason; information for the user.
        size: Side in pixels of the network's input in that run; None if it is not recorded.
        fit: How images were fitted to the input in that run, "crop", "pad" or "squash"; None if it is not recorded.
    """

    classes: tuple[str, ...]
    how: How
    seed: int
    sha256: str
    files: tuple[PinnedFile, ...]
    left_out: tuple[LeftOut, ...] = ()
    size: int | None = None
    fit: Fit | None = None

    def write(self, path: Path) -> None:
        """Writes the record to the file `path` as JSON, atomically.

        Raises:
            OSError: The file cannot be written (StorageError for a full, read-only or forbidden disk).
        """
        record = {"version": 1, "classes": self.classes, "how": self.how, "seed": self.seed, "sha256": self.sha256}
        record |= {"left_out": self.left_out, "size": self.size, "fit": self.fit}
        # ASCII, because Python holds bytes of file names that are not UTF-8 as lone surrogates, which UTF-8 cannot encode.
        write_atomic(path, json.dumps({**record, "files": self.files}, separators=(",", ":")) + "\n")


def read_pinned(path: Path) -> PinnedParts | None:
    """Reads the record from the file `path`; returns None if the file does not exist.

    Raises:
        DatasetError: The file cannot be read, or is not a valid record.
    """
    if not path.exists():
        return None
    try:
        return _pinned(json.loads(path.read_text("ascii")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path}, which pins each image to its part, cannot be read ({type(error).__name__}: {error}); without it the run "
            "could be tested on images that it was trained on: start a new one"
        ) from error


def _pinned(record: Mapping[str, Any]) -> PinnedParts:
    if record["version"] != 1:
        raise ValueError(f"version {record['version']}, and 1 is known")
    files = tuple(PinnedFile(*row) for row in record["files"])
    classes = tuple(record["classes"])
    for entry in files:
        if entry.part not in PARTS or entry.label not in range(len(classes)):
            raise ValueError(f"{entry.file} is of class {entry.label} in part {entry.part}")
    if record["how"] not in get_args(How):
        raise ValueError(f"how = {record['how']}")
    if record["fit"] not in (None, *get_args(Fit)):
        raise ValueError(f"fit = {record['fit']}")
    left_out = tuple(LeftOut(*row) for row in record["left_out"])
    how, seed, sha256 = record["how"], int(record["seed"]), str(record["sha256"])
    return PinnedParts(classes, how, seed, sha256, files, left_out, record["size"], record["fit"])


def draw(labels: Sequence[int], keys: Sequence[Hashable], shares: Sequence[float], *, seed: int) -> list[int]:
    """Draws a part for each item, so that a part holds about the same share of the items of each class.

    Items with equal keys get the same part. A class with at least as many different keys as there are parts has an item in
    each part. In a class with fewer keys, the items of one key, which is drawn, go to the first part, and those of a second key
    to the last part.

    Args:
        labels: Class index of each item.
        keys: Key of each item, such as the hash of its file.
        shares: Share of each part except the last one, each in [0, 1], their sum at most 1; the last part gets the rest.
        seed: Seed of the random draw.

    Returns:
        Index of the part of each item, from 0 to `len(shares)`.
    """
    first: dict[Hashable, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    leaders = np.fromiter(first.values(), np.int64, len(first))
    classes = np.asarray(labels, np.int64)[leaders]
    rng = Random(seed)
    part_of_key: dict[Hashable, int] = {}
    for label in np.unique(classes):
        members = leaders[classes == label].tolist()
        rng.shuffle(members)
        start = 0
        for part, count in enumerate(_counts(len(members), shares)):
            part_of_key.update((keys[index], part) for index in members[start : start + count])
            start += count
    return [part_of_key[key] for key in keys]


def _counts(total: int, shares: Sequence[float]) -> list[int]:
    """Returns the number of items of a class that each part gets, as a list with one element more than `shares`.

    Args:
        total: Number of items of the class.
        shares: Share of each part except the last one.
    """
    if total <= len(shares):
        # There are fewer items than parts: the first goes to the training part, the second to the test part.
        order = [0, len(shares), *range(1, len(shares))][:total]
        return [int(part in order) for part in range(len(shares) + 1)]
    borders = [0, *(round(total * share) for share in np.cumsum(shares)), total]
    counts = [end - start for start, end in itertools.pairwise(borders)]
    while 0 in counts:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(0)] += 1
    return counts
