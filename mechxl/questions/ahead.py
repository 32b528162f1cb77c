"""Answers questions side by side, in processes of their own, so that `ask` then finds their answers kept.

A question uses one thread there: its products are so small that more threads cost more than they gain, and each core
has a question of its own. A process that fails, or is killed, is passed over: `ask` answers its question again, and
raises what is wrong.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from types import MappingProxyType

from mechxl.questions.ask import ask
from mechxl.questions.find import find_question
from mechxl.questions.kept import kept_finding
from mechxl.questions.table import QUESTIONS
from mechxl.run import Run

LONGEST_FIRST = ("unification", "language_identity", "patching", "learning", "phases")  # so that no core waits
METHOD = "forkserver"  # a server imports what questions need once; each process is a copy of it, without our threads
IMPORTED = [f"mechxl.questions.{name}.answer" for name in LONGEST_FIRST]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # libraries read them when imported


def answer_ahead(
    run: Run,
    names: Collection[str],
    thorough: bool,
    processes: int,
    beside: Mapping[str, Callable[[], None]] = MappingProxyType({}),
) -> Iterator[str]:
    """Answers those of mechxl's questions that have no answer kept; yields the name of each when it has ended.

    A question that reads others' answers (READS) begins when theirs have ended. Nothing is done where answers can't be
    kept, where only one question is open, or on systems without such processes.

    Args:
        run: a run with checkpoints.
        names: of questions; those of one's own are left to `ask`.
        thorough: all facts rather than samples.
        processes: at most so many at a time; 1: nothing is done.
        beside: other work, by name, to be done in the same way.
    """
    asked = [name for name in LONGEST_FIRST if name in names and name in QUESTIONS]
    able = METHOD in multiprocessing.get_all_start_methods() and os.access(run.path, os.W_OK)
    if processes < 2 or not able:
        return
    waiting = [name for name in asked if kept_finding(run, find_question(name), thorough) is None]
    if len(waiting) + len(beside) < 2:
        return
    context = multiprocessing.get_context(METHOD)
    context.set_forkserver_preload(IMPORTED)
    null = None if run.null is None else run.null.path
    work = {name: partial(_answer, run.path, null, name, thorough) for name in waiting} | dict(beside)
    waiting += beside
    running: dict[str, BaseProcess] = {}
    try:
        while waiting or running:
            for name in _ready(waiting, running)[: processes - len(running)]:
                waiting.remove(name)
                running[name] = context.Process(target=_alone, args=(work[name],), daemon=True)
                with _one_thread():
                    running[name].start()
            wait([process.sentinel for process in running.values()])
            for name in [name for name, process in running.items() if process.exitcode is not None]:
                del running[name]
                yield name
    finally:  # Ctrl-C, or a reader that stops
        for process in running.values():
            process.terminate()
            process.join()


def _ready(waiting: Sequence[str], running: Collection[str]) -> list[str]:
    """The questions that read none that is not answered yet."""
    read = {name: find_question(name).reads for name in waiting if name in QUESTIONS}
    return [name for name in waiting if not {*waiting, *running}.intersection(read.get(name, ()))]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
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


def _answer(path: Path, null: Path | None, name: str, thorough: bool) -> None:
    ask(Run(path, null), name, thorough=thorough)


def _alone(work: Callable[[], None]) -> None:
    """Does some work in a process of its own; what it would say of an error is said when it is done again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        work()
    except Exception:
        sys.exit(1)


def _end_with_parent() -> None:
    """Ends this process when its parent has been killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)
