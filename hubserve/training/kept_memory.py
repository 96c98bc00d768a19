"""Context manager in which freed memory stays with the process, so that the next tensor takes it without page faults."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Parameters of `mallopt`, by their numbers in malloc.h of glibc."""

UNLIMITED = -1
LARGEST_THRESHOLD = 32 * 2**20
"""Size in bytes to which glibc raises `MMAP_THRESHOLD` by itself when memory of that size is freed."""

DEFAULT_MMAP_MAX = 65536


@contextmanager
def kept_memory() -> Iterator[None]:
    """Context manager in which the allocator of glibc gives no memory back to the system and takes none by `mmap`.

    Without it, tensors of more than 32 MB are mapped and unmapped one by one, and free memory at the end of the heap is given
    back in each step, so that the system clears the same pages again and again (docs/decisions/0056). Afterwards the memory is
    given back, and the allocator is as glibc's own rules leave it in a program that uses large tensors. It acts on the whole
    process, and ends with the first of several trainings at the same time. Where the C library is not glibc, nothing happens.
    """
    if not (sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt") and hasattr(library, "malloc_trim")):
        yield
        return
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, UNLIMITED)
    try:
        yield
    finally:
        library.mallopt(MMAP_MAX, DEFAULT_MMAP_MAX)
        library.mallopt(MMAP_THRESHOLD, LARGEST_THRESHOLD)
        library.mallopt(TRIM_THRESHOLD, 2 * LARGEST_THRESHOLD)
        library.malloc_trim(0)
