"""Which images a model was trained on: by their content, or where that is not recorded by name and size."""

from __future__ import annotations

import hashlib

from hubserve.data.parts import PinnedFile, PinnedParts
from hubserve.data.trained_images import count_by_part


def record(*files: PinnedFile) -> PinnedParts:
    return PinnedParts(("a",), "drawn", 0, "0" * 64, files)


def pinned(name: str, part: str, content: bytes, *, hashed: bool = True) -> PinnedFile:
    return PinnedFile(name, 0, part, len(content), hashlib.sha256(content).hexdigest() if hashed else None)


def test_equal_content_counts_whatever_the_name(tmp_path):
    contents = {"moved.png": b"one", "new.png": b"two", "test.png": b"tested", "val.png": b"four"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    known = record(pinned("a/1.png", "train", b"one"), pinned("a/2.png", "test", b"tested"), pinned("a/3.png", "val", b"four"))
    assert count_by_part([tmp_path / name for name in contents], known) == {"train": 1, "test": 1, "val": 1}


def test_without_a_hash_by_name_and_size(tmp_path):
    for name, content in {"1.png": b"abc", "2.png": b"abc", "3.png": b"longer"}.items():
        (tmp_path / name).write_bytes(content)
    known = record(pinned("a/1.png", "train", b"xyz", hashed=False), pinned("a/3.png", "train", b"xyz", hashed=False))
    assert count_by_part([tmp_path / f"{i}.png" for i in (1, 2, 3)], known) == {"train": 1}


def test_a_file_that_is_gone_does_not_count(tmp_path):
    assert not count_by_part([tmp_path / "gone.png"], record(pinned("gone.png", "train", b"1")))
