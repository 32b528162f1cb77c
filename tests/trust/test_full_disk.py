"""A full disk, a limit of size or memory, no permission: one sentence, nothing half-written, and later it goes on."""

import os
import resource
import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mechxl import activations, ask
from mechxl.__main__ import main as mechxl
from mechxl.errors import Failure, InputError
from mechxl.run import Run
from mechxl.sweep import parse_study, sweep
from mechxl.sweep.engine import Job, Outcome
from mechxl.training.loop import train_run
from tests.model.plain import TINY, command_line, contents, tiny
from tests.trust.limits import as_nobody, disk, fill, limited, memory, read_only, resize

SHORT = [*command_line(tiny(steps=6, checkpoints=3)), "--quiet"]
FULL = "No space left on device"


def refused(capsys: pytest.CaptureFixture[str], argv: Sequence[str | Path], *said: str) -> None:
    """A command that can't be carried out says why in one sentence."""
    status = mechxl([str(argument) for argument in argv])
    error = capsys.readouterr().err
    assert status in (1, 2), error
    assert error.count("\n") == 1, error
    assert all(part in error for part in ("mechxl: ", *said)), error


def test_training_on_small_disks(tmp_path: Path, whole: Run, capsys: pytest.CaptureFixture[str]):
    out, full, begun = tmp_path / "disk" / "run", 0, 0
    argv = ["train", "--out", str(out), "--resume", *SHORT]
    with disk(tmp_path / "disk", 4) as place:
        for size in (8, 24, 48, 64, 80, 96, 112, 128, 160, 4600):
            resize(place, size)
            if size < 4600:
                refused(capsys, argv, "can't be written", FULL)
                full, begun = full + 1, begun + out.exists()
                assert {path.name for path in place.iterdir()} <= {"run"}
                if out.exists():
                    assert Run(out).rows[-1]["step"] in (0, 1, 6)
                    assert not list(out.rglob("*.partial"))
        assert mechxl(argv) == 0
        assert contents(out) == contents(whole.path)
        assert full == 9
        assert begun > 1


def test_a_full_disk_under_a_run_that_is_replaced(tmp_path: Path, whole: Run, capsys: pytest.CaptureFixture[str]):
    with disk(tmp_path / "disk", 1000) as place:
        shutil.copytree(whole.path, place / "run")
        fill(place, 8192 * 4)
        before = contents(place)
        argv = ["train", "--out", str(place / "run"), "--overwrite", *SHORT, "--training.order-seed", "1"]
        refused(capsys, argv, FULL)
        assert contents(place) == before
        (place / "filler").unlink()
        assert mechxl(argv) == 0
        assert [path.name for path in place.iterdir()] == ["run"]


def test_pages_on_a_small_disk(run: Path, tmp_path: Path, own, capsys: pytest.CaptureFixture[str]):
    argv = ["report", str(run), "--only", own(), "--quiet", "--out"]
    with disk(tmp_path / "disk", 500) as place:
        for plotly in ("inline", "beside"):
            refused(capsys, [*argv, place / "page.html", "--plotly", plotly], FULL)
            assert list(place.iterdir()) == []
        resize(place, 1000)  # room for one page, and not for another beside it
        assert mechxl([*argv, str(place / "page.html")]) == 0
        earlier = (place / "page.html").read_bytes()
        assert 500 < len(earlier) / 1024 < 1000 < 2 * len(earlier) / 1024
        refused(capsys, [*argv, place / "page.html"], FULL)
        assert contents(place) == {"page.html": earlier}


def test_findings_and_activations_on_a_full_disk(run: Path, tmp_path: Path, own, capsys: pytest.CaptureFixture[str]):
    question = own()
    expected = activations(Run(run), steps=[0, 6]).values
    with disk(tmp_path / "disk", 4600) as place:
        copy = shutil.copytree(run, place / "run", ignore=shutil.ignore_patterns("activations.zarr"))
        fill(place, 4096 * 6)
        assert np.array_equal(activations(Run(copy), steps=[0, 6]).values, expected, equal_nan=True)
        assert "activations are computed but not saved" in capsys.readouterr().err
        assert not list(copy.rglob("*.partial"))
        (place / "filler").unlink()
        fill(place, 0)
        found = ask(Run(copy), question)
        assert "the answer is not kept" in capsys.readouterr().err
        assert contents(copy / "findings") == {} if (copy / "findings").exists() else True
        (place / "filler").unlink()
        assert ask(Run(copy), question).summary == found.summary
        assert np.array_equal(activations(Run(copy), steps=[0, 6]).values, expected, equal_nan=True)
        assert (copy / "findings" / f"{question}.json").exists()
        assert capsys.readouterr().err == ""


def one_by_one(
    jobs: Sequence[Job], workers: int, began: Callable[[Job], None], *_: Callable[..., object]
) -> Generator[Outcome, None, None]:
    """An engine that trains in this process."""
    for job in jobs:
        began(job)
        try:
            train_run(job.config, job.out, resume=True, quiet=True)
            yield Outcome(job, "complete")
        except (Failure, InputError) as error:
            yield Outcome(job, "failed", str(error))


STUDY = parse_study({"base": TINY | {"training": TINY["training"] | {"steps": 6, "checkpoints": 3}}, "seeds": 2}, "s")


