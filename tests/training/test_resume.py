"""A run that is stopped anywhere and resumed is, byte for byte, the run that was never stopped."""

import random
import shutil
import signal
from pathlib import Path

import pytest
from safetensors import safe_open

from mechxl.config import TrainingConfig
from mechxl.training import loop
from mechxl.training.loop import train_run
from mechxl.training.schedule import learning_rate
from tests.model.plain import command_line, contents, tiny
from tests.zygote import Zygote

STEPS = 700
CONFIG = tiny(steps=STEPS, checkpoints=90, evaluate_every=7)
LONG = command_line(CONFIG)
SHORT = command_line(tiny(steps=3, checkpoints=2, evaluate_every=2))
DONE, KILLED, INTERRUPTED, BAD_INPUT = 0, -9, 130, 2


def step_saved(run: Path) -> int:
    """The step that the run would go on from, by its AdamW's own count of updates."""
    with safe_open(run / "resume.safetensors", "pt") as file:
        return int(file.get_tensor("step"))


def visible(run: Path) -> dict[str, bytes]:
    """All but temporary files, whose names begin with a dot."""
    return {name: content for name, content in contents(run).items() if not Path(name).name.startswith(".")}


@pytest.fixture(scope="module")
def whole(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the long run leaves when nothing stops it."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert zygote.train("--out", out, *LONG).status == DONE
    return contents(out)


@pytest.fixture(scope="module")
def stopped(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The long run after Ctrl-C."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    late = CONFIG.training.checkpoint_steps()[-15]
    result = zygote.train("--out", out, *LONG, interrupt_when=out / f"checkpoints/step-{late:06d}.safetensors")
    assert result.status == INTERRUPTED
    assert "Traceback" not in result.err
    step = step_saved(out)
    assert f"stopped at step {step:,} of {STEPS:,}" in result.err
    assert f"--out {out} --resume" in result.err
    assert late <= step < STEPS
    return out


def test_after_ctrl_c_everything_is_there_and_nothing_more(stopped: Path):
    names = {path.name for path in stopped.iterdir()}
    files = {"config.toml", "environment.json", "facts.parquet", "tokenizer.json", "metrics.jsonl"}
    assert names == files | {"checkpoints", "resume.safetensors"}
    assert [path.name for path in stopped.parent.iterdir()] == [stopped.name]


def test_interrupted_after_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Losses that no row holds yet are kept as well."""
    config = tiny(objective="all")
    expected = contents(train_run(config, tmp_path / "whole", quiet=True).path)
    for last in range(config.training.steps - 1):

        def rate(settings: TrainingConfig, step: int, last: int = last) -> float:
            if step == last:
                signal.raise_signal(signal.SIGINT)
            return learning_rate(settings, step)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "learning_rate", rate)
            with pytest.raises(KeyboardInterrupt, match=f"stopped at step {last + 1} of 12"):
                train_run(config, tmp_path / f"{last}", quiet=True)
        assert step_saved(tmp_path / f"{last}") == last + 1
        assert contents(train_run(config, tmp_path / f"{last}", resume=True, quiet=True).path) == expected, last


ROW = '{"step": 999, "transfer_by_pair": {"A→B": 0.5}}\n'.encode()


@pytest.mark.parametrize(
    "tail", [b"", ROW, ROW * 2, ROW[:9], ROW[:38], ROW[:-1]], ids=["", "row", "rows", "torn", "torn letter", "no end"]
)
def test_resuming_gives_the_run_that_was_never_stopped(zygote: Zygote, stopped: Path, whole, tmp_path: Path, tail):
    out = shutil.copytree(stopped, tmp_path / "run")
    with (out / "metrics.jsonl").open("ab") as file:
        file.write(tail)
    result = zygote.train("--out", out, "--resume")
    assert (result.status, result.err) == (DONE, "")
    assert contents(out) == whole


def test_resuming_clears_away_what_a_killed_writer_left(zygote: Zygote, stopped: Path, whole, tmp_path: Path):
    out = shutil.copytree(stopped, tmp_path / "run")
    for name in (".resume.safetensors", "checkpoints/.step-000001.safetensors"):
        (out / f"{name}.{'7f' * 16}.partial").write_bytes(b"half")
    assert zygote.train("--out", out, "--resume").status == DONE
    assert contents(out).keys() == whole.keys()


def test_killed_at_ten_random_moments(zygote: Zygote, whole, tmp_path: Path):
    """What the run is at after so many seconds differs from machine to machine, and from time to time."""
    out, rng = tmp_path / "run", random.Random(0)
    delays = [rng.uniform(0.0, 0.5) for _ in range(10)]
    for delay in delays:
        result = zygote.train("--out", out, "--resume", *LONG, kill_after=delay)
        assert result.status in (KILLED, DONE), (delays, result.err)
    result = zygote.train("--out", out, "--resume", *LONG)
    assert result.status == DONE, (delays, result.err)
    assert visible(out) == whole, delays
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_killed_before_any_file_operation(zygote: Zygote, tmp_path: Path):
    reference = zygote.train("--out", tmp_path / "reference", *SHORT, watch=tmp_path)
    assert reference.status == DONE
    assert reference.operations > 20
    expected = contents(tmp_path / "reference")
    for place in range(reference.operations):
        out = tmp_path / f"killed-{place}" / "run"
        out.parent.mkdir()
        assert zygote.train("--out", out, *SHORT, watch=out.parent, kill_at=place).status == KILLED, place
        result = zygote.train("--out", out, "--resume", *SHORT)
        assert (result.status, "Traceback" in result.err) == (DONE, False), (place, result.err)
        assert [path.name for path in out.parent.iterdir()] == ["run"], place
        left = visible(out)
        assert left.keys() - expected.keys() <= {
            "resume.safetensors",
            "lock",
            "lease",
        }  # killed after COMPLETE was written
        assert {name: left[name] for name in expected} == expected, place


@pytest.mark.parametrize("name", ["resume.safetensors", "environment.json", "config.toml", "metrics.jsonl"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_run_is_refused_by_the_name_of_its_file(zygote: Zygote, stopped: Path, tmp_path: Path, name, damage):
    out = shutil.copytree(stopped, tmp_path / "run")
    if damage == "missing":
        (out / name).unlink()
    else:
        content = (out / name).read_bytes()
        (out / name).write_bytes(content[: len(content) // 3] + b"\n" + content[len(content) // 2 :])
    before = contents(out)
    result = zygote.train("--out", out, "--resume", *LONG)
    assert result.status == BAD_INPUT
    assert "Traceback" not in result.err
    assert str(out / name) in result.err or (name, damage) == ("config.toml", "missing")
    assert contents(out) == before
