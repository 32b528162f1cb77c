"""Freed memory is kept for the next step.

A training step takes and frees the same few megabytes again and again. glibc gives what is freed at the top of its heap
back to the system, and takes large pieces from it anew each time: every page is then zeroed and mapped again, which
costs a fifth of a step (benchmarks/RESULTS.md).
"""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 256 << 20  # bytes at the top of the heap
LARGEST = 32 << 20  # bytes that come from the heap and not from the system: glibc allows no more


@contextmanager
def kept_memory() -> Iterator[None]:
    """Lets glibc keep freed memory meanwhile, and gives it back afterwards; other allocators are left alone.

    glibc's thresholds are the process's and can't be read; they stay as they are set here.
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
