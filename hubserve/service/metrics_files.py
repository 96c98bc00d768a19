"""Allocates the disk space of the files of Prometheus metrics before they are written, for servers with several workers.

Each worker keeps its metrics in memory-mapped files. prometheus_client creates them without allocated blocks, so that a write
to them ends the process by SIGBUS if the disk is full. Here, a worker goes on with its metrics in memory if no blocks can be
allocated.
"""

from __future__ import annotations

import logging
import mmap
import os

from prometheus_client import mmap_dict, values

log = logging.getLogger("hubserve.service")

START_BYTES = 2**16
"""Size of a new file in bytes, as in prometheus_client."""

ENTRY_BYTES = 48
"""Upper bound of the bytes that an entry takes in addition to its key."""


class AllocatedDict(mmap_dict.MmapedDict):
    """prometheus_client's dictionary in a memory-mapped file, which grows only after disk blocks were allocated for it.

    If none can be allocated, this is logged, and later values are kept in memory only. /metrics then shows the last values in
    the file, or none of this process if there was no space for a new file, which is removed.

    Args:
        filename: Path of the file.
        read_mode: If True, the file is only read.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        memory = -1
        if not read_mode:
            try:
                with open(filename, "ab") as file:
                    _allocate(file.fileno(), START_BYTES)
            except OSError as error:
                os.unlink(filename)  # Without content, it would be an error to /metrics.
                memory = _memory(filename, error)
                filename = f"/proc/self/fd/{memory}"
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
        if memory >= 0:
            os.close(memory)

    def _init_value(self, key: str) -> None:
        """Adds an entry for a metric; if the disk has no space for it, the dictionary continues in memory."""
        needed = self._used + len(key.encode()) + ENTRY_BYTES
        size = self._capacity
        while size < needed:
            size *= 2
        try:
            _allocate(self._f.fileno(), size)
        except OSError as error:
            self._f = os.fdopen(_memory(self._fname, error), "a+b")
            self._f.write(self._m[:])
            self._f.flush()
            self._m = mmap.mmap(self._f.fileno(), self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


def use_allocated_files() -> None:
    """Makes prometheus_client use `AllocatedDict`. It must be called before any metric is created."""
    vars(values)["MmapedDict"] = AllocatedDict


def _allocate(descriptor: int, size: int) -> None:
    """Allocates disk blocks for the first `size` bytes of a file, unless it has them. Raises OSError if the disk is full.

    Where the operating system lacks `posix_fallocate`, it does nothing.
    """
    if hasattr(os, "posix_fallocate") and os.fstat(descriptor).st_blocks * 512 < size:
        os.posix_fallocate(descriptor, 0, size)


def _memory(filename: str, error: OSError) -> int:
    """Logs that metrics are incomplete from now on, and returns the descriptor of a new file in memory."""
    log.warning("metrics of this process are incomplete from now on: %s: %s", filename, error.strerror)
    return os.memfd_create("metrics")
