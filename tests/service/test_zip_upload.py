"""ZIPs as an attacker makes them, and as people do."""

from __future__ import annotations

import io
import stat
import struct
import time
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.errors import BodyTooLargeError, RequestBodyError
from hubserve.service.zip_upload import Unpacked, unpack

GOOD = {"cat/1.png": b"1", "cat/2.png": b"2", "dog/1.png": b"3"}


def zipped(files: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, kind)
    return buffer.getvalue()


def special(name: str, mode: int, content: bytes = b"/etc/passwd") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.create_system, entry.external_attr = 3, (mode | 0o777) << 16
        archive.writestr(entry, content)
    return buffer.getvalue()


def unpacked(tmp_path: Path, content: bytes, *, max_files: int = 100, max_bytes: int = 10_000_000) -> Unpacked:
    archive = tmp_path / "upload"
    archive.write_bytes(content)
    return unpack(archive, tmp_path / "out", max_files=max_files, max_bytes=max_bytes)


def written(tmp_path: Path) -> set[str]:
    return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir()}


class TestGood:
    def test_class_folders(self, tmp_path):
        assert unpacked(tmp_path, zipped(GOOD)) == Unpacked(3, 0)
        assert written(tmp_path / "out") == set(GOOD)
        assert (tmp_path / "out/dog/1.png").read_bytes() == b"3"

    def test_a_folder_around_them_is_left_out(self, tmp_path):
        files = {f"flowers/{name}": content for name, content in GOOD.items()}
        assert unpacked(tmp_path, zipped(files | {"__MACOSX/flowers/cat/._1.png": b"x"})) == Unpacked(3, 1)
        assert written(tmp_path / "out") == set(GOOD)

    def test_hidden_files_and_others_are_left_out(self, tmp_path):
        more = {"cat/._1.png": b"", ".git/x/1.png": b"", "@eaDir/a/1.png": b"", "__MACOSX/cat/1.png": b"", "cat/run.py": b""}
        assert unpacked(tmp_path, zipped(GOOD | more)) == Unpacked(3, 5)
        assert written(tmp_path / "out") == set(GOOD)


@pytest.mark.parametrize(
    "name",
    [
        "../x.png",
        "a/../../x.png",
        "/tmp/x.png",
        "a\\..\\x.png",
        "..",
        "a/\x00/x.png",
        "a/\n.png",
        "a/" * 9 + "x.png",
        "a" * 201,
    ],
)
def test_paths_that_lead_out_or_cannot_be_written(tmp_path, name):
    # `zipfile` does not write a zero byte; a ZIP may have one.
    hole = zipped({"a/Q/x.png": b""}).replace(b"a/Q/x.png", b"a/\0/x.png")
    buffer = hole if "\0" in name else zipped({name: b"x"})
    with pytest.raises(RequestBodyError):
        unpacked(tmp_path, buffer)
    assert written(tmp_path) == {"upload"}


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices(tmp_path, mode):
    with pytest.raises(RequestBodyError, match="link or a device"):
        unpacked(tmp_path, special("cat/1.png", mode))
    assert written(tmp_path) == {"upload"}


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_take_memory(tmp_path, kind):
    with pytest.raises(RequestBodyError, match="another method"):
        unpacked(tmp_path, zipped(GOOD, kind))


def test_encrypted(tmp_path):
    content = bytearray(zipped(GOOD))
    content[content.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(RequestBodyError, match="encrypted"):
        unpacked(tmp_path, bytes(content))


@pytest.mark.parametrize("twice", [("cat/1.png", "cat/1.png"), ("cat.png", "cat.png/1.png"), ("cat.png/1.png", "cat.png")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_path_twice(tmp_path, twice):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in twice:
            archive.writestr(name, b"x")
    with pytest.raises(RequestBodyError, match="twice"):
        unpacked(tmp_path, buffer.getvalue())


class TestBounds:
    def test_number_of_files(self, tmp_path):
        with pytest.raises(BodyTooLargeError, match="101 entries"):
            unpacked(tmp_path, zipped({f"a/{i}.png": b"" for i in range(101)}))

    def test_expanded_size(self, tmp_path):
        with pytest.raises(BodyTooLargeError, match="1,000 bytes"):
            unpacked(tmp_path, zipped({f"a/{i}.png": bytes(400) for i in range(3)}), max_bytes=1000)
        assert written(tmp_path) == {"upload"}

    def test_ratio(self, tmp_path):
        with pytest.raises(BodyTooLargeError, match="100 times"):
            unpacked(tmp_path, zipped({"a/1.png": bytes(5_000_000)}))

    def test_a_size_that_is_a_lie(self, tmp_path):
        """The directory says 10 bytes for 50 MB: no more than these 10 are written before it is refused."""
        content = bytearray(zipped({"a/1.png": bytes(50_000_000)}))
        place = content.index(b"PK\1\2")
        content[place + 24 : place + 28] = struct.pack("<I", 10)
        tracemalloc.start()
        with pytest.raises(RequestBodyError):
            unpacked(tmp_path, bytes(content))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.png")) <= 10
        assert peak < 8_000_000

    def test_entries_over_the_same_bytes(self, tmp_path):
        """Many entries of one compressed file: the sum of what is written counts."""
        data = zlib.compress(bytes(90_000), 9)[2:-4]
        name, crc = b"a/0.png", zlib.crc32(bytes(90_000))
        local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(data), 90_000, len(name), 0) + name + data
        entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(data), 90_000, len(name), *[0] * 4, 0, 0)
        directory = (entry + name) * 99
        end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 99, 99, len(directory), len(local), 0)
        with pytest.raises((BodyTooLargeError, RequestBodyError)):
            unpacked(tmp_path, local + directory + end, max_bytes=1_000_000)
        assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.png")) <= 1_000_000

    def test_a_directory_that_is_long(self, tmp_path):
        """A million entries in 55 MB are not read into memory."""
        entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, *[0] * 4, 0, 0) + b"a"
        directory = entry * 1_000_000
        end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, len(directory), 0, 0)
        content = directory + end
        tracemalloc.start()
        start = time.process_time()
        with pytest.raises(BodyTooLargeError, match="directory"):
            unpacked(tmp_path, content)
        assert time.process_time() - start < 1
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.stop()


@given(st.binary(max_size=300) | st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_unpacked_or_refused(tmp_path_factory, change):
    content = zipped(GOOD)
    if isinstance(change, bytes):
        content = change
    else:
        place, new = change
        content = content[:place] + new + content[place + len(new) :]
    folder = tmp_path_factory.mktemp("zip")
    with suppress(RequestBodyError, BodyTooLargeError):
        unpacked(folder, content)
    assert all(path.is_relative_to(folder / "out") or path.name in ("upload", "out") for path in folder.rglob("*"))
