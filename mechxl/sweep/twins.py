"""Sweeps of one study that run at once, on one machine or several: each run is trained by one of them."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from mechxl.config import differences
from mechxl.errors import InputError
from mechxl.run import Run
from mechxl.sweep.engine import Engine, Job, Outcome

WAKE = 0.5  # seconds between two looks at the runs that another process trains

Stopping = Callable[[], bool]


def beside_twins(carry_out: Engine) -> Engine:
    """An engine that passes over a run that another process trains, and waits for it at the end.

    If that process stops before the run is complete, the engine goes on with it.
    """

    def carry(
        jobs: Sequence[Job],
        workers: int,
        began: Callable[[Job], None],
        stopping: Stopping,
        say: Callable[[str], None],
    ) -> Generator[Outcome, None, None]:
        known = set[str]()

        def began_once(job: Job) -> None:
            if job.name not in known:
                known.add(job.name)
                began(job)

        while True:
            elsewhere: list[Job] = []
            with closing(carry_out(jobs, workers, began_once, stopping, say)) as outcomes:
                for outcome in outcomes:
                    if outcome.status == "elsewhere":
                        elsewhere.append(outcome.job)
                    else:
                        yield outcome
            if not elsewhere:
                return
            names = ", ".join(job.name for job in elsewhere[:3]) + (", ..." if len(elsewhere) > 3 else "")
            say(f"another process trains {len(elsewhere)} of the runs ({names}); waiting for it")
            jobs = yield from _wait(elsewhere, stopping)

    return carry


def _wait(jobs: Sequence[Job], stopping: Stopping) -> Generator[Outcome, None, list[Job]]:
    """Waits until a run is free, and gives all that are not complete then."""
    from mechxl.training.claim import is_being_trained  # which imports torch

    waiting = list(jobs)
    while waiting and not stopping():
        free = [job for job in waiting if not is_being_trained(job.out)]
        for job in list(waiting):
            if is_complete(job):
                waiting.remove(job)
                yield Outcome(job, "complete")
        if any(job in waiting for job in free):
            return waiting
        time.sleep(WAKE)
    for job in waiting:
        yield Outcome(job, "stopped", f"{job.out}: another process was training it")
    return []


def is_complete(job: Job) -> bool:
    """Whether the run is complete. A damaged directory, or one of another run, is refused later, by training."""
    try:
        run = Run(job.out)
        return run.complete and not differences(run.config, job.config)
    except InputError:
        return False
