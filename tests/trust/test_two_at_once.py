"""Two of everything at once: trainers, reports, sweeps, on one machine and on two."""

import json
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from filelock import FileLock

from mechxl import ask, lock
from mechxl.config import TrainingConfig
from mechxl.errors import Busy, Failure
from mechxl.lock import Lease, hold, is_held
from mechxl.report.__main__ import main as report
from mechxl.run import Run
from mechxl.sweep import parse_study, sweep, twins
from mechxl.sweep.engine import Job, Outcome
from mechxl.training import loop
from mechxl.training.loop import train_run
from mechxl.training.schedule import learning_rate
from tests.model.plain import TINY, contents, tiny

DENSE = tiny(steps=12, checkpoints=12, evaluate_every=3)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Two machines without a common flock, and short times; gives what chooses the machine that one is on."""
    monkeypatch.setattr(FileLock, "acquire", lambda *_, **__: None)
    monkeypatch.setattr(lock, "BEAT", 0.02)
    monkeypatch.setattr(lock, "SILENCE", 0.5)
    return lambda name: monkeypatch.setattr(lock, "_machine", lambda: name)


def other_lease(directory: Path) -> Lease:
    """The lease of a process on another machine, without a sign of life."""
    lease = replace(Lease.own(), machine="other", host="other", pid=7)
    (directory / "lease").write_text(json.dumps(asdict(lease)))
    return lease


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], object]) -> None:
    """Does something in a training, before the update of a step."""

    def rate(training: TrainingConfig, now: int) -> float:
        if now == step:
            action()
        return learning_rate(training, now)

    monkeypatch.setattr(loop, "learning_rate", rate)


def test_a_trainer_on_another_machine_is_seen_by_its_signs_of_life(machines, tmp_path: Path, capsys):
    machines("one")
    with hold(tmp_path, tmp_path) as first:
        machines("two")
        assert is_held(tmp_path)
        said = rf"another process is training this run \(process {first.lease.pid} on "
        with pytest.raises(Busy, match=said), hold(tmp_path, tmp_path):
            pass
        assert "waiting 0 s for a sign of life" in capsys.readouterr().err
        first.check()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_without_signs_of_life_is_taken_over(machines, tmp_path: Path):
    machines("one")
    other_lease(tmp_path)
    started = time.monotonic()
    with hold(tmp_path, tmp_path, quiet=True) as held:
        assert time.monotonic() - started >= 0.5
        held.check()
        other = other_lease(tmp_path)  # it wakes up, and takes it back
        with pytest.raises(Failure, match="process 7 on other has taken it over; nothing more is written"):
            held.check()
    assert Lease.read(tmp_path) == other


def test_the_lease_of_a_process_that_was_killed_here_is_void_at_once(tmp_path: Path):
    (tmp_path / "lock").touch()
    (tmp_path / "lease").write_text(json.dumps(asdict(replace(Lease.own(), pid=2**22 + 1))))
    assert not is_held(tmp_path)
    with hold(tmp_path, tmp_path) as held:
        held.check()


def test_a_trainer_that_lost_its_lease_writes_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "run"
    expected = contents(train_run(DENSE, tmp_path / "whole", quiet=True).path)
    before: dict[str, bytes] = {}

    def lose() -> None:
        other_lease(out)
        before.update(contents(out))

    with monkeypatch.context() as patch:
        at_step(patch, 6, lose)
        with pytest.raises(Failure, match="process 7 on other has taken it over"):
            train_run(DENSE, out, quiet=True)
    assert {**contents(out), "lock": b""} == before
    with monkeypatch.context() as patch:
        patch.setattr(lock, "SILENCE", 0.3)
        run = train_run(DENSE, out, resume=True, quiet=True)
    assert contents(run.path) == expected


def test_reports_during_training_show_one_moment(tmp_path: Path, own, monkeypatch: pytest.MonkeyPatch):
    """A run that was opened earlier shows what was there then; nothing that training adds disturbs a report."""
    out, question, opened, due = tmp_path / "run", own(), list[Run](), DENSE.training.checkpoint_steps()

    def look() -> None:
        opened.append(Run(out))
        assert report([str(out), "--only", "learning", question, "--quiet", "--out", str(tmp_path / "page.html")]) == 0

    def look_again() -> None:
        (run,) = opened
        assert run.steps == [step for step in due if step <= 5]
        assert ask(run, "learning").tables["rates"]["step"].max() == 5
        assert run.foreign == []
        assert Run(out).steps == [step for step in due if step <= 9]

    with monkeypatch.context() as patch:

        def rate(training: TrainingConfig, now: int) -> float:
            {5: look, 9: look_again}.get(now, lambda: None)()
            return learning_rate(training, now)

        patch.setattr(loop, "learning_rate", rate)
        train_run(DENSE, out, quiet=True)
    assert "Training is under way: step 5 of 12" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_two_reports_at_once(run: Path, tmp_path: Path, own):
    question, page = own(), tmp_path / "page.html"
    argv = [str(run), "--only", question, "--quiet", "--out"]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: report([*argv, str(page)]), range(4))) == [0] * 4
    assert report([*argv, str(tmp_path / "alone.html")]) == 0
    assert page.read_bytes() == (tmp_path / "alone.html").read_bytes()
    assert not list(tmp_path.rglob("*.partial"))


def test_two_trainers_begin_at_once(tmp_path: Path):
    """One trains, the other is told so; or it comes later and finds the run complete."""

    def train(_: int) -> str:
        try:
            return str(train_run(DENSE, tmp_path / "run", quiet=True).complete)
        except Busy:
            return "busy"

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(train, range(2)))
    assert "True" in ended
    assert set(ended) <= {"True", "busy"}
    assert Run(tmp_path / "run").complete
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


STUDY = parse_study({"base": TINY, "seeds": 2}, "twins")


@pytest.mark.parametrize("other_ends", [True, False])
def test_a_sweep_waits_for_the_run_that_its_twin_trains(tmp_path: Path, monkeypatch, capsys, other_ends: bool):
    monkeypatch.setattr(twins, "WAKE", 0.02)
    passed, began, other = threading.Event(), threading.Event(), list[int]()
    first = STUDY.runs[0]

    def rate(training: TrainingConfig, now: int) -> float:
        if threading.get_ident() in other and now == 3:
            began.set()
            assert passed.wait(60)
            if not other_ends:
                raise Failure("it stops")
        return learning_rate(training, now)

    def twin() -> None:
        other.append(threading.get_ident())
        try:
            train_run(first.config, tmp_path / first.name, resume=True, quiet=True)
        except Failure:
            pass
        finally:
            other.clear()

    def engine(
        jobs: Sequence[Job], workers: int, began: Callable[[Job], None], *_: Callable[..., object]
    ) -> Generator[Outcome, None, None]:
        for job in jobs:
            began(job)
            try:
                train_run(job.config, job.out, resume=True, quiet=True)
                yield Outcome(job, "complete")
            except Busy as error:
                yield Outcome(job, "elsewhere", str(error))
        passed.set()

    monkeypatch.setattr(loop, "learning_rate", rate)
    thread = threading.Thread(target=twin)
    thread.start()
    assert began.wait(60)
    table = sweep(STUDY, tmp_path, engine=engine)
    thread.join()
    assert list(table["status"]) == ["complete", "complete"]
    assert table["reason"].isna().all()
    assert f"another process trains 1 of the runs ({first.name}); waiting for it" in capsys.readouterr().err
    for run in STUDY.runs:
        alone = train_run(run.config, tmp_path / "alone" / run.name, quiet=True)
        assert contents(tmp_path / run.name) == contents(alone.path)
