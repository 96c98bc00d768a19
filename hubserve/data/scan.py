"""`scan`: one's own images, from a folder or a listing to a checked and divided list of files, with a report.

All commands that train on own images read them through it: `hubserve search`, `finetune`, jobs over HTTP.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import fsencode
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hubserve.cards.labels import imagenet_wnids, labels
from hubserve.data.check_pool import Advance, check_files
from hubserve.data.folder_walk import LeftOut, left_out_text
from hubserve.data.hub_dataset import PREFIX, fetch
from hubserve.data.image_check import Check
from hubserve.data.layout import Layout, folder_layout
from hubserve.data.listing import ENDINGS, USUAL, Columns, is_listing, listing_layout
from hubserve.data.names import PARTS, Part, quoted, shown
from hubserve.data.parts import How, PinnedFile, PinnedParts
from hubserve.data.scan_parts import Candidate, assign_parts, keep_pinned
from hubserve.errors import DatasetError

Item = tuple[Path, int]
"""An image file and the index of its class."""

Source = Literal["folder", "listing", "hf"]

CheckOption = Literal["auto", "all", "headers"]

MOST_DECODED = 50_000
"""Number of files up to which all are decoded; of more, headers alone are read unless the check is "all"."""

MOST_LISTED = 200
"""Number of left-out files that `Scan.summary` lists by name."""


class ScannedImage(NamedTuple):
    """An image that is used.

    Attributes:
        path: Its file.
        file: The same relative to the data's folder; absolute where it lies elsewhere.
        label: Index of its class.
        part: Its part.
        bytes: Length of the file.
        check: What the check found: size in pixels, hash, kinds.
    """

    path: Path
    file: str
    label: int
    part: Part
    bytes: int
    check: Check


@dataclass(frozen=True)
class Scan:
    """Image files that were checked and divided; made by `scan`.

    Attributes:
        source: What the data are: class folders, a listing, or a data set of the Hugging Face hub.
        root: The folder, or the folder of the listing.
        classes: Names of the classes, in the order of their indices: those of the folders, or of the listing's labels.
        images: Images that are used, sorted by class and name.
        left_out: Files that are not used, each with the reason.
        how: How images came into their parts.
        seed: Seed of the draw.
        decoded: Whether all files were decoded; else only their headers were read.
        notes: Sentences for the user: what was left out, understood from names, or looks like a mistake.
    """

    source: Source
    root: Path
    classes: tuple[str, ...]
    images: tuple[ScannedImage, ...]
    left_out: tuple[LeftOut, ...]
    how: How
    seed: int
    decoded: bool
    notes: tuple[str, ...]

    def items(self, part: Part) -> list[Item]:
        """The images of a part with the indices of their classes, sorted by class and name."""
        return [(image.path, image.label) for image in self.images if image.part == part]

    @cached_property
    def counts(self) -> dict[Part, list[int]]:
        """Part -> number of its images in each class."""
        found: dict[Part, list[int]] = {part: [0] * len(self.classes) for part in PARTS}
        for image in self.images:
            found[image.part][image.label] += 1
        return found

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes for people: those of ImageNet's classes where all folders are WordNet ids, else `classes`."""
        names = dict(zip(imagenet_wnids(), labels("imagenet-1k"), strict=True))
        return tuple(names[name] for name in self.classes) if all(name in names for name in self.classes) else self.classes

    @cached_property
    def sha256(self) -> str:
        """Hash of the classes, and of each file's name, class, part and content; its length where only its header was read."""
        found = hashlib.sha256("\n".join(self.classes).encode())
        for line in sorted((fsencode(i.file), i.label, i.part, i.check.sha256 or i.bytes) for i in self.images):
            found.update(b"\0%b\0%d\0%b\0%b" % (line[0], line[1], line[2].encode(), str(line[3]).encode()))
        return found.hexdigest()

    def pinned(self) -> PinnedParts:
        """The parts file by file, for a run to keep; `scan` keeps to them when it gets them."""
        files = tuple(PinnedFile(i.file, i.label, i.part, i.bytes, i.check.sha256) for i in self.images)
        return PinnedParts(self.classes, self.how, self.seed, self.sha256, files)

    def summary(self) -> dict[str, Any]:
        """The report as JSON: counts of each part and class, what was left out and why, hash, how the parts were made."""
        return {
            "source": self.source,
            "images": {part: sum(counts) for part, counts in self.counts.items()},
            "classes": {name: {part: self.counts[part][i] for part in PARTS} for i, name in enumerate(self.classes)},
            "parts": self.how,
            "seed": self.seed,
            "sha256": self.sha256,
            "checked": "decoded" if self.decoded else "headers",
            "endings": dict(Counter(shown(image.path.suffix.lower()) for image in self.images).most_common()),
            "kinds": dict(Counter(kind for image in self.images for kind in image.check.kinds).most_common()),
            "left_out": dict(Counter(entry.kind for entry in self.left_out).most_common()),
            "files_left_out": [entry._asdict() for entry in self.left_out[:MOST_LISTED]],
            "notes": list(self.notes),
        }

    def outline(self) -> dict[str, Any]:
        """The facts of `summary` that a package keeps: images in each part, how these were made, hash, what is left out."""
        summary = self.summary()
        return {key: summary[key] for key in ("images", "parts", "seed", "sha256", "left_out")}

    def facts(self) -> dict[str, Any]:
        """The report in lines for the command line, by name; None where there is nothing to say."""
        summary = self.summary()
        return {
            "files": _counted(summary["endings"]),
            "kinds": _counted(summary["kinds"]) or None,
            "left_out": left_out_text(self.left_out) or None,
            "parts": f"{self.how}, seed {self.seed}" if self.how != "given" else "given",
            "data_sha256": self.sha256,
            "data_notes": "; ".join(self.notes) or None,
        }


