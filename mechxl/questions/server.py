"""The process that has imported what questions need, of which each process that answers one is a copy.

This module imports nothing heavy: the server can begin while the caller still imports.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing import forkserver

METHOD = "forkserver"  # a copy has none of the caller's threads
ANSWERED = ("language_identity", "patching", "unification", "learning", "phases")  # in this order no core waits long
IMPORTED = [f"mechxl.questions.{name}.{part}" for name in ANSWERED for part in ("answer", "panels")]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # libraries read them when imported


def begin() -> None:
    """Begins the server, unless it runs; where systems have no such processes, nothing is done."""
    if METHOD in multiprocessing.get_all_start_methods():
        multiprocessing.get_context(METHOD).set_forkserver_preload(IMPORTED)
        with one_thread():
            forkserver.ensure_running()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Processes that start inside use one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
