"""Divides images into training, validation and test part, equal files together, and pins each file to its part in a record."""

import itertools
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from hubserve.atomic import write_atomic
from hubserve.data.names import PARTS, Part
from hubserve.errors import DatasetError

How = Literal["given", "drawn", "partly drawn"]
"""How images came into their parts: by folders or by the column of a listing, by a draw, or by both."""


class PinnedFile(NamedTuple):
    """A file and its part.

    Attributes:
        file: Path relative to the data's folder; absolute where it lies elsewhere.
        label: Index of its class.
        part: Its part.
        bytes: Length of the file.
        sha256: Hash of its content in hexadecimal; None where only its header was read.
    """

    file: str
    label: int
    part: Part
    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class PinnedParts:
    """The parts of a data set, file by file; a run keeps this record, and reads it when it goes on.

    Attributes:
        classes: Names of the classes, in the order of their indices.
        how: How images came into their parts.
        seed: Seed of the draw.
        sha256: Hash of the classes and of all files with their content, class and part.
        files: All images that are used.
    """

    classes: tuple[str, ...]
    how: How
    seed: int
    sha256: str
    files: tuple[PinnedFile, ...]

    def write(self, path: Path) -> None:
        """Writes the record atomically."""
        record = {"version": 1, "classes": self.classes, "how": self.how, "seed": self.seed, "sha256": self.sha256}
        # In ASCII: bytes of file names that are not UTF-8, which Python keeps as lone surrogates, are escaped and come back.
        write_atomic(path, json.dumps({**record, "files": self.files}, separators=(",", ":")) + "\n")


def read_pinned(path: Path) -> PinnedParts | None:
    """The record in the file `path`; None where there is no such file.

    Raises:
        DatasetError: It cannot be read.
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
    return PinnedParts(classes, record["how"], int(record["seed"]), str(record["sha256"]), files)


def draw(labels: Sequence[int], keys: Sequence[Hashable], shares: Sequence[float], *, seed: int) -> list[int]:
    """The number of the part of each item, drawn so that every part has its share of each class.

    Items with the same key come into the same part. A class of at least as many different items as there are parts has one in
    each; one with fewer has them in the first part and then in the last one.

    Args:
        labels: Class index of each item.
        keys: What must be equal for items to come into the same part, such as the hash of a file.
        shares: Share of every part but the last, each in [0, 1], their sum at most 1; the last part gets the rest.
        seed: Seed of the draw.
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
    """How many of the `total` items of a class come into each part."""
    if total <= len(shares):
        # Too few for all parts: one to train, the next one to test.
        order = [0, len(shares), *range(1, len(shares))][:total]
        return [int(part in order) for part in range(len(shares) + 1)]
    borders = [0, *(round(total * share) for share in np.cumsum(shares)), total]
    counts = [end - start for start, end in itertools.pairwise(borders)]
    while 0 in counts:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(0)] += 1
    return counts
