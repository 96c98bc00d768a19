"""Unpacks the file of an exported version, a tar or ZIP archive of a model's folder, within limits.

The writer of the archive is not trusted. So the number of files, their kinds and their names are checked while they are read.
The length of a file is limited by the package's manifest, by the length of the archive, and by the free space of the disk.
"""

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import shutil
import tarfile
import zipfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, Protocol, cast

from hubserve.errors import StoreError
from hubserve.package.package import MANIFEST
from hubserve.storage_faults import storage_error

MOST_FILES = 100
"""The largest number of files that an archive of a package may hold."""

MOST_EXPANSION = 20
"""Bytes of unpacked content that are allowed for each byte of the archive; compression hardly shortens weights."""

SLACK_BYTES = 64 * 2**20
"""Bytes of unpacked content that are allowed in addition, whatever the length of the archive."""

MOST_MANIFEST_BYTES = 16 * 2**20
"""Largest allowed length, in bytes, of manifest.json, and of BentoML's description model.yaml."""

MOST_NAME_BYTES = 4096
"""Largest allowed length, in bytes, of a record of a tar archive that holds attributes of the next file, such as its name."""

MOST_DECOMPRESSION_BYTES = 256 * 2**20
"""Memory in bytes that the decompression of LZMA may take; an archive can demand any amount."""

CHUNK = 1 << 20


class _RefusedError(Exception):
    """Raised if an archive breaks a limit or has files of other kinds than a model's folder; the message is the reason."""


def unpack(path: Path, folder: Path) -> None:
    """Unpacks the files of an archive into a folder.

    Args:
        path: The archive: tar (also compressed with gzip, bzip2 or xz) or ZIP.
        folder: Existing, empty folder. After an error it may hold some of the files.

    Raises:
        StoreError: The file is not such an archive, cannot be read, exceeds a limit, or has links, folders, a name twice or a
            password; the message names the reason.
        StorageError: The disk is full or read-only, or this user has no permission.
    """
    try:
        most = MOST_EXPANSION * path.stat().st_size + SLACK_BYTES
        writer = _Writer(folder, most)
        if _begins_as_zip(path):
            _unpack_zip(path, writer)
        else:
            _unpack_tar(path, writer)
    except _RefusedError as error:
        raise StoreError(f"{path} is not a model that was exported from a store: {error}") from error
    except (OSError, EOFError, ValueError, NotImplementedError, tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError) as error:
        refused = StoreError(f"{path} is not a model that was exported from a store: {type(error).__name__}: {error}")
        raise (storage_error(error) or refused) from error
    except RuntimeError as error:  # zipfile raises it for an archive with a password.
        raise StoreError(f"{path} is not a model that was exported from a store: {error}") from error


class _Readable(Protocol):
    def read(self, most: int, /) -> bytes: ...


