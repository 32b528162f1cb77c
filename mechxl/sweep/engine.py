"""The type of an engine: a function that carries out the runs of a sweep. The folder engines/ holds the engines."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mechxl.config import RunConfig


@dataclass(frozen=True)
class Job:
    """A run to carry out: train it in the directory `out` with this many threads; resume what the directory holds."""

    name: str
    config: RunConfig
    out: Path
    threads: int


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: the job that ended.
        status: complete, failed, stopped (interrupted with its state saved, or never started), submitted (a cluster
            carries it out after this process), or elsewhere (another process trains it).
        reason: why the run is not complete, in a sentence that names its directory; empty if it is complete.
    """

    job: Job
    status: Literal["complete", "failed", "stopped", "submitted", "elsewhere"]
    reason: str = ""


Engine = Callable[
    [Sequence[Job], int, Callable[[Job], None], Callable[[], bool], Callable[[str], None]],
    Generator[Outcome, None, None],
]
"""engine(jobs, workers, began, stopping, say): carries out jobs, `workers` at a time; yields an outcome as each ends.

It calls `began(job)` when a job starts. It calls `stopping()` at least every half second; once that returns True, it
starts no further job, and the running jobs save their state and stop. A job that fails, for whatever reason, is an
outcome and not an exception. When the generator is closed, or an exception passes through it, it kills every running
job before it returns. It need not report progress: the sweep reads that from each run's directory. `say(sentence)`
tells the user what else there is to know, unless the sweep is quiet.

An engine whose jobs go on without this process stops following them instead, and calls their outcome `submitted`; its
attribute `on_stop` says so to the user who presses Ctrl-C.
"""
