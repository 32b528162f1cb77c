"""What is sent to the machines of a cluster: a run's settings as plain values, and nothing else."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mechxl.config import RunConfig, as_toml_table, parse_config
from mechxl.sweep.engine import Job


def order_of(job: Job) -> dict[str, Any]:
    """A job as plain values, which are all that a cluster's machines are sent."""
    return {
        "run": job.name,
        "settings": as_toml_table(job.config),
        "out": str(job.out.absolute()),
        "threads": job.threads,
        "command": sys.argv,
    }


def job_of(order: Mapping[str, Any]) -> Job:
    """The job that `order_of` described."""
    return Job(order["run"], parse_config(order["settings"]), Path(order["out"]), order["threads"])


def threads_on_a_cluster(config: RunConfig) -> int:
    """One thread a run, the most efficient, unless the study sets them: they must not depend on where a run lands."""
    return config.training.threads or 1


def work_of(config: RunConfig) -> int:
    """The examples that a run trains on."""
    return config.training.steps * config.training.batch_size
