"""The machine is full and never fuller, and a run's threads do not depend on which runs are left."""

import itertools

import pytest

from mechxl.config import RunConfig, TrainingConfig
from mechxl.sweep.machine import allot

RUN = RunConfig()


@pytest.fixture(autouse=True)
def _no_omp(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("runs", "workers", "available", "together", "threads"),
    [
        (8, None, 2, 2, 1),
        (1, None, 2, 1, 2),  # one run on two cores takes both
        (2, None, 8, 2, 4),
        (3, None, 8, 3, 2),
        (8, 1, 2, 1, 2),
        (8, 5, 2, 2, 1),  # never more than there are cores
        (5, 2, 8, 2, 4),
        (100, None, 64, 64, 1),
    ],
)
def test_runs_and_threads(runs: int, workers: int | None, available: int, together: int, threads: int):
    assert allot([RUN] * runs, workers, available) == (together, [threads] * runs)


def test_never_oversubscribed():
    for runs, workers, available, given in itertools.product((1, 3, 9), (None, 1, 4), (1, 2, 3, 8), (0, 1, 3)):
        config = RunConfig(training=TrainingConfig(threads=given))
        together, threads = allot([config] * runs, workers, available)
        assert together * max(threads) <= max(available, given)
        assert set(threads) == {given} if given else min(threads) >= 1


def test_the_threads_of_the_study_are_honoured():
    config = RunConfig(training=TrainingConfig(threads=2))
    assert allot([config] * 5, None, 8) == (4, [2] * 5)
    assert allot([config] * 5, None, 1) == (1, [2] * 5)
    assert allot([RUN, config], None, 2) == (1, [2, 2])


def test_omp_num_threads_is_the_most_a_run_gets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert allot([RUN], None, 8) == (1, [1])
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert allot([RUN] * 8, None, 8) == (8, [1] * 8)
