"""Files appear whole or not at all, and leave nothing beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from hubserve.atomic import move_folder, replace_folder, staged_file, staged_folder, write_atomic


def test_a_new_file(tmp_path):
    write_atomic(tmp_path / "note.json", "grün\n")
    assert (tmp_path / "note.json").read_bytes() == "grün\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]


def test_a_folder_that_is_gone_does_not_come_back(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "gone" / "note.json", "new")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_changes_nothing(tmp_path):
    (tmp_path / "note").mkdir()
    (tmp_path / "note" / "inside").write_text("kept")
    with pytest.raises(OSError, match="note"):
        write_atomic(tmp_path / "note", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
    assert (tmp_path / "note" / "inside").read_text() == "kept"


def test_a_reader_never_sees_half(tmp_path):
    path, contents = tmp_path / "note", {letter * 200_000 for letter in "ab"}
    write_atomic(path, "a" * 200_000)

    def write(content: str) -> None:
        for _ in range(50):
            write_atomic(path, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_and_another_folder_for_the_unfinished_file(tmp_path):
    (tmp_path / "staging").mkdir()
    write_atomic(tmp_path / "note", b"\0\1", staging=tmp_path / "staging")
    assert (tmp_path / "note").read_bytes() == b"\0\1"
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_staged_file_keeps_its_suffix_and_is_gone_after_an_error(tmp_path):
    def write_half():
        with staged_file(tmp_path / "plot.svg") as unfinished:
            assert (unfinished.parent, unfinished.suffix) == (tmp_path, ".svg")
            unfinished.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_staged_folder_is_renamed_or_gone(tmp_path):
    with staged_folder(tmp_path / "new", "run") as stage:
        (stage / "file").write_text("1")
        replace_folder(stage, tmp_path / "new" / "run")
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "new", "run") as stage:
        raise RuntimeError
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run"]
    with staged_folder(tmp_path / "new", "run") as stage:
        replace_folder(stage, tmp_path / "new" / "run")
    assert list((tmp_path / "new").rglob("*")) == [tmp_path / "new" / "run"]


def test_a_folder_that_cannot_be_replaced_is_put_back(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "missing", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system than `tmp_path`."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def test_a_file_that_is_staged_on_another_file_system(tmp_path, elsewhere):
    write_atomic(tmp_path / "note", "old")
    write_atomic(tmp_path / "note", "new", staging=elsewhere)
    assert (tmp_path / "note").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_moves_to_another_file_system(tmp_path, elsewhere):
    (elsewhere / "run" / "deep").mkdir(parents=True)
    (elsewhere / "run" / "deep" / "note").write_text("kept")
    (elsewhere / "run" / "link").symlink_to("deep/note")
    move_folder(elsewhere / "run", tmp_path / "run")
    assert (tmp_path / "run" / "link").read_text() == "kept"
    assert (tmp_path / "run" / "link").is_symlink()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_replaces_one_on_another_file_system(tmp_path, elsewhere):
    for folder, text in ((tmp_path / "run", "old"), (elsewhere / "run", "new")):
        folder.mkdir()
        (folder / "note").write_text(text)
    replace_folder(elsewhere / "run", tmp_path / "run")
    assert (tmp_path / "run" / "note").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert list(elsewhere.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from hubserve import atomic
folder = Path(sys.argv[1])
if sys.argv[2] == "file":
    with atomic.staged_file(folder / "note.json") as unfinished:
        unfinished.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "replace":
    moved = atomic.move_folder
    atomic.move_folder = lambda a, b: moved(a, b) if b.name.endswith(".old") else os.kill(os.getpid(), signal.SIGKILL)
with atomic.staged_folder(folder, "package") as stage:
    (stage / "half").write_text("half")
    if sys.argv[2] == "folder":
        os.kill(os.getpid(), signal.SIGKILL)
    atomic.replace_folder(stage, folder / "package")
"""


@pytest.mark.parametrize("what", ["file", "folder", "replace"])
def test_what_a_killed_process_left_is_removed_by_the_next(what, tmp_path, monkeypatch):
    monkeypatch.setattr("hubserve.atomic._cleaned", set())
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "old").write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path, what])
    assert killed.returncode == -9
    assert [path.name for path in tmp_path.iterdir()] != ["package"]
    others = [".own.1.txt", ".note.1-00000000.7.json", f".note.{os.getpid()}-00000000.7.json"]  # Of nobody known.
    for name in others:
        (tmp_path / name).write_text("")
    with staged_folder(tmp_path, "living"):
        write_atomic(tmp_path / "note.json", "whole")
        assert len([path for path in tmp_path.iterdir() if path.name.startswith(".living.")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["package", "note.json", *others])
    assert (tmp_path / "package" / "old").read_text() == "old"


def test_what_a_living_process_writes_stays(tmp_path, monkeypatch):
    wait = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", 'print("begun", flush=True), sys.stdin.read()')
    process = subprocess.Popen(
        [sys.executable, "-c", wait, tmp_path, "file"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    monkeypatch.setattr("hubserve.atomic._cleaned", set())
    write_atomic(tmp_path / "other", "")
    process.communicate("")
    assert process.returncode == 0
    assert (tmp_path / "note.json").read_text() == "half"
