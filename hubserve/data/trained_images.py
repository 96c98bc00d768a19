"""Counts which images of a data set a model was trained on, by the record of the parts of its run."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from hubserve.data.names import Part
from hubserve.data.parts import PinnedParts


def count_by_part(files: Iterable[Path], pinned: PinnedParts) -> Counter[Part]:
    """Counts how many of the files were in each part of the data that a model was trained on; others are not counted.

    A file counts as one of the data if the record has a file of the same content, whatever their names. Where the record has
    no hash, it counts if the record has a file of the same name and size.

    Args:
        files: Image files; those that cannot be read are not counted.
        pinned: Record of the parts of those data.
    """
    sizes = {entry.bytes for entry in pinned.files if entry.sha256 is not None}
    by_hash = {entry.sha256: entry.part for entry in pinned.files if entry.sha256 is not None}
    by_name = {(Path(entry.file).name, entry.bytes): entry.part for entry in pinned.files if entry.sha256 is None}
    found: Counter[Part] = Counter()
    for path in files:
        try:
            size = path.stat().st_size
            part = by_name.get((path.name, size))
            if part is None and size in sizes:
                part = by_hash.get(hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError:
            continue
        if part is not None:
            found[part] += 1
    return found
