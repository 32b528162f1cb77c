"""What carries runs out: one function, `local` here, others elsewhere."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mechxl.config import RunConfig


@dataclass(frozen=True)
class Job:
    """A run to carry out: train it in `out` on so many threads, going on with what is there."""

    name: str
    config: RunConfig
    out: Path
    threads: int


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: which.
        status: complete; failed; stopped: interrupted with all saved, or not begun.
        reason: why it is not complete, in a sentence that names the run's directory; else empty.
    """

    job: Job
    status: Literal["complete", "failed", "stopped"]
    reason: str = ""


Engine = Callable[[Sequence[Job], int, Callable[[Job], None], Callable[[], bool]], Generator[Outcome, None, None]]
"""engine(jobs, workers, began, stopping): carries jobs out, `workers` at a time, and yields an outcome as each ends.

It calls `began` with a job that begins, and asks `stopping` at least every half second: once that says yes, it begins
no further job and lets those at work save and stop. A job that fails, however badly, is an outcome and no exception.
When the generator is closed, or an exception passes through it, all that is at work has been killed before it returns.
How far a run is, is read from its directory.
"""
