"""Files appear whole or not at all, and leave nothing beside them."""

from __future__ import annotations

import threading

import pytest

from hubserve.atomic import write_whole


def test_a_new_file(tmp_path):
    write_whole(tmp_path / "note.json", "grün\n")
    assert (tmp_path / "note.json").read_bytes() == "grün\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]


def test_a_folder_that_is_gone_does_not_come_back(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "gone" / "note.json", "new")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_changes_nothing(tmp_path):
    (tmp_path / "note").mkdir()
    (tmp_path / "note" / "inside").write_text("kept")
    with pytest.raises(OSError, match="note"):
        write_whole(tmp_path / "note", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
    assert (tmp_path / "note" / "inside").read_text() == "kept"


def test_a_reader_never_sees_half(tmp_path):
    path, contents = tmp_path / "note", {letter * 200_000 for letter in "ab"}
    write_whole(path, "a" * 200_000)

    def write(content: str) -> None:
        for _ in range(50):
            write_whole(path, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in contents
    assert list(tmp_path.iterdir()) == [path]
