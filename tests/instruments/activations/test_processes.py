"""Several processes at one store, one that is killed, and one that may not write."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mechxl import activations
from mechxl.instruments.activations import cache
from mechxl.run import Run
from tests.instruments.runs import small_run

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (-9: killed), the activations, what it said on stderr."""

    status: int
    values: np.ndarray
    err: str


@dataclass(frozen=True)
class Asked:
    """Runs that processes asked at once, and how these ended."""

    shared: Run
    alone: Run
    readable: Run
    half: np.ndarray
    expected: np.ndarray
    ended: dict[str, Ended]


@pytest.fixture(scope="module")
def asked(zygote):
    """Four processes at one run, of which one is killed; one at another, which is killed; one that may only read."""
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to other users
        folder = Path(made)
        folder.chmod(0o755)
        plain = small_run(folder / "plain", training={"steps": 12, "checkpoints": 8, "batch_size": 16})
        shared, alone, readable = (
            Run(shutil.copytree(plain.path, folder / name)) for name in ("shared", "alone", "readable")
        )
        half = activations(readable, steps=slice(0, 4)).values
        for path in [readable.path, *readable.path.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        what = {"one": shared, "two": shared, "killed": shared, "three": shared, "killed_alone": alone}
        what["other"] = readable
        out = folder / "out"
        out.mkdir()
        asked_for = [f"{name}={run.path}" for name, run in what.items()]
        done = zygote.python("-m", "tests.instruments.activations.forked", out, *asked_for)
        assert done.status == 0, done.err
        ended = {}
        for name, status in zip(what, map(int, done.out.split()), strict=True):
            values = np.load(out / f"{name}.npy") if status == 0 else np.zeros(0)
            ended[name] = Ended(status, values, (out / f"{name}.err").read_text())
        yield Asked(shared, alone, readable, half, activations(plain).values, ended)
        for path in [readable.path, *readable.path.rglob("*")]:
            path.chmod(0o755)


def test_processes_at_once_get_the_same(asked):
    for name in ("one", "two", "three"):
        found = asked.ended[name]
        assert (found.status, found.err) == (0, "")
        assert found.values == pytest.approx(asked.expected, abs=1e-6)


@pytest.mark.parametrize("name", ["shared", "alone"])
def test_a_killed_writer_leaves_whole_chunks_and_a_file_that_is_swept(asked, name, capsys, monkeypatch):
    run = getattr(asked, name)
    assert asked.ended["killed" if name == "shared" else "killed_alone"].status == -9
    store = run.path / "activations.zarr"
    assert len(list(store.rglob("*.partial"))) == 1
    assert activations(run).values == pytest.approx(asked.expected, abs=1e-6)
    shutil.rmtree(next(store.glob("step-000012-*")))
    assert activations(run).values == pytest.approx(asked.expected, abs=1e-6)
    assert len(list(store.rglob("*.partial"))) == 1  # it might be someone's who is at work
    shutil.rmtree(next(store.glob("step-000012-*")))
    monkeypatch.setattr(cache, "LEFT_BEHIND", -1)  # as if an hour had passed
    assert activations(run).values == pytest.approx(asked.expected, abs=1e-6)
    assert not list(store.rglob("*.partial"))
    assert capsys.readouterr().err == ""


def test_who_may_only_read_gets_all_and_is_told_once(asked):
    found = asked.ended["other"]
    assert found.status == 0, found.err
    assert found.values == pytest.approx(asked.expected, abs=1e-6)
    assert np.array_equal(found.values[: len(asked.half)], asked.half)
    assert found.err.count("\n") == 1
    assert "activations.zarr: can't be written (Permission denied); activations are computed but not saved" in found.err
    assert len(list(asked.readable.path.glob("activations.zarr/step-*"))) == len(asked.half)
