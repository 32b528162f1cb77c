"""The engine that trains many runs at once; it works on the CPU as well, which is where these tests are."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mechxl.errors import InputError
from mechxl.run import Run
from mechxl.sweep import cost, engines, parse_study, sweep
from mechxl.sweep.engine import Job
from mechxl.sweep.engines.automatic import automatic, gain_together
from mechxl.sweep.engines.gpu import gpu
from mechxl.training import ensemble
from tests.model.plain import TINY

SHAPES = {
    "base": TINY | {"training": TINY["training"] | {"device": "cpu", "threads": 1}},
    "seeds": 2,
    "runs": [{"name": "small", "model.d_mlp": 32}, {"name": "large", "model.d_mlp": 64}],
}


def test_the_table_is_that_of_the_local_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    study = parse_study(SHAPES, "shapes")
    tables = [
        sweep(study, tmp_path / name, engine=name, workers=1, quiet=True).drop(
            columns=["path", "wall_seconds", "examples_per_second", "megabytes"]
        )
        for name in ("local", "gpu")
    ]
    assert (tables[1]["status"] == "complete").all()
    assert capsys.readouterr().err == ""  # quiet, also about the sizes of groups
    numbers = tables[0].select_dtypes(float).columns
    np.testing.assert_allclose(tables[1][numbers], tables[0][numbers], rtol=1e-5, atol=2e-6)
    pd.testing.assert_frame_equal(tables[1].drop(columns=numbers), tables[0].drop(columns=numbers))


def silent(sentence: str) -> None:
    pass


def jobs(out: Path, n: int = 3) -> list[Job]:
    study = parse_study(SHAPES | {"seeds": n, "runs": [{"name": "small"}]}, "one")
    return [Job(run.name, run.config, out / run.name, 1) for run in study.runs]


def test_where_memory_runs_out_a_group_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sizes, whole = [], ensemble.train_together

    def small(runs, **options):
        sizes.append(len(runs))
        if len(runs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(runs, **options)

    monkeypatch.setattr(ensemble, "train_together", small)
    outcomes = list(gpu(jobs(tmp_path), 1, lambda job: None, lambda: False, silent))
    assert sizes == [3, 1, 2, 1, 1]
    assert {outcome.job.name for outcome in outcomes} == {job.name for job in jobs(tmp_path)}
    assert all(outcome.status == "complete" for outcome in outcomes)


def test_what_breaks_in_a_group_is_an_outcome_of_each_of_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(runs, **options):
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(ensemble, "train_together", broken)
    outcomes = list(gpu(jobs(tmp_path), 1, lambda job: None, lambda: False, silent))
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [
        ("failed", f"{job.out}: RuntimeError: an illegal memory access") for job in jobs(tmp_path)
    ]


def test_stopped_it_saves_all_and_a_later_sweep_ends_the_same(tmp_path: Path):
    def stopped_after(updates: int):
        left = [updates]

        def stopping() -> bool:
            left[0] -= 1
            return left[0] < 0

        return stopping

    whole = list(gpu(jobs(tmp_path / "whole"), 1, lambda job: None, lambda: False, silent))
    first = list(gpu(jobs(tmp_path / "run"), 1, lambda job: None, stopped_after(5), silent))
    assert {outcome.status for outcome in first} == {"stopped"}
    assert "stopped at step 5 of" in first[0].reason
    again = list(gpu(jobs(tmp_path / "run"), 1, lambda job: None, lambda: False, silent))
    for one, other in zip(whole, again, strict=True):
        assert one.status == other.status == "complete"
        metrics = [outcome.job.out / "metrics.jsonl" for outcome in (one, other)]
        assert metrics[0].read_bytes() == metrics[1].read_bytes()


def test_auto_is_the_gpu_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engines, "DRIVER", tmp_path / "none")
    assert engines.pick_engine("auto") is automatic
    monkeypatch.setattr(engines, "DRIVER", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert engines.pick_engine("auto") is gpu
    with pytest.raises(InputError, match="engine = condor: there is no such engine; there are: auto, local, gpu"):
        engines.pick_engine("condor")


def test_without_a_gpu_small_models_train_together_where_that_is_quicker(tmp_path: Path, monkeypatch):
    """Of three shapes, one has too few runs to be measured, one is quicker together, and one is not."""
    module = sys.modules[automatic.__module__]
    study = {
        "base": SHAPES["base"],
        "seeds": 3,
        "runs": [*SHAPES["runs"], {"name": "one", "seeds": 1, "model.d_mlp": 16}],
    }
    planned = [Job(run.name, run.config, tmp_path / run.name, 1) for run in parse_study(study, "three").runs]
    by_local, said = list[str](), list[str]()

    def local_here(jobs, *_):
        by_local.extend(job.name for job in jobs)
        yield from ()

    monkeypatch.setattr(module, "MANY", 3)
    monkeypatch.setattr(module, "gain_together", lambda job, workers: 2.0 if job.name.startswith("small") else 0.5)
    monkeypatch.setattr(module, "local", local_here)
    outcomes = list(automatic(planned, 2, lambda job: None, lambda: False, said.append))
    assert [outcome.job.name for outcome in outcomes] == [f"small,seed={seed}" for seed in range(3)]
    assert {Run(outcome.job.out).environment["trained_together"] for outcome in outcomes} == {3}
    assert by_local == [*(f"large,seed={seed}" for seed in range(3)), "one,seed=0"]
    assert said[0] == "3 runs train together in one process, 2.0 times as quick here as one by one"


def test_the_gain_is_measured_a_run_on_all_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """8 + 1 s alone, on two cores at once; sixteen take 24 + 16 s in one process: 4.5 s a run against 2.5."""
    monkeypatch.setattr(cost, "cost", lambda config, together=1: cost.Cost(24.0 if together > 1 else 8.0, 1.0, 1.0))
    assert gain_together(jobs(tmp_path, 1)[0], 2) == pytest.approx(4.5 / 2.5)
