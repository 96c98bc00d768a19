"""`scan`: finds and checks the user's own images, assigns them to train, val and test, and returns a report.

`hubserve search`, `hubserve finetune` and jobs over HTTP use it for the user's images.
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
from hubserve.data.listing import listing_layout
from hubserve.data.listing_rows import ENDINGS, USUAL, Columns, is_listing
from hubserve.data.names import PARTS, Part, shown
from hubserve.data.parts import How, PinnedFile, PinnedParts
from hubserve.data.scan_parts import Candidate, assign_parts, keep_pinned
from hubserve.data.usable_classes import notes_on_case, refuse_unusable
from hubserve.errors import DatasetError

Item = tuple[Path, int]
"""An image file and the index of its class."""

Source = Literal["folder", "listing", "hf"]

CheckOption = Literal["auto", "all", "headers"]

MOST_DECODED = 50_000
"""Largest number of files that check "auto" decodes; of larger data sets it reads only the headers."""

MOST_LISTED = 200
"""Number of left-out files that `Scan.summary` lists by name."""


class ScannedImage(NamedTuple):
    """An image file of a scan that is used in one of the parts.

    Attributes:
        path: Path of the file.
        file: Path relative to the folder of the data set; absolute if the file lies outside of it.
        label: Index of the file's class.
        part: Part that the file is used in.
        bytes: Size of the file in bytes.
        check: Result of the check: width and height, hash, and special properties.
    """

    path: Path
    file: str
    label: int
    part: Part
    bytes: int
    check: Check


@dataclass(frozen=True)
class Scan:
    """The checked image files of a data set and their parts, as `scan` returns them.

    Attributes:
        source: Kind of data source: "folder" (class folders), "listing", or "hf" (a data set of the Hugging Face hub).
        root: Folder of the data set; for a listing, the folder that contains the listing.
        classes: Names of the class folders, or the labels of the listing, in the order of the class indices.
        images: Images that are used, sorted by the part that the user's folders or listing give, then by class and file name.
        left_out: Files that are not used, each with the reason.
        how: How the parts were found: "given", "partly drawn" or "drawn".
        seed: Seed of the random draw that assigned images to parts.
        val_share: Share of the images that the draw was to put into the validation part; no meaning if `how` is "given".
        decoded: True if all files were decoded, False if only their headers were read.
        notes: Messages for the user about files left out, folder names taken as parts, and probable mistakes.
    """

    source: Source
    root: Path
    classes: tuple[str, ...]
    images: tuple[ScannedImage, ...]
    left_out: tuple[LeftOut, ...]
    how: How
    seed: int
    val_share: float
    decoded: bool
    notes: tuple[str, ...]

    def items(self, part: Part) -> list[Item]:
        """Returns the image files of one part, each with the index of its class."""
        return [(image.path, image.label) for image in self.images if image.part == part]

    @cached_property
    def counts(self) -> dict[Part, list[int]]:
        """The number of images of each class, as a list in the order of the class indices, for each part."""
        found: dict[Part, list[int]] = {part: [0] * len(self.classes) for part in PARTS}
        for image in self.images:
            found[image.part][image.label] += 1
        return found

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the classes: ImageNet's class names if all class folders are named by WordNet ids, else `classes`."""
        names = dict(zip(imagenet_wnids(), labels("imagenet-1k"), strict=True))
        return tuple(names[name] for name in self.classes) if all(name in names for name in self.classes) else self.classes

    @cached_property
    def sha256(self) -> str:
        """A SHA-256, in hexadecimal, over the class names and each file's path, class, part and content.

        If a file was not hashed, its size in bytes is used in place of its content. Where only headers were read, files are
        hashed that have the same size as another one.
        """
        found = hashlib.sha256("\n".join(self.classes).encode())
        for line in sorted((fsencode(i.file), i.label, i.part, i.check.sha256 or i.bytes) for i in self.images):
            found.update(b"\0%b\0%d\0%b\0%b" % (line[0], line[1], line[2].encode(), str(line[3]).encode()))
        return found.hexdigest()

    def pinned(self) -> PinnedParts:
        """Returns the record of each file's part; passing it to `scan` as `pinned` gives the same parts again."""
        files = tuple(PinnedFile(i.file, i.label, i.part, i.bytes, i.check.sha256) for i in self.images)
        return PinnedParts(self.classes, self.how, self.seed, self.sha256, files, self.left_out)

    def summary(self) -> dict[str, Any]:
        """Returns the report as a dictionary for JSON: image counts by part and class, hash, left-out files and notes."""
        return {
            "source": self.source,
            "images": {part: sum(counts) for part, counts in self.counts.items()},
            "classes": {name: {part: self.counts[part][i] for part in PARTS} for i, name in enumerate(self.classes)},
            "parts": self.how,
            "seed": self.seed,
            "val_share": self.val_share,
            "sha256": self.sha256,
            "checked": "decoded" if self.decoded else "headers",
            "endings": dict(Counter(shown(image.path.suffix.lower()) for image in self.images).most_common()),
            "kinds": dict(Counter(kind for image in self.images for kind in image.check.kinds).most_common()),
            "left_out": dict(Counter(entry.kind for entry in self.left_out).most_common()),
            "files_left_out": [entry._asdict() for entry in self.left_out[:MOST_LISTED]],
            "notes": list(self.notes),
        }

    def outline(self) -> dict[str, Any]:
        """Returns the entries of `summary` that a package keeps.

        They are the number of images in each part, how the parts were found, the seed, the validation share, the hash, the kind
        of check, and the number of left-out files by reason.
        """
        summary = self.summary()
        return {key: summary[key] for key in ("images", "parts", "seed", "val_share", "sha256", "checked", "left_out")}

    def facts(self) -> dict[str, Any]:
        """Returns the report for the command line: field name -> text; None means that there is nothing to report."""
        summary = self.summary()
        return {
            "files": _counted(summary["endings"]),
            "kinds": _counted(summary["kinds"]) or None,
            "left_out": _counted(summary["left_out"]) or None,
            "parts": f"{self.how}, seed {self.seed}" if self.how != "given" else "given",
            "data_sha256": self.sha256,
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
    """Finds and checks the images of a data set and assigns each to the training, validation or test part.

    Sub-folders train/, val/ and test/ (also training/, valid/, Test/ and similar names), or the column of parts of a listing,
    give the parts. Parts that are missing are made as follows. If there are train and test, `val_share` of train becomes the
    validation part. If there are train and val, val becomes the test part, and `val_share` of train the validation part. If
    there is only train, or there are no parts, `val_share` of each class becomes the validation part, and as much the test
    part.

    Files with equal content never end up in two parts: if they were given in two, only the copy in the later part (in the
    order train, val, test) is used. The scan changes no file of the data set; it only writes its cache of check results.

    Args:
        data: Folder with class folders, or with train/, val/ and test/ that hold class folders; or a listing: a CSV, TSV or
            Parquet file with the columns path, label and, optionally, split; or the address of a data set of the Hugging Face
            hub, as `hf://owner/name` or `hf://owner/name:configuration@revision`.
        columns: Names of the columns of a listing, or of a data set of the hub.
        roots: Folders below which all files of a listing must lie; None allows all files.
        seed: Seed of the random draw that assigns images to parts.
        val_share: Share of the training images that becomes the validation part; above 0 and below 0.5.
        check: "all" decodes every file, "headers" reads only headers, "auto" decodes if there are at most 50,000 files.
        pinned: Parts of an earlier scan to reuse; files that changed or are new since then are left out. None assigns the parts
            anew.
        advance: Progress callback, called with the number of files checked so far and the number of all files.

    Raises:
        DatasetError: The data cannot be read or have none of the layouts, there are fewer than two classes, a class or part has
            no usable image, most classes have too few images to draw parts, or the classes are not those of `pinned`. The
            message names the files and a remedy.
        MissingExtraError: A library of an optional extra is not installed, such as pyarrow for Parquet.
        StorageError: A data set of the hub cannot be stored, since the disk is full or not writable.
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
    """Checks the files of a layout, assigns them to parts by the rules of `scan`, and returns the result.

    Args:
        source: Kind of data source, "folder", "listing" or "hf"; it is recorded in `Scan.source`.
        layout: Image files by part and class.
        seed: Seed of the random draw that assigns images to parts.
        val_share: Share of the training images that becomes the validation part.
        check: "all", "headers" or "auto".
        pinned: Parts of an earlier scan to reuse; None assigns the parts anew.
        advance: Progress callback.

    Raises:
        DatasetError: There are fewer than two classes, a class or part has no usable image, most classes have too few images to
            draw parts, or the classes are not those of `pinned`.
    """
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
    notes = [*layout.notes, *notes_on_case(names), *assigned.notes]
    if left_out:
        notes.append(f"{len(left_out):,} files are left out: {left_out_text(left_out)}")
    if not decoded:
        notes.append(f"only the headers of the {len(candidates):,} files were read; check=all decodes each of them")
    how, seed = (pinned.how, pinned.seed) if pinned else (assigned.how, seed)
    made = Scan(source, layout.root, tuple(names), images, tuple(left_out), how, seed, val_share, decoded, tuple(notes))
    refuse_unusable(made.root, made.classes, made.counts, made.left_out)
    return made


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else os.fspath(path)


def _counted(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in found.items())
