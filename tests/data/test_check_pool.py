"""Checks of image files: in threads and in processes, kept for the next time, and none that a bad file takes along."""

from __future__ import annotations

import itertools
import os
import sqlite3
import time

import pytest
from PIL import Image

from hubserve.data import check_cache, check_pool, image_check
from hubserve.data.check_cache import FILE
from hubserve.data.check_pool import check_files
from hubserve.data.image_check import check_file
from tests.data.made_folders import make
from tests.images import encoded, noise


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HUBSERVE_HOME", str(folder))
    return folder


@pytest.fixture
def images(tmp_path):
    """20 images that were written an hour ago, and a bad one."""
    make(tmp_path, {"": 20})
    (tmp_path / "bad.png").write_bytes(noise()[:200])
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    return sorted(tmp_path.iterdir())


@pytest.fixture
def processes(monkeypatch):
    """Files are checked in processes, however few they are."""
    monkeypatch.setattr(check_pool, "FEW", 0)


@pytest.mark.parametrize("full", [True, False])
def test_processes_find_what_threads_find(images, monkeypatch, full, home):
    steps = []
    threads = check_files(images, full=full, advance=lambda done, total: steps.append((done, total)))
    assert steps[0] == (0, 21)
    assert steps[-1] == (21, 21)
    (home / FILE).unlink()
    monkeypatch.setattr(check_pool, "FEW", 0)
    assert check_files(images, full=full) == threads
    assert [check.problem is None for _, check in threads].count(False) == full  # Its header can be read.
    assert all(size == path.stat().st_size for path, (size, _) in zip(images, threads, strict=True))


def test_results_are_kept_by_size_and_time(images, monkeypatch):
    first = check_files(images, full=True)
    read = []
    monkeypatch.setattr(check_pool, "check_file", lambda path, full: read.append(path.name) or check_file(path, full=full))
    assert check_files(images, full=True) == first
    assert check_files(images, full=False) == first
    assert read == []
    images[0].write_bytes(noise(30))
    os.utime(images[1], (time.time() - 1800,) * 2)
    again = check_files(images, full=True)
    assert sorted(read) == sorted(path.name for path in images[:2])
    assert (again[0][1].width, again[1]) == (30, first[1])


def test_files_that_take_the_names_of_others_are_hashed_again(tmp_path):
    """After one was removed, the others were numbered anew. All have one size and, unpacked from one archive, one time."""
    paths = [tmp_path / f"{number}.bmp" for number in range(3)]
    for number, path in enumerate(paths):
        Image.new("RGB", (9, 7), (number, 0, 0)).save(path)
        os.utime(path, (1_000_000_000,) * 2)
    before = [check.sha256 for _, check in check_files(paths, full=True)]
    for path, following in itertools.pairwise(paths):
        following.rename(path)
    assert [check.sha256 for _, check in check_files(paths[:2], full=True)] == before[1:]


def test_headers_are_not_taken_for_a_full_check(images):
    headers = check_files(images, full=False)
    assert sum(check.problem is not None for _, check in headers) == 0
    assert sum(check.problem is not None for _, check in check_files(images, full=True)) == 1


def test_a_file_that_was_just_written_is_not_kept(images, monkeypatch, tmp_path):
    fresh = tmp_path / "fresh.png"
    fresh.write_bytes(noise(10, seed=1))
    stamp = fresh.stat()
    assert check_files([fresh], full=True)[0][1].problem is None
    fresh.write_bytes(b"x" * stamp.st_size)
    os.utime(fresh, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert check_files([fresh], full=True)[0][1].problem is not None


def test_other_versions_of_what_reads_are_not_believed(images, monkeypatch):
    check_files(images, full=True)
    read = []
    monkeypatch.setattr(check_cache, "READER", "another")
    monkeypatch.setattr(check_pool, "check_file", lambda path, full: read.append(path) or check_file(path, full=full))
    check_files(images, full=True)
    assert len(read) == 21


def test_a_cache_that_cannot_be_used_is_done_without(images, home, monkeypatch):
    first = check_files(images, full=True)
    (home / FILE).write_bytes(b"no database" * 1000)
    assert check_files(images, full=True) == first
    monkeypatch.setenv("HUBSERVE_HOME", str(images[0]))
    assert check_files(images, full=True) == first


def test_a_file_that_crashes_its_reader_is_named_and_the_others_are_read(images, processes, monkeypatch, tmp_path):
    """A program in place of the check, which is killed by one file."""
    (tmp_path / "crashing.py").write_text(
        "import os, sys\nfrom hubserve.data import image_check\nreal = image_check.check_file\n"
        "image_check.check_file = lambda path, full: os.abort() if path.name == '003.png' else real(path, full=full)\n"
        "image_check.main()\n"
    )
    real = check_pool.subprocess.Popen
    program = str(tmp_path / "crashing.py")
    monkeypatch.setattr(
        check_pool.subprocess, "Popen", lambda command, **more: real([command[0], program, command[-1]], **more)
    )
    found = dict(zip([path.name for path in images], check_files(images, full=True), strict=True))
    assert found["003.png"][1].problem.startswith("crashes the library that decodes it")
    assert [name for name, (_, check) in found.items() if check.problem] == ["003.png", "bad.png"]


def test_the_program_ends_with_its_input(images):
    program = check_pool._Program(full=True)
    assert program.check(images[0]).problem is None
    process = program._process
    process.stdin.close()
    assert process.wait(10) == 0


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xd8\xff", b"GIF89a", b"RIFF1234WEBP", b"II*\0", b"BM" + bytes(100)])
def test_no_image(tmp_path, data):
    (tmp_path / "x.jpg").write_bytes(data)
    for full in (True, False):
        check = check_file(tmp_path / "x.jpg", full=full)
        assert check.problem
        assert check.width == 0


def test_an_image_with_too_many_pixels_is_named(tmp_path):
    """With the words of the service, without its advice to send another one."""
    (tmp_path / "x.png").write_bytes(encoded(Image.new("1", (8000, 8000))))
    check = check_file(tmp_path / "x.png", full=True)
    assert check.problem == "the image has 8000 x 8000 pixels; at most 50,000,000 are allowed, and 65,535 on a side"


def test_a_file_that_is_not_there(tmp_path):
    ((size, check),) = check_files([tmp_path / "nosuch.jpg"], full=True)
    assert (size, check.problem, check.lasting) == (0, "cannot be opened: No such file or directory", False)


def test_a_header_behind_much_metadata(tmp_path):
    data = encoded(Image.new("RGB", (9, 7), "red"), "JPEG")
    segment = b"\xff\xe5" + (60_002).to_bytes(2, "big") + bytes(60_000)
    (tmp_path / "x.jpg").write_bytes(data[:2] + segment * (image_check.HEADER_BYTES // 60_000 + 1) + data[2:])
    check = check_file(tmp_path / "x.jpg", full=False)
    assert (check.width, check.height, check.problem) == (9, 7, None)


def test_old_results_are_deleted(images, home, monkeypatch):
    check_files(images, full=True)
    with sqlite3.connect(home / FILE) as cache:
        cache.execute("UPDATE file_checks SET stored = 0")
    images[0].write_bytes(noise(31))
    os.utime(images[0], (time.time() - 3600,) * 2)
    check_files(images, full=True)
    with sqlite3.connect(home / FILE) as cache:
        assert cache.execute("SELECT count(*) FROM file_checks").fetchone() == (1,)
