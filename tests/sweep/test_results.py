"""A sweep at scale: rows that are kept, the table while runs are at work, all runs as a DataFrame, and the dry run."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mechxl
from mechxl.config import parse_config
from mechxl.errors import InputError
from mechxl.measures.transitions import onset, quick_half_rise
from mechxl.questions.phases.curves import metric_onsets
from mechxl.run import Run
from mechxl.sweep import parse_study, results, sweep, twins
from mechxl.sweep.__main__ import main
from mechxl.sweep.cost import cost
from mechxl.sweep.dry import dry_run
from mechxl.sweep.engine import Job, Outcome
from mechxl.sweep.engines.gpu import gpu
from mechxl.sweep.engines.local import local
from mechxl.sweep.table import Table
from mechxl.training.loop import train_run
from tests.model.plain import TINY
from tests.sweep.processes import write_study

STUDY = parse_study({"base": TINY, "seeds": 2, "grid": {"mixture.parallel_fraction": [0.5, 1]}}, "four")


def here(
    jobs: Sequence[Job],
    workers: int,
    began: Callable[[Job], None],
    stopping: Callable[[], bool],
    say: Callable[[str], None],
) -> Generator[Outcome, None, None]:
    """An engine that trains in this process."""
    for job in jobs:
        began(job)
        train_run(job.config, job.out, resume=True, quiet=True)
        yield Outcome(job, "complete")


@pytest.fixture
def four(tmp_path: Path) -> tuple[pd.DataFrame, Path]:
    return sweep(STUDY, tmp_path, engine=here, quiet=True), tmp_path


def test_complete_runs_are_not_opened_again_unless_a_file_has_changed(
    four: tuple[pd.DataFrame, Path], monkeypatch: pytest.MonkeyPatch
):
    table, out = four

    def opened(path: Path) -> Run:
        raise AssertionError(f"{path} was opened")

    with monkeypatch.context() as patch:
        for module in (results, twins):
            patch.setattr(module, "Run", opened)
        pd.testing.assert_frame_equal(sweep(STUDY, out, engine=here, quiet=True), table)
        assert mechxl.runs(out)["recall_accuracy"].tolist() == table.sort_values("run")["recall_accuracy"].tolist()
    rows = out / table["run"][1] / "metrics.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b'"step": 0', b'"step": 1'))

    def never(jobs: Sequence[Job], *_: object) -> Generator[Outcome, None, None]:
        assert [job.name for job in jobs] == [table["run"][1]]
        yield Outcome(jobs[0], "failed", f"{jobs[0].out}: is damaged")

    again = sweep(STUDY, out, engine=never, quiet=True)
    assert list(again["status"]) == ["complete", "failed", "complete", "complete"]
    others = [frame.iloc[[0, 2, 3]][["run", "steps", "loss", "recall_accuracy"]] for frame in (again, table)]
    pd.testing.assert_frame_equal(*others, check_dtype=False)
    damaged = mechxl.runs(out).loc[table["run"][1]]
    assert damaged["status"] == "damaged"
    assert "metrics.jsonl has other content" in damaged["reason"]


def test_the_table_is_written_while_runs_are_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Table, "EVERY", -1.0)
    monkeypatch.setattr(Table, "SHARE", float("inf"))
    seen: list[list[str]] = []

    def watched(jobs: Sequence[Job], *arguments: object) -> Generator[Outcome, None, None]:
        for job in jobs[:2]:
            yield Outcome(job, "failed", "it broke")
            seen.append(list(pd.read_parquet(tmp_path / "sweep.parquet")["run"]))

    sweep(STUDY, tmp_path, engine=watched, quiet=True)
    names = [run.name for run in STUDY.runs]
    assert seen == [names[:1], names[:2]]


def test_runs_are_a_table_that_opens_each(four: tuple[pd.DataFrame, Path]):
    table, out = four
    (out / "later").mkdir()
    (out / "later" / "config.toml").write_bytes((out / table["run"][0] / "config.toml").read_bytes())
    found = mechxl.runs(out)
    assert list(found.columns[:4]) == ["seed", "mixture.parallel_fraction", "status", "reason"]
    assert found["status"]["later"] == "not complete"
    assert found["seed"].tolist() == [0, 0, 1, 0, 1]  # "later" is the first by name
    assert not any("manifest" in vars(run) for run in found["run"])  # none is open yet
    for row in table.to_dict("records"):
        own = found.loc[row["run"]]
        run = Run(row["path"])
        assert isinstance(own["run"], Run)
        assert str(out / row["run"]) in repr(own["run"])
        assert own["run"].metrics.equals(run.metrics)
        assert own["loss"] == run.metrics["loss"].iloc[-1] == row["loss"]
        assert own["rest_reason"] == run.rest.reason
        size = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
        assert own["megabytes"] == pytest.approx(size / 1e6, rel=0.06)
    with pytest.raises(InputError, match="holds no runs; name a directory"):
        mechxl.runs(out / "later")
    dated = mechxl.runs(out, onsets=True)
    assert dated[found.columns[:-1]].equals(found[found.columns[:-1]])
    assert pd.isna(dated["recall_outcome"]["later"])
    ended = dated[dated["status"] == "complete"]
    for row in ended.to_dict("records"):
        own = metric_onsets(row["run"]).set_index("quantity").loc["recall"]
        assert row["recall_outcome"] == own["outcome"]
        assert str(row["recall_onset_high"]) == str(own["high"])


def test_the_dry_run_counts_and_writes_nothing(
    four: tuple[pd.DataFrame, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    _, out = four
    wide = {"name": "wide", "model.d_model": 32}
    study = write_study(tmp_path / "study.toml", seeds=3, runs=[{"name": "plain"}, wide])
    assert main([str(study), "--dry-run", "--engine", "gpu", "--out", str(tmp_path / "none")]) == 0
    first, *shapes, time, _ = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path / 'none'}: 6 runs, 0 complete, 6 to train"
    assert [line.split(":")[0].strip() for line in shapes] == [
        f"3 runs of 12 steps x 16 sentences, 1 layers, d_model {width}, together in 1 groups of at most 3"
        for width in (16, 32)
    ]
    assert time.startswith("time: about 0:00:0")
    assert not (tmp_path / "none").exists()
    before = sorted(out.rglob("*"))
    one = {"base": TINY, "seeds": 3, "grid": {"mixture.parallel_fraction": [0.5, 1]}}
    for engine in (local, gpu):
        lines = dry_run(parse_study(one), out, engine).splitlines()
        assert lines[0] == f"{out}: 6 runs, 4 complete, 2 to train"
        megabytes = float(lines[1].rpartition("and ")[2].removesuffix(" MB each"))
        size = sum(path.stat().st_size for path in Path(out, STUDY.runs[0].name).rglob("*") if path.is_file())
        assert megabytes == pytest.approx(size / 1e6, rel=0.1)
    assert dry_run(STUDY, out, local).endswith("nothing is to be done")
    assert cost(parse_config({"training": {"checkpoints": 2}})).megabytes < 1.5  # the default run with two checkpoints
    assert sorted(out.rglob("*")) == before


def test_the_quick_half_rise_is_the_slow_one_and_a_flat_curve_has_none():
    rng, step = np.random.default_rng(0), np.arange(0, 3001, 50)
    with np.errstate(divide="ignore"):
        curve = 0.1 + 0.8 / (1 + (500 / step) ** 6)
    assert quick_half_rise(step, curve) == pytest.approx(500, rel=0.02)
    noisy = curve + 0.005 * rng.normal(size=len(step))
    assert quick_half_rise(step, noisy) == pytest.approx(onset(step, noisy, rng).half.step)
    assert np.isnan(quick_half_rise(step, 0.1 + 0.005 * rng.normal(size=len(step))))
    assert np.isnan(quick_half_rise(step, np.full(len(step), np.nan)))
    assert np.isnan(quick_half_rise(step[:3], curve[:3]))
