"""What a sweep makes of an engine's outcomes: the table, what is skipped, and Ctrl-C; the engine is the tests' own."""

import shutil
import signal
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from mechxl.errors import Failure, InputError
from mechxl.run import Run
from mechxl.sweep import parse_study, sweep
from mechxl.sweep.engine import Job, Outcome
from mechxl.sweep.engines import ENGINES
from mechxl.sweep.table import summary
from tests.model.plain import TINY
from tests.sweep.processes import train_alone
from tests.zygote import Zygote

STUDY = parse_study(
    {
        "base": TINY,
        "seeds": 2,
        "grid": {"mixture.parallel_fraction": [0.5, 1], "training.betas": [[0.9, 0.98]]},
        "runs": [{"name": "plain"}, {"name": "odd", "languages": {"word_order": "varied"}, "seeds": 1}],
    },
    "small",
)


class OneByOne:
    """An engine that trains one run after another, fails those whose name holds a word, and keeps what it was given."""

    def __init__(self, zygote: Zygote, failing: str = "no such run") -> None:
        self.zygote, self.failing, self.given, self.closed = zygote, failing, [], False

    def __call__(
        self,
        jobs: Sequence[Job],
        workers: int,
        began: Callable[[Job], None],
        stopping: Callable[[], bool],
        say: Callable[[str], None],
    ) -> Generator[Outcome, None, None]:
        try:
            for job in jobs:
                self.given.append(job.name)
                began(job)
                if self.failing in job.name:
                    yield Outcome(job, "failed", f"{job.out}: it broke")
                elif stopping():
                    yield Outcome(job, "stopped", f"{job.out}: not started")
                else:
                    train_alone(self.zygote, job.config, job.out)
                    yield Outcome(job, "complete")
        finally:
            self.closed = True


