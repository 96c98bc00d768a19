"""Assigns the images of a scan to the training, validation and test part: as the user gave them, drawn, or as in a record."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.data.folder_walk import LeftOut, named
from hubserve.data.image_check import Check
from hubserve.data.names import PARTS, Part, shown
from hubserve.data.parts import How, PinnedParts, draw
from hubserve.errors import DatasetError

LEAST_DRAWN = 5
"""Number of different images that at least half of the classes must have if all three parts are drawn from them."""


class Candidate(NamedTuple):
    """An image file of the data set before its part is decided.

    Attributes:
        path: Path of the file.
        file: Path relative to the folder of the data set; absolute if the file lies outside of it.
        label: Index of the file's class.
        part: Part that the user's folders or listing give; None if the data set is not divided into parts.
    """

    path: Path
    file: str
    label: int
    part: Part | None


class Assigned(NamedTuple):
    """The parts that were assigned to a list of candidates.

    Attributes:
        parts: Part of each candidate, in the order of the candidates; None for a file that is left out.
        left_out: Files that are left out, each with the reason.
        how: How the parts were found: "given", "partly drawn" or "drawn".
        notes: Messages for the user.
    """

    parts: list[Part | None]
    left_out: list[LeftOut]
    how: How
    notes: list[str]


Checked = tuple[Candidate, int, Check]
"""Triple of a candidate, the size of its file in bytes, and the result of its check."""


def assign_parts(checked: Sequence[Checked], *, seed: int, val_share: float, noun: str = "image") -> Assigned:
    """Assigns each image to the part that the user gave, and draws the parts that are missing, by the rules of `scan`.

    Args:
        checked: Readable images.
        seed: Seed of the random draw.
        val_share: Share of the training images that becomes the validation part; above 0 and below 0.5.
        noun: Word for an item in messages.

    Raises:
        DatasetError: More than half of the classes have fewer than `LEAST_DRAWN` different images, and all three parts are
            drawn from them.
    """
    given = {candidate.part for candidate, _, _ in checked}
    parts: list[Part | None] = [candidate.part for candidate, _, _ in checked]
    notes = _notes_on_equal(checked, noun)
    left_out: list[LeftOut] = []
    if None in given:
        notes += _check_sizes(checked, noun)
        _draw(checked, parts, range(len(parts)), (1 - 2 * val_share, val_share), PARTS, seed)
        return Assigned(parts, left_out, "drawn", notes)
    if "test" not in given and "val" in given:
        notes.append("there is no test part: the validation part tests, and a share of the training part validates")
        parts = ["test" if part == "val" else part for part in parts]
    left_out, more = _equal_left_out(checked, parts, noun)
    notes += more
    if "val" in parts:
        return Assigned(parts, left_out, "given", notes)
    train = [index for index, part in enumerate(parts) if part == "train"]
    if "test" in parts:
        _draw(checked, parts, train, (1 - val_share,), ("train", "val"), seed)
    else:
        notes.append("there is a training part alone: shares of it validate and test")
        notes += _check_sizes(checked, noun)
        _draw(checked, parts, train, (1 - 2 * val_share, val_share), PARTS, seed)
    return Assigned(parts, left_out, "partly drawn", notes)


def keep_pinned(checked: Sequence[Checked], classes: Sequence[str], pinned: PinnedParts) -> Assigned:
    """Assigns each image to the part that it had in an earlier scan.

    Files that are new or have changed since then get the part None; they and files that no longer exist are listed in
    `Assigned.left_out`.

    Args:
        checked: Images that are readable now.
        classes: Names of the present classes, in the order of their indices.
        pinned: Record of the parts of the earlier scan.

    Raises:
        DatasetError: The classes differ from those of the earlier scan.
    """
    if tuple(classes) != pinned.classes:
        changed = sorted(set(classes) ^ set(pinned.classes))
        raise DatasetError(
            f"the classes are not those with which this run began; these came or went: {named(map(shown, changed))}. Put the "
            "data back as they were, or start a new run"
        )
    known = {entry.file: entry for entry in pinned.files}
    parts: list[Part | None] = []
    left_out: list[LeftOut] = []
    for candidate, size, check in checked:
        entry = known.pop(candidate.file, None)
        same = entry is not None and entry.label == candidate.label and _same_content(entry.sha256, entry.bytes, check, size)
        parts.append(entry.part if entry is not None and same else None)
        if not same:
            left_out.append(LeftOut(shown(candidate.file), "new" if entry is None else "changed", "since the run began"))
    left_out.extend(LeftOut(shown(file), "gone or unreadable", "since the run began") for file in known)
    notes = [f"the data have changed since the run began: {len(left_out):,} files"] if left_out else []
    return Assigned(parts, left_out, pinned.how, notes)


def _same_content(sha256: str | None, size: int, check: Check, size_now: int) -> bool:
    return size == size_now and (sha256 is None or check.sha256 is None or sha256 == check.sha256)


def _check_sizes(checked: Sequence[Checked], noun: str) -> list[str]:
    """Returns a list with one message about classes that have too few images to be in all three parts; empty if none has.

    Raises:
        DatasetError: More than half of the classes have fewer than `LEAST_DRAWN` different images.
    """
    different: dict[int, set[str]] = defaultdict(set)
    for candidate, _, check in checked:
        different[candidate.label].add(check.sha256 or candidate.file)
    sizes = {label: len(found) for label, found in different.items()}
    small = sum(size < LEAST_DRAWN for size in sizes.values())
    if small > len(sizes) / 2:
        raise DatasetError(
            f"{small} of {len(sizes)} classes have fewer than {LEAST_DRAWN} different {noun}s, of which some would have "
            f"to validate and others to test; add {noun}s, or divide them into train/, val/ and test/ yourself"
        )
    untested = sum(size < len(PARTS) for size in sizes.values())
    return (
        [f"{untested} classes have fewer than {len(PARTS)} different {noun}s, too few to be in every part"] if untested else []
    )


def _draw(
    checked: Sequence[Checked],
    parts: list[Part | None],
    indices: Sequence[int],
    shares: Sequence[float],
    names: Sequence[Part],
    seed: int,
) -> None:
    """Draws a part for each image in `indices`, and writes the name of the part into `parts`.

    Args:
        checked: All images.
        parts: Part of each image; changed in place.
        indices: Indices of the images to draw parts for.
        shares: Share of each part but the last, which gets the rest.
        names: Names of the parts, one more than there are shares.
        seed: Seed of the random draw.
    """
    chosen = [checked[index] for index in indices]
    keys = [check.sha256 or candidate.file for candidate, _, check in chosen]
    found = draw([candidate.label for candidate, _, _ in chosen], keys, shares, seed=seed)
    for index, part in zip(indices, found, strict=True):
        parts[index] = names[part]


def _equal_left_out(checked: Sequence[Checked], parts: list[Part | None], noun: str) -> tuple[list[LeftOut], list[str]]:
    """Leaves out each image that has an equal one in a later part (in the order train, val, test).

    Args:
        checked: All images.
        parts: Part of each image; changed in place: the part of an image that is left out becomes None.
        noun: Word for an item in messages.

    Returns:
        The images that are left out; and a list with one message about their number, or an empty one.
    """
    one = "an image" if noun == "image" else f"a {noun}"
    order = {part: number for number, part in enumerate(PARTS)}
    last: dict[str, int] = {}
    for index, ((_, _, check), part) in enumerate(zip(checked, parts, strict=True)):
        if check.sha256 is not None and part is not None:
            held = last.get(check.sha256)
            if held is None or order[part] > order[parts[held] or "train"]:
                last[check.sha256] = index
    left_out = []
    for index, (candidate, _, check) in enumerate(checked):
        part, held = parts[index], last.get(check.sha256 or "", index)
        other = parts[held]
        if part is not None and other is not None and other != part:
            left_out.append(LeftOut(shown(candidate.file), f"equal to {one} of the {other} part", shown(checked[held][0].file)))
            parts[index] = None
    notes = [f"{len(left_out):,} {noun}s were in two parts and are left out of the earlier one"] if left_out else []
    return left_out, notes


def _notes_on_equal(checked: Sequence[Checked], noun: str) -> list[str]:
    """Returns messages for the user about files with equal content, both in two classes and within one class."""
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate, _, check in checked:
        if check.sha256 is not None:
            groups[check.sha256].append(candidate)
    several = [group for group in groups.values() if len(group) > 1]
    crossed = [group for group in several if len({candidate.label for candidate in group}) > 1]
    notes = []
    if crossed:
        pairs = (" = ".join(shown(candidate.file) for candidate in group[:2]) for group in crossed)
        notes.append(f"{len(crossed):,} {noun}s are in two classes, which teaches the network nothing: {named(pairs)}")
    same = [group for group in several if group not in crossed]
    if same:
        copies = sum(len(group) - 1 for group in same)
        pairs = (" = ".join(shown(candidate.file) for candidate in group[:2]) for group in same)
        notes.append(f"{copies:,} {noun}s are copies of another one of their class: {named(pairs)}")
    return notes
