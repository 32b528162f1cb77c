"""What a sweep shows: where each run is, as its directory tells, and how long all of them take."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mechxl.sweep import view
from mechxl.sweep.engine import Job, Outcome
from mechxl.sweep.view import View, newest_row
from tests.model.plain import tiny


def write_rows(job: Job, *steps: int, torn: str = "") -> None:
    job.out.mkdir(exist_ok=True)
    rows = [{"step": n, "loss": 1 / n, "recall_accuracy": n / 1000, "transfer_accuracy": None} for n in steps]
    (job.out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)


def looks(shown: View) -> list[str]:
    console = Console(file=io.StringIO(), width=140)
    console.print(shown.live.get_renderable())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_progress_is_read_from_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(view.time, "monotonic", lambda: clock[0])
    one, two, three = (Job(name, tiny(steps=1000), tmp_path / name, 1) for name in ("one", "two", "three"))
    write_rows(two, 100, 300)  # it goes on with what an earlier sweep left
    shown = View([one, two, three], complete=2, quiet=False)
    shown.began(one)
    shown.began(two)
    whole, first, second = looks(shown)
    assert whole.startswith("2 of 5 runs, 2 at work")
    assert "steps/s" not in whole
    assert (first.split()[0], first.split()[-1]) == ("one", "starting")
    assert "300/1000" in second

    write_rows(one, 50, 200, torn='{"step": 250, "lo')
    clock[0] = 110.0
    whole, first, _ = looks(shown)
    # 200 steps in 10 s; 3,000 of all runs less 300 and 200 are left
    assert whole.endswith("20 steps/s, 0:02:05 left")
    assert "200/1000" in first
    assert first.rstrip().endswith("loss 0.005  recall 0.200  transfer -")

    shown.ended(Outcome(two, "failed", "runs/two: [it] broke"))
    write_rows(one, 1000)
    shown.ended(Outcome(one, "complete"))
    shown.began(three)
    clock[0] = 120.0
    whole, only = looks(shown)
    # 1,000 steps in 20 s, and what the failed run left undone is not among them
    assert whole.startswith("3 of 5 runs, 1 at work, 1 failed")
    assert whole.endswith("50 steps/s, 0:00:20 left")
    assert only.startswith("three")
    assert capsys.readouterr().err.splitlines() == [
        "mechxl: runs/two: [it] broke",
        "4/5 one: complete, loss 0.001  recall 1.000  transfer -",
    ]


def test_the_newest_row_is_the_last_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    job = Job("run", tiny(), tmp_path / "run", 1)
    assert newest_row(job.out) is None
    write_rows(job, torn='{"step"')
    assert newest_row(job.out) is None
    write_rows(job, *range(1, 3000), torn='{"step"')
    assert (newest_row(job.out) or {})["step"] == 2999
    monkeypatch.setattr(view, "TAIL", 130)  # begins within the row before
    assert (newest_row(job.out) or {})["step"] == 2999
