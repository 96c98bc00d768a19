"""Checks many image files in parallel: up to 256 files in threads, more in worker processes, so that a crash does no harm."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hubserve.data.check_cache import Stamp, keep_checks, read_checks
from hubserve.data.image_check import SECONDS, Check, check_file, hash_file
from hubserve.host import available_memory_bytes, cores

FEW = 256
"""Largest number of files that are checked in threads; for so few, starting worker processes would take longer."""

PROCESS_BYTES = 2**30
"""Memory in bytes that is reserved for each worker process; decoding the largest allowed image takes most of it."""

BATCH = 512
"""Number of results that are written to the cache together; an interrupted check repeats fewer files than this."""

Advance = Callable[[int, int], None]
"""Progress callback, called with the number of files checked so far and the number of all files."""


def check_files(paths: Sequence[Path], *, full: bool, advance: Advance = lambda done, total: None) -> list[tuple[int, Check]]:
    """Checks image files and returns, in the order of `paths`, the size in bytes and the check result of each.

    Cached results of unchanged files are used. A file that cannot be read raises no exception: the reason is in
    `Check.problem`. The size of a file that does not exist is 0.

    Args:
        paths: Image files.
        full: If True, each file is decoded and hashed. If False, only headers are read, and only files that have the same
            size as another file are hashed, since files of different sizes cannot be equal.
        advance: Progress callback, called at the start, after every 16 files and at the end.

    Raises:
        OSError: A worker process cannot be started.
    """
    stamps: dict[Path, Stamp] = {}
    found: dict[Path, Check] = {}
    absolute = [Path(os.path.abspath(path)) for path in paths]
    for path in absolute:
        try:
            stamps[path] = Stamp.of(path.stat())
        except OSError as error:
            found[path] = Check(problem=f"cannot be opened: {error.strerror}", lasting=False)
    found |= read_checks(stamps, full=full)
    todo = [path for path in stamps if path not in found]
    total, done = len(absolute), len(absolute) - len(todo)
    advance(done, total)
    fresh: list[tuple[Path, Stamp, Check]] = []
    for path, check in _checked(todo, full=full):
        found[path] = check
        fresh.append((path, stamps[path], check))
        done += 1
        if len(fresh) == BATCH:
            keep_checks(fresh, full=full)
            fresh = []
        if done % 16 == 0 or done == total:
            advance(done, total)
    keep_checks(fresh, full=full)
    if not full:
        found = _hashed(found, stamps)
    return [(stamps[path].bytes if path in stamps else 0, found[path]) for path in absolute]


def _hashed(found: Mapping[Path, Check], stamps: Mapping[Path, Stamp]) -> dict[Path, Check]:
    """Returns `found` with the hash added to each readable file that has the same size as another readable file."""
    by_size: dict[int, list[Path]] = {}
    for path, check in found.items():
        if check.problem is None:
            by_size.setdefault(stamps[path].bytes, []).append(path)
    todo = [path for paths in by_size.values() if len(paths) > 1 for path in paths if found[path].sha256 is None]
    with ThreadPoolExecutor(cores()) as pool:
        hashes = dict(zip(todo, pool.map(hash_file, todo), strict=True))
    fresh = {path: found[path]._replace(sha256=sha256) for path, sha256 in hashes.items()}
    keep_checks(((path, stamps[path], check) for path, check in fresh.items()), full=False)
    return {**found, **fresh}


def _checked(paths: Sequence[Path], *, full: bool) -> Iterator[tuple[Path, Check]]:
    """Checks files in parallel, without the cache; yields each path with its check result, in the order of `paths`."""
    if len(paths) <= FEW:
        with ThreadPoolExecutor(max(1, min(cores(), len(paths)))) as pool:
            yield from zip(paths, pool.map(lambda path: check_file(path, full=full), paths), strict=True)
        return
    workers = max(1, int(min(cores(), available_memory_bytes() / PROCESS_BYTES)))
    programs = [_Program(full) for _ in range(workers)]
    free, lock = list(programs), threading.Lock()

    def check(path: Path) -> Check:
        with lock:
            program = free.pop()
        try:
            return program.check(path)
        finally:
            with lock:
                free.append(program)

    pool = ThreadPoolExecutor(workers)
    try:
        yield from zip(paths, pool.map(check, paths), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
        for program in programs:
            program.close()


class _Program:
    """A worker process that checks one file after another; it is started for the first file, and again after a crash.

    Args:
        full: If True, files are decoded and hashed. If False, only headers are read.
    """

    def __init__(self, full: bool) -> None:
        self._full = full
        self._process: subprocess.Popen[str] | None = None

    def check(self, path: Path) -> Check:
        """Returns the check result of one file; if the file crashes the process, `Check.problem` says so."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(os.fsencode(path).hex() + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            return Check(problem=f"crashes the library that decodes it, or takes more than {SECONDS} s or too much memory")
        sha256, width, height, kinds, problem, lasting = json.loads(answer)
        return Check(sha256, width, height, tuple(kinds), problem, lasting)

    def close(self) -> None:
        """Kills the worker process, if one is running."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        """Starts the worker process, which reads a path per line from stdin and writes a result per line to stdout."""
        command = [sys.executable, "-W", "ignore", "-m", "hubserve.data.image_check", "full" if self._full else "header"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
