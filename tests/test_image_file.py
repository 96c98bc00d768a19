"""Reading an image file by the name that a user gives, and the refusals of names."""

from __future__ import annotations

import pytest

from hubserve.errors import ImageError
from hubserve.image_file import read_image_file


def test_the_content_of_a_file(tmp_path):
    path = tmp_path / "ä b.jpg"
    path.write_bytes(b"content")
    assert read_image_file(path) == read_image_file(str(path)) == b"content"


def test_where_a_relative_name_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match=f"^cannot read a.jpg: No such file or directory; looked in {tmp_path}$"):
        read_image_file("a.jpg")
    with pytest.raises(ImageError, match=r"No such file or directory$"):
        read_image_file(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", [".", "a\0b", "x" * 300])
def test_names_that_cannot_be_opened(name):
    with pytest.raises(ImageError, match=r"^cannot read "):
        read_image_file(name)


@pytest.mark.parametrize("address", ["http://a.b/c.jpg", "s3://bucket/c.jpg"])
def test_addresses(address):
    with pytest.raises(ImageError, match="is an address, and only files are read: download it first"):
        read_image_file(address)
