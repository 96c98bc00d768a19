"""`unpack`: unpacks an uploaded ZIP file of images into a new folder, and refuses hostile or too large ones as a whole."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from hubserve.errors import BodyTooLargeError, RequestBodyError
from hubserve.image_names import SUFFIXES, is_hidden

MAX_RATIO, RATIO_FROM = 100, 1_000_000
"""Largest ratio of a file's size to its size in the ZIP. It is checked for files of more than `RATIO_FROM` bytes."""

MAX_DEPTH, MAX_NAME, MAX_PATH = 8, 200, 800
"""Largest number of names in a path in the ZIP, of bytes in a name, and of bytes in the whole path."""

ENTRY_BYTES = 250
"""Average number of bytes that the ZIP's central directory may have for each allowed file; a longer one is not read."""

CHUNK = 1 << 20
"""Number of bytes that are unpacked at once."""

_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, UnicodeError, ValueError,
    OverflowError,
)  # fmt: skip
"""Exceptions that `zipfile` raises for bytes that are not a ZIP, or are one that it cannot read."""


class Unpacked(NamedTuple):
    """The result of `unpack`.

    Attributes:
        images: Number of image files that were written.
        left_out: Number of files that were not written, because they are hidden or have no file name extension of images.
    """

    images: int
    left_out: int


class _BoundedFile:
    """A file for `zipfile`, no single read of which may ask for more than `most` bytes.

    `zipfile` reads the whole central directory at once, with the length that the ZIP itself states.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes; at most `most` + 1 if it is negative. Raises BodyTooLargeError if it exceeds `most`."""
        if size > self._most:
            raise BodyTooLargeError("the ZIP's directory is longer than that of the number of files that are allowed")
        return self._file.read(self._most + 1 if size < 0 else size)

    def seek(self, place: int, whence: int = 0) -> int:
        """Moves to a position and returns it. Raises BadZipFile for a position outside of the file."""
        try:
            return self._file.seek(place, whence)
        except OSError as error:
            raise zipfile.BadZipFile("it names a place outside of the file") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def unpack(archive: Path, folder: Path, *, max_files: int, max_bytes: int) -> Unpacked:
    """Writes the images in a ZIP file into `folder`, which is created, and returns the number of files written and left out.

    Paths in the ZIP are kept, except that a single folder around all class folders is dropped. A file is left out if its name,
    or the name of a folder above it, is hidden, or if its file name extension is not that of an image.

    Args:
        archive: The ZIP file.
        folder: Folder for the images, which must not exist. If an error is raised, it is incomplete, and the caller must remove
            it.
        max_files: Largest number of entries of the ZIP, folders and files that are left out included.
        max_bytes: Largest size in bytes of all written files together.

    Raises:
        BodyTooLargeError: The ZIP has more or larger files than allowed, or one that is compressed by more than `MAX_RATIO`.
        RequestBodyError: The ZIP cannot be read, is encrypted or compressed by another method than deflate, or has a link, a
            device, a path out of the folder, one that is too long or too deep, or a path twice.
        OSError: A file cannot be written, or `folder` exists.
    """
    folder.mkdir()
    try:
        with archive.open("rb") as file:
            bounded: Any = _BoundedFile(file, max(max_files * ENTRY_BYTES, 1 << 17))
            with zipfile.ZipFile(bounded) as opened:
                return _unpack(opened, folder, max_files, max_bytes)
    except _BROKEN as error:
        if isinstance(error, RequestBodyError | BodyTooLargeError):
            raise
        raise RequestBodyError(f"the ZIP cannot be read: {str(error)[:200] or type(error).__name__}") from error


def _unpack(opened: zipfile.ZipFile, folder: Path, max_files: int, max_bytes: int) -> Unpacked:
    """Writes the images of an opened ZIP file. Raises as `unpack` does."""
    entries = opened.infolist()
    if len(entries) > max_files:
        raise BodyTooLargeError(f"the ZIP has {len(entries):,} entries, and {max_files:,} are allowed")
    found = [(entry, _checked(entry)) for entry in entries]
    files = [(entry, path) for entry, path in found if not entry.is_dir()]
    kept = [(entry, path) for entry, path in files if _is_kept(path)]
    if sum(entry.file_size for entry, _ in kept) > max_bytes:
        raise _too_large(max_bytes)
    around = len({path.parts[0] for _, path in kept}) == 1 and all(len(path.parts) > 2 for _, path in kept)
    written = 0
    for entry, path in kept:
        target = folder.joinpath(*path.parts[around:])
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            written += _write(opened, entry, target, max_bytes - written, max_bytes)
        except (FileExistsError, NotADirectoryError) as error:
            raise RequestBodyError(f"the ZIP has {_quoted(entry)} twice, or as a file and as a folder") from error
    return Unpacked(len(kept), len(files) - len(kept))


def _checked(entry: zipfile.ZipInfo) -> PurePosixPath:
    """Returns the path of an entry of the ZIP. Raises RequestBodyError if the entry must not, or cannot, be written."""
    # `filename` ends at a zero byte; `orig_filename` is what the ZIP says.
    name, path = entry.orig_filename, PurePosixPath(entry.orig_filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith("/") or "\\" in name or not path.parts or ".." in path.parts:
        raise RequestBodyError(f"the ZIP has the path {_quoted(entry)}; paths must be relative, with / and without ..")
    if not name.isprintable():
        raise RequestBodyError(f"the ZIP has a name with control characters: {_quoted(entry)}")
    longest = max(len(part.encode()) for part in path.parts)
    if len(path.parts) > MAX_DEPTH or longest > MAX_NAME or len(name.encode()) > MAX_PATH:
        raise RequestBodyError(f"the ZIP has a path that is too long or too deep: {_quoted(entry)}")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise RequestBodyError(f"{_quoted(entry)} in the ZIP is a link or a device; only files and folders are allowed")
    if entry.flag_bits & 1:
        raise RequestBodyError(f"{_quoted(entry)} in the ZIP is encrypted")
    # Others than these may take much memory to unpack.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RequestBodyError(f"{_quoted(entry)} in the ZIP is compressed by another method than deflate")
    return path


def _is_kept(path: PurePosixPath) -> bool:
    """Returns whether a file is an image by its file name extension, and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not any(is_hidden(part) for part in path.parts)


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int, max_bytes: int) -> int:
    """Writes one file and returns its size, which is counted during unpacking because the size in the ZIP may be wrong.

    Args:
        opened: The ZIP file.
        entry: Entry of the file.
        target: Path of the new file.
        left: Largest allowed size of this file.
        max_bytes: Largest size of all files together, for the error message.

    Raises:
        BodyTooLargeError: The file is larger than `left`, or is compressed by more than `MAX_RATIO`.
        FileExistsError: There is a file `target` already.
    """
    size = 0
    with opened.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > left:
                raise _too_large(max_bytes)
            if size > RATIO_FROM and size > MAX_RATIO * max(entry.compress_size, 1):
                raise BodyTooLargeError(f"{_quoted(entry)} in the ZIP is over {MAX_RATIO} times its size there")
            file.write(chunk)
    return size


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the files in the ZIP have more than the allowed {max_bytes:,} bytes")


def _quoted(entry: zipfile.ZipInfo) -> str:
    """Returns the start of an entry's name as it may stand in a message: quoted, with escapes for all but ASCII."""
    return ascii(entry.orig_filename[:100])
