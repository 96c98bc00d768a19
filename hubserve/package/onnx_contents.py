"""Reads from an ONNX file, before a runtime opens it, which other files it names and which operators its graphs have.

The runtimes open the files of external data that a model names, by a path, an offset and a length that its author chose; and
OpenVINO cannot end a graph that loops. The file is protobuf, and only the fields that lead to these two are followed: the onnx
package is not installed where models are served, and would read all weights.

The numbers of the fields are those of onnx.proto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hubserve.errors import ExportError, PackageError

LOOPS = frozenset({"Loop", "Scan", "SequenceMap"})
"""Operators whose body runs as often as the model says."""

_DEPTH = 100
"""Deepest nesting that protobuf itself reads."""

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
"""Kind of message -> number of a field -> kind of what it holds. "operator", "key" and "value" are texts."""


@dataclass
class OnnxContents:
    """What a file in ONNX names.

    Attributes:
        operators: Types of the nodes of all its graphs, those in bodies and functions too.
        external: A dictionary for each tensor in another file: "location", "offset" and "length", as texts.
    """

    operators: set[str] = field(default_factory=set)
    external: list[dict[str, str]] = field(default_factory=list)


def read_onnx_contents(path: Path) -> OnnxContents:
    """Reads what a file in ONNX names, without its weights.

    Raises:
        ExportError: It cannot be read, or is not in the format protobuf.
    """
    found = OnnxContents()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _read(content, 0, len(content), "model", found, 0)
    except (OSError, ValueError, IndexError) as error:
        raise ExportError(f"ONNX Runtime cannot load {path}: it is not a file in ONNX: {error}") from error
    return found


def check_external_data(path: Path, contents: OnnxContents, listed: Collection[str]) -> None:
    """Checks that a model opens no file but those of its own package, and reads only what they hold.

    Args:
        path: File in ONNX.
        contents: What it names.
        listed: Names of the files of the package, whose hashes its manifest holds.

    Raises:
        PackageError: It names a path, a file that the manifest does not list, a link, or bytes beyond the end of a file.
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
    """(number, start, end) of each field of a message that holds bytes; numbers are skipped."""
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
