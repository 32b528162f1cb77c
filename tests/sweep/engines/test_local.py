"""Local processes whose worker is a script that does what the run's name says: what becomes of the others."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mechxl.sweep.engine import Job, Outcome
from mechxl.sweep.engines.local import LOG_BEGINS, local
from tests.model.plain import tiny
from tests.sweep.processes import gone

WORKER = """#!{python} -S
import json, os, sys, time
with open("{pids}", "a") as file:
    file.write(f"{{os.getpid()}}\\n")
for line in sys.stdin:
    order = json.loads(line)
    what = order["out"].rpartition("/")[2].split("-")[0]
    answer = {{"status": "complete"}}
    if what == "crash":
        sys.exit("Traceback ...\\nMemoryError: no room")
    if what == "silent":
        os._exit(4)
    if what == "kill":
        os.kill(os.getpid(), 9)
    if what == "refuse":
        answer = {{"status": "failed", "reason": "it can't be"}}
    if what == "long":
        sys.stdin.read()
        answer = {{"status": "stopped", "reason": "saved"}}
    if what == "stuck":
        time.sleep(1000)
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs jobs of these names; the generator's workers write their process ids to `pids`."""
    worker = tmp_path / "worker"
    worker.write_text(WORKER.format(python=sys.executable, pids=tmp_path / "pids"))
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))

    def begin(names: list[str], workers: int, stopping: Callable[[], bool] = lambda: False):
        begun: list[str] = []
        jobs = [Job(name, tiny(), tmp_path / name, 1) for name in names]
        return local(jobs, workers, lambda job: begun.append(job.name), stopping, print), begun

    return begin


def pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().split()]


def ends(outcomes: list[Outcome]) -> dict[str, tuple[str, str]]:
    return {outcome.job.name: (outcome.status, outcome.reason) for outcome in outcomes}


def test_however_a_run_ends_the_others_carry_on(run, tmp_path: Path):
    names = ["crash", "ok-1", "kill", "ok-2", "silent", "refuse", "ok-3"]
    generator, begun = run(names, 1)
    found = list(generator)
    assert [outcome.job.name for outcome in found] == begun == names
    by_name = ends(found)
    assert [by_name[f"ok-{n}"] for n in (1, 2, 3)] == [("complete", "")] * 3
    assert by_name["refuse"] == ("failed", "it can't be")
    crash, kill, silent = (by_name[name] for name in ("crash", "kill", "silent"))
    log = tmp_path / "crash.log"
    assert crash == ("failed", f"{tmp_path}/crash: its process ended with status 1 (MemoryError: no room); see {log}")
    assert log.read_text() == LOG_BEGINS + "Traceback ...\nMemoryError: no room\n"
    assert kill[0] == "failed"
    assert kill[1].startswith(f"{tmp_path}/kill: its process was killed")
    assert silent == ("failed", f"{tmp_path}/silent: its process ended with status 4; run the same command again")
    assert len(pids(tmp_path)) == 4  # one, and one in the place of each that died: not one a run
    assert gone(pids(tmp_path))


def test_no_more_workers_than_asked_for_or_needed(run, tmp_path: Path):
    list(run(["ok-1", "ok-2", "ok-3", "ok-4"], 2)[0])
    assert len(pids(tmp_path)) == 2
    list(run(["ok-1"], 2)[0])
    assert len(pids(tmp_path)) == 3
    assert list(run([], 2)[0]) == []
    assert len(pids(tmp_path)) == 3


def test_stopping_lets_those_at_work_save_and_begins_no_other(run, tmp_path: Path):
    stop: list[int] = []
    generator, begun = run(["ok", "long-1", "long-2", "ok-2"], 2, lambda: bool(stop))
    first = next(generator)
    stop.append(1)
    found = ends([first, *generator])
    assert found == {
        "ok": ("complete", ""),
        "long-1": ("stopped", "saved"),
        "long-2": ("stopped", "saved"),
        "ok-2": ("stopped", f"{tmp_path}/ok-2: not started"),
    }
    assert begun == ["ok", "long-1", "long-2"]
    assert not any(map(_alive, pids(tmp_path)))


def test_closing_kills_what_is_at_work_before_it_returns(run, tmp_path: Path):
    generator, _ = run(["stuck-1", "ok", "stuck-2"], 2)
    next(generator)
    while len(pids(tmp_path)) < 2:
        time.sleep(0.01)
    generator.close()
    assert not any(map(_alive, pids(tmp_path)))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
