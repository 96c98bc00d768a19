"""Context manager in which freed memory stays with the process, so that the next tensor takes it without page faults."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Parameters of `mallopt`, by their numbers in malloc.h of glibc."""

UNLIMITED = -1
LARGEST_THRESHOLD = 32 * 2**20
"""Size in bytes to which glibc raises `MMAP_THRESHOLD` by itself when memory of that size is freed."""

DEFAULT_MMAP_MAX = 65536


_lock = threading.Lock()
_depth = 0
"""Number of contexts of `kept_memory`, nested or of several threads, that have begun and not ended."""


@contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """Context manager in which the allocator of glibc gives no memory back to the system and takes none by `mmap`.

    Without it, tensors of more than 32 MB are mapped and unmapped one by one, and free memory at the end of the heap is given
    back in each step, so that the system clears the same pages again and again (docs/decisions/0056). When the last context
    ends, the memory is given back, and the allocator is as glibc's own rules leave it in a program that uses large tensors. It
    acts on the whole process. Where the C library is not glibc, nothing happens.

    Args:
        device: Device on which the network runs; nothing happens unless it is the CPU.
    """
    library = _library()
    if device.type != "cpu" or library is None:
        yield
        return
    _count(library, 1)
    try:
        yield
    finally:
        _count(library, -1)


def _count(library: ctypes.CDLL, change: int) -> None:
    """Counts a context that begins (1) or ends (-1); the first one and the last one set the parameters of the allocator."""
    global _depth
    with _lock:
        before, _depth = _depth, _depth + change
        if before == 0:
            library.mallopt(MMAP_MAX, 0)
            library.mallopt(TRIM_THRESHOLD, UNLIMITED)
        elif _depth == 0:
            library.mallopt(MMAP_MAX, DEFAULT_MMAP_MAX)
            library.mallopt(MMAP_THRESHOLD, LARGEST_THRESHOLD)
            library.mallopt(TRIM_THRESHOLD, 2 * LARGEST_THRESHOLD)
            library.malloc_trim(0)


def _library() -> ctypes.CDLL | None:
    """Returns the C library of this process if it is glibc, else None."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
