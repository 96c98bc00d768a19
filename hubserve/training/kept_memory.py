"""Context manager in which freed memory stays with the process, so that the next tensor takes it without page faults."""

import ctypes
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

    Without it, tensors of more than 32 MB are mapped and unmapped one by one, and the system clears each page again: 10 % to
    45 % of the CPU seconds of a training step. Afterwards the memory is given back, and the allocator is as glibc's own rules
    leave it in a program that uses large tensors. It acts on the whole process; where the C library is not glibc, it does
    nothing.
    """
    library = ctypes.CDLL(None)
    if not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
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
