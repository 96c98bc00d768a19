"""Finds the images of an offline run: those below a folder, those that a listing names, or single files."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hubserve.data.folder_walk import MOST_NAMED, LeftOut, walk_entries
from hubserve.data.listing import listed_files
from hubserve.data.listing_rows import is_listing
from hubserve.data.names import shown


class ListedImage(NamedTuple):
    """An image to classify.

    Attributes:
        name: Path in the output: relative to the folder, or as the listing or the user names the file.
        path: The file; None if there is no such file.
    """

    name: str
    path: Path | None


@dataclass
class LeftOutCounts:
    """Numbers of the files that are left out, by the reason, with the first names of each.

    Attributes:
        counts: Reason, such as "hidden" or "ending .txt" -> number of files.
        first: Reason -> the first files with it.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, entry: LeftOut) -> None:
        """Counts a file, or a folder that is left out whole."""
        self.counts[entry.kind] += 1
        named = self.first.setdefault(entry.kind, [])
        if len(named) < MOST_NAMED:
            named.append(entry.file)

    def text(self) -> str:
        """Returns the number of files for each reason, the names of up to `MOST_NAMED` of them, and how many more there are.

        Empty if nothing was left out.
        """
        parts = []
        for kind, count in sorted(self.counts.items()):
            more = f" and {count - MOST_NAMED:,} more" if count > MOST_NAMED else ""
            parts.append(f"{count:,} {kind} ({', '.join(self.first[kind])}{more})")
        return "; ".join(parts)


@dataclass(frozen=True)
class ImageSource:
    """Where images come from. They are found anew by each call, in the same order, so that memory does not grow with them.

    Attributes:
        description: Absolute path of the folder or listing, or of each file, one a line.
        images: Function that yields the images, and adds the files of a folder that it leaves out to its argument. It raises
            OSError if the folder cannot be read; DatasetError if the listing cannot be read, or has no column of paths; and
            MissingExtraError if the listing is a Parquet file and pyarrow is not installed.
    """

    description: str
    images: Callable[[LeftOutCounts], Iterator[ListedImage]]


def image_source(names: Sequence[str], files: Callable[[Sequence[str]], Sequence[Path]]) -> ImageSource:
    """Returns the source that the arguments of a command name: one folder, one listing, or image files and patterns.

    A folder or a listing counts as such only if it is the single argument. `ImageSource.images` reads it, not this function.

    Args:
        names: Arguments of the user.
        files: Function that returns the files that names and patterns of files mean. It raises ImageError if one means no file,
            and that error is passed on.
    """
    only = Path(names[0]) if len(names) == 1 else None
    if only is not None and only.is_dir():
        folder = only
        return ImageSource(str(folder.absolute()), lambda left_out: _folder_images(folder, left_out))
    if only is not None and is_listing(only) and only.is_file():
        listing = only
        return ImageSource(str(listing.absolute()), lambda left_out: _listed_images(listing))
    paths = files(names)
    return ImageSource("\n".join(str(path.absolute()) for path in paths), lambda left_out: _named_images(paths))


def _folder_images(folder: Path, left_out: LeftOutCounts) -> Iterator[ListedImage]:
    """Yields the images below a folder, found as for training: hidden files and those of other endings are left out."""
    for entry in walk_entries(folder):
        if isinstance(entry, LeftOut):
            left_out.add(entry)
        else:
            yield ListedImage(text_of(entry.relative_to(folder).as_posix()), entry)


def _listed_images(listing: Path) -> Iterator[ListedImage]:
    for text, path in listed_files(listing):
        yield ListedImage(text_of(text), path)


def _named_images(paths: Sequence[Path]) -> Iterator[ListedImage]:
    for path in paths:
        yield ListedImage(text_of(str(path)), path)


def text_of(name: str) -> str:
    r"""Returns a file name that can be written as UTF-8: bytes of it that are not UTF-8 are escaped as `\xff`."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return shown(name)
    return name
