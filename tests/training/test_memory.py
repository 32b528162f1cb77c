"""Memory that is freed is not given back to the system meanwhile: counted in page faults."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import ctypes
import resource
from contextlib import nullcontext

from mechxl.training.memory import kept_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
SIZE = 1 << 20


def work(turns):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(turns):
        pieces = [libc.malloc(SIZE) for _ in range(8)]
        for piece in pieces:
            ctypes.memset(piece, 1, SIZE)
        for piece in reversed(pieces):  # so that what is freed is the top of the heap
            libc.free(piece)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


with {context}:
    work(3)
    print(work(50))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_freed_memory_is_used_again_without_page_faults():
    found = {}
    for context in ("nullcontext()", "kept_memory()"):
        code = COUNT.format(context=context)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found[context] = int(done.stdout)
    pages = 50 * 8 * 256
    assert found["nullcontext()"] > pages / 10
    assert found["kept_memory()"] < pages / 100