@pytest.fixture(scope="module")
def swept(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    out = tmp_path_factory.mktemp("swept")
    table = sweep(STUDY, out, engine=OneByOne(zygote, "=1,betas=0.9+0.98,seed=1"), quiet=True)
    shutil.copy(out / "sweep.parquet", out.with_suffix(".parquet"))  # other tests carry on with this sweep
    return table, out


def test_the_table_holds_what_the_runs_hold(swept: tuple[pd.DataFrame, Path]):
    table, out = swept
    read = pd.read_parquet(out.with_suffix(".parquet"))
    assert list(read["run"]) == [run.name for run in STUDY.runs]
    assert list(read.columns) == list(table.columns)
    assert list(read.columns[:9]) == [
        *("run", "path", "variant", "languages.word_order", "mixture.parallel_fraction", "training.betas"),
        *("seed", "status", "reason"),
    ]
    assert list(read["status"]) == ["complete", "complete", "complete", "failed", "complete", "complete"]
    assert list(read["languages.word_order"]) == ["same"] * 4 + ["varied"] * 2
    assert list(read["mixture.parallel_fraction"]) == [0.5, 0.5, 1, 1, 0.5, 1]
    assert list(read["seed"]) == [0, 1, 0, 1, 0, 0]
    assert list(read["training.betas"][0]) == [0.9, 0.98]
    for row in read.to_dict("records"):
        if row["status"] == "failed":
            assert row["reason"] == f"{out / row['run']}: it broke"
            assert pd.isna(row["recall_accuracy"])
            assert row["steps"] == 0
            continue
        run = Run(row["path"])
        assert pd.isna(row["reason"])
        assert row["steps"] == 12
        last = run.metrics.drop(columns="step").to_dict("records")[-1]
        assert len(last) > 20
        for name, value in last.items():
            assert row[name] == value or (pd.isna(value) and pd.isna(row[name])), name
        assert row["wall_seconds"] == run.environment["wall_seconds"]
        assert row["threads"] == run.environment["threads"]
        assert row["examples_per_second"] == pytest.approx(12 * 16 / row["wall_seconds"])


def test_the_summary_is_of_complete_runs(swept: tuple[pd.DataFrame, Path]):
    table, _ = swept
    lines = [line.split() for line in summary(table, STUDY.varied).splitlines()]
    assert lines[0] == ["variant", "word_order", "parallel_fraction", "n", "recall", "transfer", "rest"]
    assert [line[:4] for line in lines[1:]] == [
        ["plain", "same", "0.5", "2"],
        ["plain", "same", "1.0", "1"],
        ["odd", "varied", "0.5", "1"],
        ["odd", "varied", "1.0", "1"],
    ]
    means = table.iloc[:2][["recall_accuracy", "transfer_accuracy"]].mean()
    assert lines[1][4:6] == [f"{mean:.3f}" for mean in means]
    complete = table[table["status"] == "complete"]
    rests = [Run(path).rest.rests for path in complete["path"]]
    assert [None if pd.isna(rest) else rest for rest in complete["rests"]] == rests
    assert lines[1][6] == ("-" if rests[:2] == [None, None] else f"{rests[:2].count(True)}/2")
    assert lines[2][5] == "-"  # all facts are parallel: nothing to transfer


def test_only_what_is_not_complete_is_done_again(swept: tuple[pd.DataFrame, Path], zygote: Zygote, capsys):
    _, out = swept
    engine = OneByOne(zygote)
    again = sweep(STUDY, out, engine=engine)
    assert engine.given == ["plain,parallel_fraction=1,betas=0.9+0.98,seed=1"]
    assert set(again["status"]) == {"complete"}
    assert again["reason"].isna().all()
    err = capsys.readouterr().err
    assert err.startswith(f"6/6 {engine.given[0]}: complete, loss ")
    shutil.rmtree(out / engine.given[0])
    sweep(STUDY, out, engine=engine, quiet=True)
    assert len(engine.given) == 2
    assert capsys.readouterr().err == ""


def test_ctrl_c_writes_the_table_of_what_is_complete(zygote: Zygote, tmp_path: Path):
    before = signal.getsignal(signal.SIGINT)

    class Pressed(OneByOne):
        def __call__(self, jobs, workers, began, stopping, say):
            for outcome in super().__call__(jobs, workers, began, stopping, say):
                if len(self.given) == 2:
                    signal.raise_signal(signal.SIGINT)
                yield outcome

    with pytest.raises(KeyboardInterrupt, match="4 of 6 runs not finished; run the same command again"):
        sweep(STUDY, tmp_path, engine=Pressed(zygote), quiet=True)
    assert list(pd.read_parquet(tmp_path / "sweep.parquet")["status"]) == ["complete"] * 2 + ["stopped"] * 4
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_closes_the_engine_at_once(zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    engine = OneByOne(zygote)

    def ended(view: object, outcome: Outcome) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("mechxl.sweep.view.View.ended", ended)
    with pytest.raises(KeyboardInterrupt, match="stopped at once"):
        sweep(STUDY, tmp_path, engine=engine, quiet=True)
    assert engine.closed
    assert len(engine.given) == 2
    assert not (tmp_path / "sweep.parquet").exists()


def test_a_table_of_failures_only(zygote: Zygote, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Also quiet, each is named."""
    table = sweep(STUDY, tmp_path, engine=OneByOne(zygote, "seed"), quiet=True)
    assert set(pd.read_parquet(tmp_path / "sweep.parquet")["status"]) == {"failed"}
    assert capsys.readouterr().err.splitlines() == [f"mechxl: {reason}" for reason in table["reason"]]
    assert summary(table.drop(columns="variant"), ()).split() == ["n", "recall", "transfer", "rest", "0", "-", "-", "-"]


def test_what_an_engine_raises_is_not_swallowed(tmp_path: Path):
    def broken(jobs, workers, began, stopping, say):
        raise Failure("the engine is gone")
        yield

    with pytest.raises(Failure, match="the engine is gone"):
        sweep(STUDY, tmp_path, engine=broken, quiet=True)


def test_an_engine_is_named_by_its_row_in_the_table(zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    given = OneByOne(zygote, "seed")
    monkeypatch.setitem(ENGINES, "mine", given)
    sweep(STUDY, tmp_path, engine="mine", quiet=True)
    assert len(given.given) == len(STUDY.runs)
    with pytest.raises(
        InputError, match="engine = condor: there is no such engine; there are: auto, local, gpu, slurm, ray, mine"
    ):
        sweep(STUDY, tmp_path, engine="condor")
