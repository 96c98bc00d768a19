"""The images of a folder, of a listing and of files: which ones, in which order, and what is left out."""

from __future__ import annotations

import os

import pyarrow
import pyarrow.parquet
import pytest

from hubserve.batch.image_source import LeftOutCounts, image_source
from hubserve.cli.image_files import image_files
from hubserve.data.folder_walk import walk
from hubserve.errors import DatasetError, ImageError


def found(*names) -> tuple[list[str], dict[str, int]]:
    left_out = LeftOutCounts()
    source = image_source([str(name) for name in names], image_files)
    images = [image.name for image in source.images(left_out)]
    assert [image.name for image in source.images(LeftOutCounts())] == images
    return images, dict(left_out.counts)


def test_a_folder_is_walked_as_for_training(tmp_path):
    for name in ("b/2.jpg", "b/1.png", "a.JPG", "b/c/3.webp", "._a.jpg", "@eaDir/4.jpg", "b/.5.jpg", "note.txt", "x.heic"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "again.jpg").symlink_to(tmp_path / "a.JPG")
    os.mkfifo(tmp_path / "pipe.jpg")
    images, left_out = found(tmp_path)
    assert images == ["a.JPG", "again.jpg", "b/1.png", "b/2.jpg", "b/c/3.webp"]
    assert sorted(images) == [path.relative_to(tmp_path).as_posix() for path in walk(tmp_path).images]
    assert left_out == {
        "hidden": 3,
        "ending .txt": 1,
        "ending .heic": 1,
        "link to nothing": 1,
        "not a regular file": 1,
        "link to a folder that is read already": 1,
    }


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb"), open(tmp_path / "line\nbreak.jpg", "wb"):
        pass
    assert found(tmp_path)[0] == ["line\nbreak.jpg", r"\xff.jpg"]


def test_listings_need_no_labels_and_keep_their_order_and_repeats(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    names = ["a.jpg", "gone.jpg", "a.jpg", "https://example.org/x.jpg"]
    (tmp_path / "list.csv").write_text("path\n" + "\n".join(names))
    pyarrow.parquet.write_table(pyarrow.table({"file": names}), tmp_path / "list.parquet")
    for listing in ("list.csv", "list.parquet"):
        source = image_source([str(tmp_path / listing)], image_files)
        images = list(source.images(LeftOutCounts()))
        assert [image.name for image in images] == names
        assert [image.path for image in images] == [tmp_path / "a.jpg", None, tmp_path / "a.jpg", None]
    (tmp_path / "wrong.csv").write_text("name\na.jpg\n")
    with pytest.raises(DatasetError, match="none for the images; its first line must name one path"):
        found(tmp_path / "wrong.csv")


def test_files_and_patterns(tmp_path):
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert found(tmp_path / "*.jpg")[0] == [f"{tmp_path}/1.jpg", f"{tmp_path}/2.jpg"]
    with pytest.raises(ImageError, match="there is no such file"):
        found(tmp_path / "3.jpg", tmp_path / "1.jpg")


def test_what_is_left_out_is_named_briefly(tmp_path):
    for i in range(7):
        (tmp_path / f"{i}.txt").write_bytes(b"")
    left_out = LeftOutCounts()
    assert list(image_source([str(tmp_path)], image_files).images(left_out)) == []
    assert left_out.text() == "7 ending .txt (0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more)"