class _Writer:
    """Writes the files of an archive into a folder and checks their number, names and lengths.

    Args:
        folder: Folder into which the files are written.
        most: Largest number of bytes of all files together.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._left = most
        self._most = most
        self._names: set[str] = set()
        self._announced: dict[str, int] = {}

    def write(self, name: str, length: int, content: _Readable) -> None:
        """Writes one file.

        Args:
            name: Name of the file in the archive.
            length: Length in bytes that the archive declares; the content may be longer, so it is checked, too.
            content: Stream with the content.

        Raises:
            _RefusedError: The name is not allowed, or the number of files or a length exceeds its limit.
            OSError: The disk has too little free space, or the file cannot be written.
        """
        name = self._checked(name, length)
        most = self._announced.get(name, MOST_MANIFEST_BYTES if name in (MANIFEST, "model.yaml") else self._left)
        written = 0
        with (self._folder / name).open("xb") as file:
            while chunk := content.read(CHUNK):
                written += len(chunk)
                self._left -= len(chunk)
                if written > most or self._left < 0:
                    raise _RefusedError(
                        f"{name} is longer than announced, or than the {self._most / 1e6:.3g} MB that are allowed"
                    )
                file.write(chunk)
        self._names.add(name)
        if name == MANIFEST:
            self._announced = _announced(self._folder / MANIFEST)

    def _checked(self, name: str, length: int) -> str:
        name = name.removeprefix("./")
        if not name or "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
            raise _RefusedError(f"{name[:80]!r} is no plain file name; a model is one folder of files")
        if name in self._names:
            raise _RefusedError(f"{name} is in it twice")
        if len(self._names) >= MOST_FILES:
            raise _RefusedError(f"it has more than {MOST_FILES} files")
        if length > self._left:
            raise _RefusedError(
                f"its content is longer than {self._most / 1e6:.3g} MB, {MOST_EXPANSION} times its own length and "
                f"{SLACK_BYTES / 1e6:.0f} MB"
            )
        free = shutil.disk_usage(self._folder).free
        if length > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder / name))
        return name


def _announced(manifest: Path) -> dict[str, int]:
    """Returns the length in bytes of each file that a manifest lists, by name.

    Raises:
        _RefusedError: The file is not a manifest with such a list.
    """
    try:
        files = json.loads(manifest.read_bytes())["files"]
        return {str(name): int(entry["bytes"]) for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _RefusedError(f"its {MANIFEST} lists no files") from error


def _begins_as_zip(path: Path) -> bool:
    """Returns whether the first bytes of a file are those of a ZIP archive.

    `zipfile.is_zipfile` is not used: it reads the end of the file, and a tar archive may end with a file that is a ZIP archive.
    """
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def _unpack_zip(path: Path, writer: _Writer) -> None:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir() and entry.filename in ("/", "./"):
                continue
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _RefusedError(f"{entry.filename[:80]!r} is compressed by a method other than deflate")
            with archive.open(entry) as content:
                writer.write(entry.filename, entry.file_size, content)


def _unpack_tar(path: Path, writer: _Writer) -> None:
    with path.open("rb") as file, _decompressed(file) as stream:
        attributes: dict[str, str] = {}
        while any(header := _exactly(stream, tarfile.BLOCKSIZE)):
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            if member.type == tarfile.XHDTYPE:
                attributes = _attributes(stream, member)
                continue
            name, length = attributes.get("path", member.name), int(attributes.get("size", member.size))
            if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
                writer.write(name, length, _Part(stream, length))
                _exactly(stream, -length % tarfile.BLOCKSIZE)
            elif member.type != tarfile.DIRTYPE or name.strip("./"):
                # Also links, devices, sparse files, and records of global attributes.
                raise _RefusedError(f"{name[:80]!r} is a link, a device or a folder; a model is one folder of plain files")
            attributes = {}


def _attributes(stream: IO[bytes], member: tarfile.TarInfo) -> dict[str, str]:
    """Reads a tar record of attributes of the next member and returns them as a dictionary.

    In the record, which POSIX defines, each attribute is "length key=value" and a line break.

    Raises:
        _RefusedError: The record is longer than `MOST_NAME_BYTES`, is corrupt, or describes a sparse file.
        ValueError: A length in the record is not a number.
        EOFError: The archive is truncated.
    """
    if not 0 <= member.size <= MOST_NAME_BYTES:
        raise _RefusedError(f"a record of it with attributes has {member.size} bytes")
    rest, found = _exactly(stream, member.size), {}
    _exactly(stream, -member.size % tarfile.BLOCKSIZE)
    while rest:
        length = int(rest.partition(b" ")[0])
        if not 0 < length <= len(rest):
            raise _RefusedError("a record of it with attributes is corrupt")
        key, _, value = rest[:length].partition(b" ")[2].decode("utf-8", "surrogateescape").removesuffix("\n").partition("=")
        found[key] = value
        rest = rest[length:]
    if any(key.startswith("GNU.sparse") for key in found):
        raise _RefusedError("it has sparse files")
    return found


def _exactly(stream: IO[bytes], length: int) -> bytes:
    """Reads and returns the next `length` bytes of `stream`.

    Raises:
        EOFError: The stream has fewer bytes.
    """
    found = stream.read(length)
    if len(found) != length:
        raise EOFError("the file is truncated, or no archive")
    return found


class _Part(io.RawIOBase):
    """A file object that reads the next `length` bytes of a stream; reading raises EOFError if the stream ends earlier."""

    def __init__(self, stream: IO[bytes], length: int) -> None:
        if length < 0:
            raise _RefusedError("a file of it has a negative length")
        self._stream, self._left = stream, length

    def read(self, most: int = CHUNK) -> bytes:
        found = _exactly(self._stream, min(most, self._left))
        self._left -= len(found)
        return found


def _decompressed(file: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    """Returns a context manager that yields a stream of the decompressed content of `file`.

    The compression (gzip, bzip2 or xz) is recognised by the first bytes; a file with none of them is yielded itself.
    """
    begin = file.read(6)
    file.seek(0)
    if begin.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if begin.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if begin == b"\xfd7zXZ\0":
        return cast("IO[bytes]", io.BufferedReader(_Xz(file)))
    return nullcontext(file)


class _Xz(io.RawIOBase):
    """A stream of the decompressed content of an .xz file that takes at most `MOST_DECOMPRESSION_BYTES` of memory.

    `lzma.LZMAFile` has no such limit.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(memlimit=MOST_DECOMPRESSION_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = b""
        while not found and not self._decompressor.eof:
            compressed = self._file.read(CHUNK) if self._decompressor.needs_input else b""
            if self._decompressor.needs_input and not compressed:
                raise EOFError("the file is truncated")
            found = self._decompressor.decompress(compressed, len(buffer))
        buffer[: len(found)] = found
        return len(found)
