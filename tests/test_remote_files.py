"""Addresses of folders at other places, and what is read from there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import RemoteError, RemoteMissingError
from hubserve.remote_files import open_folder, parse_address, pieces


@pytest.mark.parametrize(
    ("url", "path", "revision"),
    [
        ("hf://me/flowers", "me/flowers", None),
        ("hf://me/flowers/", "me/flowers", None),
        ("hf://models/me/flowers", "me/flowers", None),
        ("hf://me/flowers@v1.0", "me/flowers", "v1.0"),
        ("s3://bucket/x", "bucket/x", None),
        ("s3://bucket", "bucket", None),
        ("s3://bucket/a/b/", "bucket/a/b", None),
        ("file:///tmp/x", "/tmp/x", None),
        ("file://localhost/tmp/x", "/tmp/x", None),
        ("file:///tmp/a%20b/", "/tmp/a b", None),
        ("memory://x/y", "/x/y", None),
    ],
)
def test_addresses(url, path, revision):
    folder = parse_address(url)
    assert (folder.path, folder.revision, folder.url) == (path, revision, url)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "flowers",
            "'flowers' is no address that models are pushed to or pulled from: hf://OWNER/NAME, s3://BUCKET/FOLDER, file",
        ),
        ("/tmp/x", "file:///FOLDER"),
        ("ftp://host/x", "'ftp://host/x' is no address"),
        ("s3a://bucket/x", r"Did you mean s3\?"),
        ("file:/tmp/x", "'file:/tmp/x' is no address"),
        ("hf://flowers", "'hf://flowers' is no repository of models at Hugging Face: write hf://OWNER/NAME"),
        ("hf://me/flowers/folder", "no repository of models"),
        ("hf://datasets/me/flowers", "no repository of models"),
        ("hf://me/..", "no repository of models"),
        ("hf://me/a?b", "no repository of models"),
        ("s3://", "'s3://' is no folder: write s3://BUCKET/FOLDER"),
        ("s3://bucket/../other", "is no folder"),
        ("file://tmp/x", "'file://tmp/x' is no absolute path"),
        ("file:///", "is no folder"),
        ("", "'' is no address"),
    ],
)
def test_addresses_that_are_none(url, sentence):
    with pytest.raises(RemoteError, match=sentence):
        parse_address(url)


def test_revisions_are_those_of_hugging_face():
    assert parse_address("hf://me/flowers@old", "new").revision == "new"
    with pytest.raises(RemoteError, match=r"only a repository of Hugging Face \(hf://\) has revisions"):
        parse_address("s3://bucket/x", "v1")


@given(st.text(max_size=60), st.sampled_from(["", "hf://", "s3://", "file://", "file:///", "memory://"]))
def test_any_text_is_an_address_or_an_error(text, scheme):
    try:
        folder = parse_address(scheme + text)
    except RemoteError:
        return
    assert ".." not in folder.path.split("/")
    assert folder.path.strip("/")


class TestFolderOfThisMachine:
    def test_names_and_sizes(self, tmp_path):
        (tmp_path / "a.txt").write_text("abc")
        (tmp_path / "folder").mkdir()
        folder = open_folder(tmp_path.as_uri())
        assert folder.names() == ["a.txt"]
        assert (folder.size("a.txt"), folder.size("none")) == (3, None)
        assert folder.read("a.txt", 3) == b"abc"
        with pytest.raises(RemoteError, match=r"a.txt is longer than"):
            folder.read("a.txt", 2)
        with pytest.raises(RemoteMissingError, match="no such file or folder"):
            folder.read("none", 2)
        assert open_folder(f"file://{tmp_path}/none").names() == []

    def test_not_open_to_this_user(self, tmp_path):
        if os.geteuid() != 0:
            pytest.skip("only root can act as another user")
        folder = Path("/tmp", f"hubserve.test.{os.getpid()}")
        folder.mkdir(mode=0o700)
        os.seteuid(65534)
        try:
            with pytest.raises(RemoteError, match=r"cannot be read: .* belongs to user root with mode 0700"):
                open_folder(folder.as_uri()).read("manifest.json", 10)
        finally:
            os.seteuid(0)
            folder.rmdir()


@given(st.binary(max_size=100), st.integers(0, 120))
def test_pieces_end_at_the_bound(content, most):
    import io

    assert b"".join(pieces(io.BytesIO(content), most)) == content[:most]
