"""Files of metrics whose blocks on the disk are allocated before they are written.

Several workers keep their metrics in memory-mapped files. prometheus_client makes these without content, so a write to them
while the disk is full ends the process by SIGBUS. Here a worker goes on in memory where no block can be allocated.
"""

from __future__ import annotations

import logging
import mmap
import os

from prometheus_client import mmap_dict, values

log = logging.getLogger("hubserve.service")

START_BYTES = 2**16
"""Size of a new file, as in prometheus_client."""

ENTRY_BYTES = 48
"""Upper bound of what an entry takes beside its key."""


class AllocatedDict(mmap_dict.MmapedDict):
    """prometheus_client's dictionary in a file, which grows only where the disk has free blocks for it.

    Without them, what is written is kept in memory, and the file, which /metrics reads, stays as it is.
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
    """Has prometheus_client use such files; called before any metric is made."""
    vars(values)["MmapedDict"] = AllocatedDict


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate") and os.fstat(descriptor).st_blocks * 512 < size:
        os.posix_fallocate(descriptor, 0, size)


def _memory(filename: str, error: OSError) -> int:
    """A descriptor of a file in memory, in place of one on the disk."""
    log.warning("metrics of this process are incomplete from now on: %s: %s", filename, error.strerror)
    return os.memfd_create("metrics")
