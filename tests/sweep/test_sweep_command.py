"""`python -m mechxl.sweep` as a shell sees it, with real processes that are interrupted and killed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mechxl.run import Run
from mechxl.sweep.study import read_study
from tests.model.plain import contents, tiny
from tests.sweep.processes import Sweep, alive, gone, train_alone, write_study
from tests.zygote import ENVIRONMENT, REPOSITORY, Zygote

DONE, FAILED, INTERRUPTED = 0, 1, 130
SHORT = {"name": "short", "seeds": 2}
LONG = {"name": "long", "seeds": 2, "training": {"steps": 500, "evaluate_every": 40, "checkpoints": 20}}
DIVERGING = {
    "name": "diverging",
    "training": {"steps": 400, "evaluate_every": 50, "learning_rate": 10.0, "weight_decay": 10.0, "warmup_steps": 0},
}
FOREIGN = {"name": "foreign", "mixture": {"parallel_fraction": 0.25}}

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@pytest.fixture(scope="module")
def folder(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, and in the place of one of its runs another run."""
    folder = tmp_path_factory.mktemp("sweep")
    write_study(folder / "study.toml", runs=[DIVERGING, FOREIGN, SHORT, LONG])
    train_alone(zygote, tiny(steps=2), folder / "runs" / "foreign,seed=0")
    return folder


@pytest.fixture(scope="module")
def interrupted(folder: Path) -> tuple[int, str, str]:
    """The study after Ctrl-C, which a terminal sends to the whole process group, while the long runs were at work."""
    early = folder / "runs" / "long,seed=1" / "checkpoints" / "step-000004.safetensors"
    sweep = Sweep(folder / "study.toml", "--out", folder / "runs", "--workers", "2", terminal=True)
    sweep.until(early.exists)
    workers = sweep.workers()
    assert all(os.getpgid(worker) != sweep.process.pid for worker in workers)  # so that one Ctrl-C is not two to them
    os.killpg(sweep.process.pid, signal.SIGINT)
    result = sweep.wait()
    assert workers
    assert not any(map(alive, workers))
    return result


@pytest.fixture(scope="module")
def rerun(folder: Path, interrupted: object) -> tuple[int, str, str]:
    """The same command again, and what complete runs were before it."""
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/short*/**/*")}
    result = Sweep(folder / "study.toml", "--out", folder / "runs", "--workers", "1").wait()
    assert before
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/short*/**/*")} == before
    return result


def test_ctrl_c_saves_and_shows(folder: Path, interrupted: tuple[int, str, str]):
    status, out, err = interrupted
    assert (status, out) == (INTERRUPTED, "")
    assert "Traceback" not in err
    assert "stopped with everything saved" in err
    assert "run the same command again to continue" in err
    table = pd.read_parquet(folder / "runs" / "sweep.parquet").set_index("run")
    assert list(table["status"][:4]) == ["failed", "failed", "complete", "complete"]
    assert table["status"]["long,seed=1"] == "stopped"
    assert "all saved" in table["reason"]["long,seed=1"]
    assert 4 <= table["steps"]["long,seed=1"] < 500
    assert (folder / "runs" / "long,seed=1" / "resume.safetensors").exists()
    assert not list(folder.glob("runs/.*"))
    # what the terminal showed meanwhile: each run at work, and all together
    assert re.search(r"diverging,seed=0 +.* +0/400 +starting", err)
    assert re.search("2 of 6 runs, [0-2] at work, 2 failed; stopping, press Ctrl-C again to kill", err)
    assert "steps/s, 0:" in err


