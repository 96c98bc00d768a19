"""Reads the external data files and the operators that an ONNX file names, before a runtime opens the file.

A runtime opens any file that the model names as external data, and OpenVINO cannot stop a graph that loops; so both are
checked first. An ONNX file is a protobuf message; only the fields that lead to these two are read. The onnx package is not
used: it is not installed on servers, and it would read all weights.

The numbers of the fields are those of onnx.proto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hubserve.errors import ExportError, PackageError

LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
"""Operators that run a graph (their body) as often as the model says."""

_DEPTH = 100
"""Largest depth of nested messages that is read; the protobuf library has the same limit."""

_FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {4: "operator", 5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
    "external": {1: "key", 2: "value"},
}
"""Maps each kind of message to the fields of it that are read, and each of their numbers to the kind of message in the field.

"operator", "key" and "value" are strings; "external" is one entry of a tensor's external data: a key and its value.
"""


@dataclass
class OnnxContents:
    """The operators and the external data files that an ONNX file names.

    Attributes:
        operators: Types of the nodes of all its graphs, such as "Conv", including the bodies of loops and functions.
        external: One dictionary for each tensor whose data are in another file. Its keys are those of the ONNX file, such as
            "location" (file name), "offset" and "length" (in bytes); all values are strings.
    """

    operators: set[str] = field(default_factory=set)
    external: list[dict[str, str]] = field(default_factory=list)


def read_onnx_contents(path: Path) -> OnnxContents:
    """Reads an ONNX file, without its weights, and returns the operators and external data files that it names.

    Raises:
        ExportError: The file cannot be read, is empty or not a protobuf message, or has messages nested more than 100 deep; or
            a tensor in it gives a key of its external data twice.
    """
    found = OnnxContents()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _read(content, 0, len(content), "model", found, 0)
    except (OSError, ValueError, IndexError) as error:
        raise ExportError(f"ONNX Runtime cannot load {path}: it is not a file in ONNX: {error}") from error
    return found


def check_external_data(path: Path, contents: OnnxContents, listed: Collection[str]) -> None:
    """Checks that the external data of an ONNX file are in files of its own package.

    Args:
        path: Path of the ONNX file.
        contents: The content of that file, as `read_onnx_contents` returns it.
        listed: Names of the files that the manifest of the package lists.

    Raises:
        PackageError: The ONNX file names external data that are not in a listed regular file in its own folder, or whose offset
            or length is no number, is negative, or leads beyond the end of that file.
    """
    for external in contents.external:
        location = external.get("location", "")
        where = f"{path} names {location[:200]!r} as a file of external data"
        # Not a path, nor the "*/_ORT_MEM_ADDR_/*" by which ONNX Runtime names an address in memory.
        if PurePosixPath(location).name != location or "\\" in location or "\0" in location or location not in listed:
            raise PackageError(f"{where}; it may name files that lie in its package and that the manifest lists")
        try:
            status = (path.parent / location).lstat()
            offset, length = (int(external.get(name, "0")) for name in ("offset", "length"))
        except (OSError, ValueError) as error:
            raise PackageError(f"{where}: {error}") from error
        if not stat.S_ISREG(status.st_mode):
            raise PackageError(f"{where}, which is a link or no regular file")
        if offset < 0 or length < 0 or offset + length > status.st_size:
            raise PackageError(f"{where} and {length} bytes from byte {offset} on; it has {status.st_size}")


def _read(content: mmap.mmap, start: int, end: int, kind: str, found: OnnxContents, depth: int) -> None:
    if depth > _DEPTH:
        raise ValueError(f"it is nested more than {_DEPTH} deep")
    external: dict[str, str] = {}
    below = _FIELDS[kind]
    for number, first, last in _messages(content, start, end):
        inside = below.get(number)
        if inside == "operator":
            found.operators.add(content[first:last].decode("utf-8", "replace"))
        elif inside == "external":
            name, value = _entry(content, first, last)
            # The runtimes take the first or the last of two; neither is worth to be guessed.
            if name in external:
                raise ValueError(f"a tensor gives {name[:40]!r} twice")
            external[name] = value
        elif inside is not None:
            _read(content, first, last, inside, found, depth + 1)
    if external:
        found.external.append(external)


def _entry(content: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    texts = {number: content[first:last].decode() for number, first, last in _messages(content, start, end)}
    return texts.get(1, ""), texts.get(2, "")


def _messages(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (field number, start, end) for each field of a message that holds bytes; fields that hold numbers are skipped.

    Args:
        content: The file.
        start: Position of the first byte of the message.
        end: Position after its last byte.

    Raises:
        ValueError: The bytes are not a protobuf message.
    """
    while start < end:
        tag, start = _varint(content, start, end)
        if tag >= 2**32:  # Parsers take the lower 32 bits, which may be another field.
            raise ValueError(f"the number of the field before byte {start} is too large")
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, start = _varint(content, start, end)
        elif kind in (1, 5):
            start += 8 if kind == 1 else 4
        elif kind == 2:
            length, start = _varint(content, start, end)
            if start + length > end:
                raise ValueError(f"the field at byte {start} is longer than what holds it")
            yield number, start, start + length
            start += length
        else:
            raise ValueError(f"byte {start} begins no field of protobuf")
    if start != end:
        raise ValueError("it is truncated")


def _varint(content: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while start < end and shift < 64:
        byte = content[start]
        value |= (byte & 127) << shift
        start, shift = start + 1, shift + 7
        if byte < 128:
            return value & (2**64 - 1), start
    raise ValueError("it is truncated")
