"""How many runs to train at a time and with how many threads each, so that every core has one thread, never more."""

import os
from collections.abc import Sequence

from mechxl.config import RunConfig


def allot(runs: Sequence[RunConfig], workers: int | None, available: int) -> tuple[int, list[int]]:
    """(runs at a time, threads of each run).

    A run is bit-identical only with the same number of threads. So the threads follow from the study, the machine and
    `workers`, not from which runs are left: a sweep that was interrupted and resumed gives the same result as one that
    was not. One thread a run is the most efficient; the cost is a few idle cores while the last runs end. A run gets
    more threads only if the study has fewer runs than the machine has cores.

    Args:
        runs: all runs of the study, complete or not.
        workers: most runs at a time; None: as many as fill the cores.
        available: the number of cores.
    """
    most_threads_set = max((config.training.threads for config in runs), default=0)
    most_at_once = available // max(most_threads_set, 1)
    runs_at_once = max(1, min(workers or most_at_once, most_at_once, len(runs)))
    default_threads = max(1, available // runs_at_once)
    if (limit := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():  # `train` respects it too
        default_threads = max(1, min(default_threads, int(limit)))
    return runs_at_once, [config.training.threads or default_threads for config in runs]
