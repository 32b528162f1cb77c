"""Slurm and Ray at work on this machine: a kill in the middle of twelve runs, and a table equal to the local engine's."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from mechxl.errors import InputError
from mechxl.run import Run
from mechxl.sweep import parse_study, read_study, sweep
from mechxl.sweep.engine import Job
from mechxl.sweep.engines.slurm import Slurm, parse_slurm
from tests.model.plain import TINY, contents, tiny
from tests.sweep.engines.cluster import Cluster
from tests.sweep.processes import Sweep, write_study

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
LONG = {"steps": 300, "evaluate_every": 30, "checkpoints": 20, "threads": 1}
STUDY = {
    "seeds": 5,
    "runs": [
        {"name": "long", "training": LONG, "seeds": 2},
        {"name": "short", "training.threads": 1},
        {"name": "other", "training.threads": 1, "mixture": {"parallel_fraction": 0.2}},
    ],
}
NOT_RESULTS = ["path", "wall_seconds", "examples_per_second"]


@pytest.fixture(scope="module")
def expected(shared_folder: Path) -> pd.DataFrame:
    """The local engine's table."""
    with FileLock(shared_folder / "twelve.lock"):
        study = parse_study({"base": TINY} | STUDY, "twelve")
        table = sweep(study, shared_folder / "runs" / "twelve", engine="local", workers=1, quiet=True)
    assert (table["status"] == "complete").all()
    assert len(table) == 12
    return table.drop(columns=NOT_RESULTS)


def same(runs: Path, expected: pd.DataFrame) -> None:
    table = pd.read_parquet(runs / "sweep.parquet").drop(columns=NOT_RESULTS)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def process_of(task: int, runs: Path) -> int:
    """The process id of a Slurm task."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_text().split("\0")
        if "mechxl.sweep.engines.shard" in words and words[-3].startswith(str(runs)) and words[-2] == str(task):
            return int(path.parent.name)
    raise AssertionError("there is no such task")


def test_a_slurm_task_that_is_killed_is_taken_up_by_submitting_again(
    tmp_path: Path, expected: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
):
    runs = tmp_path / "runs"
    limits = {"time": "10", "partition": "short", "max_array": 2, "prologue": "export PROLOGUE=1"}
    command = [write_study(tmp_path / "study.toml", slurm=limits, **STUDY), "--out", runs, "--engine", "slurm"]
    first, second = (runs / f"long,seed={seed}" for seed in (0, 1))
    with Cluster() as slurm:
        for name, value in slurm.environment.items():
            monkeypatch.setenv(name, value)
        # nodes that do not see the directory: it is away while the tasks begin
        slurm.ask("scontrol", "update", "nodename=node", "state=drain", "reason=test")
        status, out, err = Sweep(*command, "--pack", "12").wait()
        assert status == DONE, err
        assert "12 runs in 1 tasks; look with squeue --job" in err
        assert set(pd.read_parquet(runs / "sweep.parquet")["status"]) == {"submitted"}
        runs.rename(tmp_path / "away")
        slurm.ask("scontrol", "update", "nodename=node", "state=resume")
        slurm.until_idle()
        (tmp_path / "away").rename(runs)
        status, _, err = Sweep(*command).wait()
        assert status == FAILED
        (sentence,) = err.splitlines()
        assert f"{runs}: the cluster's nodes do not see this directory" in sentence
        assert "choose an --out on a file system that they share" in sentence
        assert not list(runs.glob("*/config.toml"))

        following = Sweep(*command, "--pack", "6", "--wait")
        following.until(lambda: all((run / "checkpoints" / "step-000004.safetensors").exists() for run in (first, second)))
        (array,) = {line.split("_")[0] for line in slurm.ask("squeue", "--noheader", "--array", "--format=%i").split()}
        slurm.ask("scancel", f"{array}_1")
        os.kill(process_of(0, runs), signal.SIGKILL)
        status, _, err = following.wait()
        assert status == INTERRUPTED, err
        table = pd.read_parquet(runs / "sweep.parquet").set_index("run")
        assert list(table["status"][[first.name, second.name]]) == ["failed", "stopped"]
        assert f"Slurm task {array}_0 ended before it did (FAILED); run the same command again" in err
        assert f"{second}: stopped at step" in table["reason"][second.name]
        for run in (first, second):
            assert 4 <= table["steps"][run.name] < 300
            assert (run / "resume.safetensors").exists()

        status, out, err = Sweep(*command, "--wait").wait()
        assert status == DONE, err
        assert out.startswith(f"{runs / 'sweep.parquet'}: 12 runs\n")
        assert Run(first).environment["resumed_at"]
        assert Run(second).environment["resumed_at"] == [int(x) for x in re.findall("stopped at step ([0-9]+) of", table["reason"][second.name])]
        assert not (runs / "slurm").exists()
    same(runs, expected)