def test_going_on_reports_failures_and_completes_the_rest(folder: Path, rerun: tuple[int, str, str]):
    status, out, err = rerun
    assert status == FAILED
    assert "Traceback" not in err
    lines = err.splitlines()
    runs = folder / "runs"
    failures = [line for line in lines if line.startswith(f"mechxl: {runs}")]
    assert len(failures) == 2
    (diverged,) = (line for line in failures if "diverging,seed=0: the loss is" in line)
    (foreign,) = (line for line in failures if "foreign,seed=0: is a run with other settings" in line)
    assert "training.steps is 2 there and 12 here" in foreign
    assert lines[-1] == f"mechxl: 2 of 6 runs failed; the reasons are above and in {runs / 'sweep.parquet'}"
    assert any("/6 long,seed=1: complete, loss " in line for line in lines)
    table = pd.read_parquet(runs / "sweep.parquet").set_index("run")
    assert list(table["status"]) == ["failed"] * 2 + ["complete"] * 4
    assert f"mechxl: {table['reason']['diverging,seed=0']}" == diverged
    assert set(table["threads"].dropna()) == {1}
    assert out.startswith(f"{runs / 'sweep.parquet'}: 6 runs\n")
    mean = table.loc[["long,seed=0", "long,seed=1"], "recall_accuracy"].mean()
    (line,) = (line.split() for line in out.splitlines() if line.startswith("long"))
    assert line[-4:-2] == ["2", f"{mean:.3f}"]
    assert Run(runs / "foreign,seed=0").config.training.steps == 2


def test_every_run_is_the_run_trained_alone(folder: Path, rerun: object, zygote: Zygote, tmp_path: Path):
    """Bit for bit, whether it was interrupted or not."""
    for run in read_study(folder / "study.toml").runs[2:]:
        alone = train_alone(zygote, run.config, tmp_path / run.name)
        assert contents(folder / "runs" / run.name) == contents(alone), run.name
    assert "--workers" in Run(folder / "runs" / "short,seed=0").environment["command"]


def test_a_killed_worker_fails_its_run_only_and_a_killed_sweep_leaves_no_process(tmp_path: Path):
    runs = tmp_path / "runs"
    write_study(tmp_path / "study.toml", grid={"training.steps": [100_000, 12, 99_999]})
    sweep = Sweep(tmp_path / "study.toml", "--out", runs, "--workers", "1")
    killed, rest, last = (runs / f"steps={steps},seed=0" for steps in (100_000, 12, 99_999))
    sweep.until((killed / "checkpoints").exists)
    (worker,) = sweep.workers()
    os.kill(worker, signal.SIGKILL)
    sweep.until((last / "checkpoints").exists)
    (worker,) = sweep.workers()
    sweep.process.kill()
    status, _, err = sweep.wait()
    assert status == -signal.SIGKILL
    assert f"mechxl: {killed}: its process was killed" in err
    assert "2/3 steps=12,seed=0: complete" in err
    assert Run(rest).complete
    assert gone([worker])
    assert (last / "resume.safetensors").exists()
    assert not (last / "lock").exists()  # it ended in good order


def test_complete_runs_need_no_worker(folder: Path, rerun: object):
    write_study(folder / "short.toml", runs=[SHORT])
    before = contents(folder / "runs" / "short,seed=1")
    code = (
        "import sys; from mechxl.sweep.__main__ import main\n"
        f"status = main([{str(folder / 'short.toml')!r}, '--out', {str(folder / 'runs')!r}, '--quiet'])\n"
        "print(status, 'torch' in sys.modules)"
    )
    result = _python("-c", code)
    assert (result.stdout, result.stderr) == (f"{DONE} False\n", "")
    assert contents(folder / "runs" / "short,seed=1") == before


def test_help_imports_nothing_slow():
    code = (
        "import json, sys\n"
        "from mechxl.sweep.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    result = _python("-c", code)
    slow = {"torch", "transformers", "transformer_lens", "pandas", "scipy", "pyarrow", "tokenizers", "rich.progress"}
    assert slow & set(json.loads(result.stderr)) == set()
    assert "[grid]" in result.stdout
    assert "--workers" in result.stdout
    version = _python("-m", "mechxl", "sweep", "--version")
    assert (version.returncode, version.stdout[:7]) == (DONE, "mechxl ")


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=REPOSITORY, env=os.environ | ENVIRONMENT
    )
