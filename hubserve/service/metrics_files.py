"""Files of metrics whose room on the disk is taken before it is used.

Several workers keep their metrics in memory-mapped files. prometheus_client makes these without content, so a write to them
while the disk is full ends the process by SIGBUS. Here it raises an OSError.
"""

from __future__ import annotations

import os

from prometheus_client import mmap_dict, values

START_BYTES = 2**16
"""Size of a new file, as in prometheus_client."""

ENTRY_BYTES = 48
"""Upper bound of what an entry takes beside its key."""


class AllocatedDict(mmap_dict.MmapedDict):
    """prometheus_client's dictionary in a file, which grows only where the disk has room for it."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            with open(filename, "ab") as file:
                _allocate(file.fileno(), START_BYTES)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        needed = self._used + len(key.encode()) + ENTRY_BYTES
        size = self._capacity
        while size < needed:
            size *= 2
        _allocate(self._f.fileno(), size)
        super()._init_value(key)  # type: ignore[no-untyped-call]


def use_allocated_files() -> None:
    """Has prometheus_client use such files; called before any metric is made."""
    vars(values)["MmapedDict"] = AllocatedDict


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate") and os.fstat(descriptor).st_blocks * 512 < size:
        os.posix_fallocate(descriptor, 0, size)
