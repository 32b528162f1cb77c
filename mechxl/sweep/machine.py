"""How many runs at a time, and how many threads each: the machine is full, and never fuller than that."""

import os
from collections.abc import Sequence
from pathlib import Path

from mechxl.config import RunConfig

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "QUOTA PERIOD" in microseconds, or "max PERIOD"


def cores() -> int:
    """The cores that this process may use: by affinity, and by the container's quota where there is one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="utf-8").split()
        return count if quota == "max" else max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count


def allot(runs: Sequence[RunConfig], workers: int | None, available: int) -> tuple[int, list[int]]:
    """(runs at a time, threads of each run).

    A run trains bit-identically on equal threads only. So a run's threads follow from the study, the machine and
    `workers`, not from which runs happen to be left: a sweep that is interrupted and started again ends as one that
    was not. One thread a run is the most efficient anyway, so that what is lost is at most the idle cores beside the
    last runs; only where a study has fewer runs than cores do they get more.

    Args:
        runs: all runs of the study, complete or not.
        workers: runs at a time at most; None: as many as fill the cores.
        available: cores.
    """
    given = max((config.training.threads for config in runs), default=0)
    at_most = available // max(given, 1)  # a study that sets training.threads gets so many, and fewer at a time
    together = max(1, min(workers or at_most, at_most, len(runs)))
    spread = max(1, available // together)
    if (own := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():  # what train honours
        spread = max(1, min(spread, int(own)))
    return together, [config.training.threads or spread for config in runs]
