"""A task of a cluster: trains its share of a sweep's runs on the machine where it runs, and notes how each ended.

python -m mechxl.sweep.engines.shard PLAN NUMBER

PLAN is a JSON file with the settings of all runs; NUMBER says which share is this task's. Beside it the task writes
task-NUMBER.jsonl: a line when it begins, when a run begins, and when a run ends. On SIGTERM, as before a time limit,
the runs save their states and stop.
"""

import json
import os
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from mechxl.sweep.engines import pick_engine
from mechxl.sweep.engines.orders import job_of


def main(argv: Sequence[str]) -> None:
    """Trains the share of runs that the arguments name."""
    plan, number = Path(argv[0]), int(argv[1])
    orders = json.loads(plan.read_text(encoding="utf-8"))["shards"][number]
    jobs = [job_of(order) for order in orders]
    received: list[int] = []
    for sort in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sort, lambda *_: received.append(1))
    sys.argv = orders[0]["command"]  # a run's environment.json records the command
    with plan.with_name(f"task-{number}.jsonl").open("a", encoding="utf-8") as file:

        def note(**line: object) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        note(began=platform.node())
        at_once = max(1, _cores() // max(job.threads for job in jobs))
        for outcome in pick_engine("auto")(
            jobs, at_once, lambda job: note(run=job.name), lambda: bool(received), lambda text: print(f"mechxl: {text}")
        ):
            note(run=outcome.job.name, status=outcome.status, reason=outcome.reason)
            if outcome.reason:
                print(f"mechxl: {outcome.reason}", flush=True)


def _cores() -> int:
    """The cores that Slurm gave to this task; it need not bind the process to them."""
    return int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))


if __name__ == "__main__":
    main(sys.argv[1:])