def test_a_sweep_on_a_small_disk(tmp_path: Path, whole: Run):
    out = tmp_path / "disk" / "sweep"
    with disk(tmp_path / "disk", 60) as place:
        for size in (60, 200):
            resize(place, size)
            table = sweep(STUDY, out, engine=one_by_one, quiet=True)
            assert set(table["status"]) == {"failed"}
            assert table["reason"].str.contains(FULL).all()
        fill(place, 0)
        with pytest.raises(Failure, match=r"sweep\.parquet: can't be written .*; make room"):
            sweep(STUDY, out, engine=one_by_one, quiet=True)
        assert pd.read_parquet(out / "sweep.parquet").equals(table)
        assert not list(place.rglob("*.partial"))
        resize(place, 4600)
        assert set(sweep(STUDY, out, engine=one_by_one, quiet=True)["status"]) == {"complete"}
        assert contents(out / "seed=0") == contents(whole.path)


@pytest.mark.parametrize("most", [50, 3000, 12_000])
def test_a_limit_of_a_files_size(run: Path, tmp_path: Path, whole: Run, own, seen, capsys, most: int):
    question = own()
    before = seen(tmp_path)
    with limited(resource.RLIMIT_FSIZE, most):
        refused(capsys, ["train", "--out", tmp_path / "new", *SHORT], "File too large")
        refused(capsys, ["train", "--out", run, "--overwrite", *SHORT], "File too large")
        argv = ["report", str(run), "--only", question, "--quiet", "--out", str(tmp_path / "page.html")]
        assert mechxl(argv) == 2
        assert "File too large" in capsys.readouterr().err
    assert {name: what for name, what in seen(tmp_path).items() if "findings" not in name} == before
    assert mechxl(argv) == 0
    assert mechxl(["train", "--out", str(tmp_path / "new"), *SHORT]) == 0
    assert contents(tmp_path / "new") == contents(whole.path)


def test_little_memory(tmp_path: Path, whole: Run, seen, capsys: pytest.CaptureFixture[str]):
    before = seen(tmp_path)
    wide = ["--model.d-model", "1024", "--model.d-mlp", "131072"]  # a gigabyte of parameters
    with memory(2**28):
        refused(capsys, ["train", "--out", tmp_path / "new", *SHORT, *wide], "memory ran out")
    assert seen(tmp_path) == before
    assert mechxl(["train", "--out", str(tmp_path / "new"), *SHORT]) == 0
    assert contents(tmp_path / "new") == contents(whole.path)


@pytest.fixture
def theirs(run: Path, tmp_path: Path, own) -> tuple[Path, str]:
    """Somebody else's run, and a question that was asked of another copy, so that all code is imported."""
    question = own()
    shutil.copytree(run, tmp_path / "first")
    assert mechxl(["report", str(tmp_path / "first"), "--only", question, "--quiet", "--out", f"{run}.html"]) == 0
    assert mechxl(["check", str(tmp_path / "first")]) == 0
    path = run
    while path != path.parent and path != Path("/tmp"):
        path = path.parent
        path.chmod(path.stat().st_mode | 0o055)
    return run, question


def test_no_permission(theirs: tuple[Path, str], tmp_path: Path, seen, capsys: pytest.CaptureFixture[str]):
    run, question = theirs
    (run / "COMPLETE").unlink()
    study = tmp_path / "study.toml"
    study.write_text("seeds = 1\n")
    no = "Permission denied"
    capsys.readouterr()
    before = seen(tmp_path)
    with as_nobody():
        refused(capsys, ["train", "--out", tmp_path / "new", *SHORT], no)
        refused(capsys, ["train", "--out", run, "--overwrite", *SHORT], no)
        refused(capsys, ["report", run, "--only", question, "--quiet", "--out", tmp_path / "new.html"])
        refused(capsys, ["check", run, "--accept"])
        refused(capsys, ["sweep", study, "--out", tmp_path / "sweep"], no)
    for name in ("metrics.jsonl", "config.toml"):
        (run / name).chmod(0)
        with as_nobody():
            refused(capsys, ["report", run, "--only", question, "--quiet"], name, no)
            refused(capsys, ["train", "--out", run, "--resume", *SHORT], no)
        (run / name).chmod(0o644)
    run.chmod(0)
    with as_nobody():
        refused(capsys, ["report", run, "--only", question, "--quiet"], no)
        refused(capsys, ["train", "--out", run, "--resume", *SHORT], no)
    run.chmod(0o755)
    assert {name: what[1] for name, what in seen(tmp_path).items()} == {name: what[1] for name, what in before.items()}


def test_a_disk_that_can_not_be_written(run: Path, tmp_path: Path, own, seen, capsys: pytest.CaptureFixture[str]):
    question = own()
    before = seen(run)
    study = tmp_path / "study.toml"
    study.write_text("seeds = 1\n")
    said = "Read-only file system"
    with read_only(run.parent, tmp_path / "disk") as place:
        for argv in (
            ["train", "--out", place / "new", *SHORT],
            ["train", "--out", place / "run", "--overwrite", *SHORT],
            ["sweep", study, "--out", place / "sweep"],
            ["check", place / "run", "--accept"],
        ):
            refused(capsys, argv, said)
        page = place / "page.html"
        refused(capsys, ["report", place / "run", "--only", question, "--quiet", "--out", page], "can't be written")
        elsewhere = ["--quiet", "--out", str(tmp_path / "page.html")]
        assert mechxl(["report", str(place / "run"), "--only", question, *elsewhere]) == 0  # what is read is right
        assert "the answer is not kept" in capsys.readouterr().err
    assert seen(run) == before
    assert os.path.getsize(tmp_path / "page.html") > 10_000  # noqa: PTH202