def scan(
    data: Path | str,
    *,
    columns: Columns = USUAL,
    roots: Sequence[Path] | None = None,
    seed: int = 0,
    val_share: float = 0.1,
    check: CheckOption = "auto",
    pinned: PinnedParts | None = None,
    advance: Advance = lambda done, total: None,
) -> Scan:
    """Finds, checks and divides the images of a data set; nothing is trained, and nothing but the cache of checks is written.

    With train/, val/ and test/ these are the parts; training/, valid/, Test/ and similar names are understood. Without test/,
    val/ is the test part, and without val/ a share of train/ validates. With class folders alone, a share of each class
    validates and another one of the same size tests. Equal files never come into two parts: those that were given in two
    parts stay in the test part (else in the validation part) and are left out of the other.

    Args:
        data: Folder of class folders, or a listing (CSV, TSV or Parquet: path, label and, if wanted, split), or a data set of
            the Hugging Face hub, as `hf://owner/name`, `hf://owner/name:configuration@revision`.
        columns: Names of the columns of a listing, or of a data set of the hub.
        roots: Folders below which all files of a listing must lie; None allows all files.
        seed: Seed of the draw that decides which image is in which part.
        val_share: Share of the training images that validate, above 0 and below 0.5.
        check: "all" decodes every file, "headers" reads headers alone, "auto" decodes up to 50,000 files.
        pinned: Parts of an earlier scan, to which this one keeps: files that are gone, changed or new since are left out.
        advance: Called with the number of files that are checked, and of all files.

    Raises:
        DatasetError: There is nothing to train on, or it is not clear what; the message names files and what to do.
    """
    source, layout = _layout(data, columns, roots, advance)
    return scan_layout(source, layout, seed=seed, val_share=val_share, check=check, pinned=pinned, advance=advance)


def _layout(data: Path | str, columns: Columns, roots: Sequence[Path] | None, advance: Advance) -> tuple[Source, Layout]:
    if isinstance(data, str) and data.startswith(PREFIX):
        return "hf", listing_layout(fetch(data, columns, advance=advance))
    path = Path(data)
    if is_listing(path) and not path.is_dir():
        return "listing", listing_layout(path, columns, roots=roots)
    if path.is_file():
        raise DatasetError(
            f"{shown(path)} is a file; expected a folder with a sub-folder for each class, a listing ({', '.join(ENDINGS)}) or "
            f"{PREFIX}owner/name; unpack an archive first"
        )
    if columns != USUAL:
        raise DatasetError(f"{shown(path)} is a folder, which has no columns; leave out {', '.join(_given(columns))}")
    return "folder", folder_layout(path)


def _given(columns: Columns) -> list[str]:
    return [f"{name}_column" for name, value in columns._asdict().items() if value is not None]


def scan_layout(
    source: Source,
    layout: Layout,
    *,
    seed: int,
    val_share: float,
    check: CheckOption,
    pinned: PinnedParts | None,
    advance: Advance,
) -> Scan:
    """Checks and divides the files of a layout; arguments and errors are those of `scan`."""
    names = sorted({name for classes in layout.parts.values() for name in classes})
    candidates = [
        Candidate(path, _relative(path, layout.root), names.index(name), part)
        for part, classes in layout.parts.items()
        for name in names
        for path in classes.get(name, ())
    ]
    decoded = check == "all" or (check == "auto" and len(candidates) <= MOST_DECODED)
    results = check_files([c.path for c in candidates], full=decoded, advance=advance)
    left_out = list(layout.left_out)
    usable: list[tuple[Candidate, int, Check]] = []
    for candidate, (size, found) in zip(candidates, results, strict=True):
        if found.problem is None:
            usable.append((candidate, size, found))
        else:
            kind = found.problem if found.problem == "an empty file" else "unreadable"
            left_out.append(LeftOut(shown(candidate.file), kind, "" if kind == found.problem else found.problem))
    assigned = keep_pinned(usable, names, pinned) if pinned else assign_parts(usable, seed=seed, val_share=val_share)
    images = tuple(
        ScannedImage(c.path, c.file, c.label, part, size, found)
        for (c, size, found), part in zip(usable, assigned.parts, strict=True)
        if part is not None
    )
    left_out.extend(assigned.left_out)
    notes = [*layout.notes, *assigned.notes]
    if left_out:
        notes.append(f"{len(left_out):,} files are left out: {left_out_text(left_out)}")
    if not decoded:
        notes.append(f"only the headers of the {len(candidates):,} files were read; check=all decodes each of them")
    how, seed = (pinned.how, pinned.seed) if pinned else (assigned.how, seed)
    made = Scan(source, layout.root, tuple(names), images, tuple(left_out), how, seed, decoded, tuple(notes))
    _refuse_unusable(made)
    return made


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else os.fspath(path)


def _refuse_unusable(made: Scan) -> None:
    where = shown(made.root)
    gone = f". Left out: {left_out_text(made.left_out)}" if made.left_out else ""
    if len(made.classes) == 1:
        raise DatasetError(
            f"{where} has the one class {quoted(made.classes[0])}, and a classifier needs at least two: a folder for each"
        )
    empty = [name for name, count in zip(made.classes, made.counts["train"], strict=True) if count == 0]
    if empty:
        raise DatasetError(
            f"{where}: {len(empty)} of {len(made.classes)} classes have no image left to train on: "
            f"{', '.join(map(quoted, empty[:5]))}{gone}"
        )
    for part, purpose in (("val", "validate"), ("test", "test")):
        if not any(made.counts[part]):  # type: ignore[index]
            raise DatasetError(
                f"{where} has no image left to {purpose} with; each class needs at least 3 different images, or put some into "
                f"{part}/{gone}"
            )


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in found.items())
