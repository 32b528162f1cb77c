"""Keeps freed memory for the next training step.

Every step allocates and frees the same few megabytes. By default, glibc returns memory at the top of its heap to the
system, and asks the system for each large block. The system then zeroes and maps every page again, which costs a fifth
of a step (benchmarks/RESULTS.md).
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 256 << 20  # bytes at the top of the heap
LARGEST = 32 << 20  # bytes of the largest block that comes from the heap; glibc allows no more


@contextmanager
def kept_memory() -> Iterator[None]:
    """Lets glibc keep freed memory inside the context, and returns it to the system at the end.

    With other allocators it does nothing. glibc's thresholds belong to the process and can't be read, so they keep the
    values that are set here.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, KEPT)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
    try:
        yield
    finally:
        libc.malloc_trim(0)
