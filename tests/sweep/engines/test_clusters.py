"""Slurm and Ray at work on this machine: a kill among twelve runs, and a table equal to the local engine's."""

import os
import re
import signal
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock

from mechxl.config import parse_config
from mechxl.errors import InputError
from mechxl.run import Run
from mechxl.sweep import parse_study, sweep
from mechxl.sweep.engine import Job
from mechxl.sweep.engines.slurm import Slurm
from tests.model.plain import TINY
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


def test_a_task_has_work_for_minutes_and_an_array_no_more_tasks_than_allowed():
    def jobs(n: int, **training: Any) -> list[Job]:
        config = parse_config({"training": training})
        return [Job(str(number), config, Path("runs", str(number)), 1) for number in range(n)]

    shares = Slurm().shares(jobs(2000, steps=4))
    assert [len(share) for share in shares] == [2000]  # 4 million examples are no work for a second task
    shares = Slurm().shares(jobs(100))
    assert len(shares) == 9  # 1.536 million examples a run, 18 million a task
    assert sorted(job.name for share in shares for job in share) == sorted(map(str, range(100)))
    assert {len(share) for share in shares} == {11, 12}
    assert len(Slurm(max_array=1000).shares(jobs(3000, steps=100_000))) == 1000
    assert [len(share) for share in Slurm(pack=3).shares(jobs(7))] == [3, 2, 2]
    mixed = [*jobs(3), Job("wide", parse_config({"model": {"d_model": 128}}), Path("wide"), 1)]
    with_gpu = Slurm(gpus=1, pack=3).shares(mixed)
    assert ["wide"] in [[job.name for job in share] for share in with_gpu]


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"partitoin": "x"}, "slurm.partitoin: there is no such option; did you mean partition"),
        ({"cpus": 0}, "slurm.cpus = 0: Input should be greater than or equal to 1"),
        (3, "slurm = 3: must be a table of options"),
    ],
)
def test_a_wrong_table_is_refused(table: Any, sentence: str):
    with pytest.raises(InputError, match=re.escape(sentence)):
        parse_study({"slurm": table})


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
        following.until(
            lambda: all((run / "checkpoints" / "step-000004.safetensors").exists() for run in (first, second))
        )
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
        assert Run(second).environment["resumed_at"] == [
            int(x) for x in re.findall("stopped at step ([0-9]+) of", table["reason"][second.name])
        ]
        assert not (runs / "slurm").exists()
    same(runs, expected)


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_ray_node_that_dies_loses_no_saved_step(
    tmp_path: Path, expected: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.cluster_utils import Cluster as Nodes

    from mechxl.sweep.engines.ray import blind_nodes

    runs = tmp_path / "runs"
    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80_000_000}
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        Path(folder, "ray").mkdir()
        cluster = Nodes(initialize_head=True, head_node_args=small | {"include_dashboard": False})
        try:
            other = cluster.add_node(**small)
            command = [write_study(tmp_path / "study.toml", **STUDY), "--out", runs, "--engine", "ray"]
            following = Sweep(*command, "--ray-address", str(cluster.address))
            both = [runs / f"long,seed={seed}" / "checkpoints" / "step-000004.safetensors" for seed in (0, 1)]
            following.until(lambda: all(path.exists() for path in both))
            cluster.remove_node(other, allow_graceful=False)
            status, out, err = following.wait()
            assert status == DONE, err
            assert f"{runs / 'sweep.parquet'}: 12 runs\n" in out
            assert "mechxl: Ray: 12 runs on 2 nodes with 2 cores" in err
            cluster.connect()
            assert blind_nodes(runs) == []
            assert len(blind_nodes(runs, seen_at=tmp_path)) == 1
        finally:
            ray.shutdown()
            cluster.shutdown()
    resumed = [run for run in (runs / "long,seed=0", runs / "long,seed=1") if "resumed_at" in Run(run).environment]
    assert len(resumed) == 1
    assert not list(runs.glob(".*"))
    same(runs, expected)
