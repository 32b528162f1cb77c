"""The engine of a machine without a GPU: its cores, or one process for many runs of a small model together."""

from collections.abc import Callable, Generator, Sequence

from mechxl.sweep.engine import Job, Outcome
from mechxl.sweep.engines.gpu import gpu
from mechxl.sweep.engines.local import local

MANY = 32  # fewer runs of a shape are not worth measuring what is quicker
CLEAR = 1.5  # times as quick: less is within what a measure of a second errs
TOGETHER = 16  # runs that are measured together: more gain little on a CPU


def automatic(
    jobs: Sequence[Job],
    workers: int,
    began: Callable[[Job], None],
    stopping: Callable[[], bool],
    say: Callable[[str], None],
) -> Generator[Outcome, None, None]:
    """An Engine like local, but a shape with many runs is measured: are they quicker together, in one process?

    Those train together first, then the others one by one on all cores.
    """
    by_shape: dict[object, list[Job]] = {}
    if len(jobs) >= MANY:
        from mechxl.training.ensemble import shape_key  # imports torch

        for job in jobs:
            by_shape.setdefault(shape_key(job.config), []).append(job)
    for same in by_shape.values():
        if len(same) >= MANY and (gain := gain_together(same[0], workers)) >= CLEAR:
            say(f"{len(same)} runs train together in one process, {gain:.1f} times as quick here as one by one")
            yield from gpu(same, workers, began, stopping, say)
            jobs = [job for job in jobs if job not in same]
    if jobs:
        yield from local(jobs, workers, began, stopping, say)


def gain_together(job: Job, workers: int) -> float:
    """How many times as quick runs like this are together in one process as one by one in several; measured now."""
    from mechxl.sweep.cost import cost

    alone, together = cost(job.config), cost(job.config, TOGETHER)
    return (alone.seconds + alone.setup) / workers / (together.seconds / TOGETHER + together.setup)
