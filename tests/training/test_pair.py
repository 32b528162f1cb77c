"""A run and its trained null as one training: the run is the same bit for bit; stopped, resumed and replaced as one."""

import pytest

from mechxl.config import parse_config
from mechxl.errors import InputError
from mechxl.null import null_config
from mechxl.run import Run
from mechxl.training.loop import train_run
from mechxl.training.pair import train_pair
from tests.model.plain import command_line, contents, tiny

SHORT = tiny(steps=6, checkpoints=3)


def checkpoints(run):
    return {path.name: path.read_bytes() for path in (run.path / "checkpoints").iterdir()}


def test_the_run_is_what_it_is_alone_and_has_its_null(tmp_path):
    alone = train_run(SHORT, tmp_path / "alone", quiet=True)
    run = train_pair(SHORT, tmp_path / "run", quiet=True)
    assert checkpoints(run) == checkpoints(alone)
    assert run.null is not None
    assert run.null.config == null_config(SHORT)
    before = contents(tmp_path / "run"), contents(tmp_path / "run-null")
    train_pair(SHORT, tmp_path / "run", quiet=True, resume=True)
    assert (contents(tmp_path / "run"), contents(tmp_path / "run-null")) == before


def test_what_can_not_be_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(InputError, match="is a null itself"):
        train_pair(null_config(SHORT), tmp_path / "run", quiet=True)
    other = parse_config(SHORT.model_dump() | {"seed": 5})
    train_run(null_config(other), tmp_path / "run-null", quiet=True)
    with pytest.raises(InputError, match=r"run-null: the null of .* would lie here, but this is a run with other"):
        train_pair(SHORT, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
    assert train_pair(SHORT, tmp_path / "run", quiet=True, overwrite=True).null is not None


def test_ctrl_c_in_the_null_saves_and_the_same_command_with_resume_goes_on(zygote, tmp_path):
    out, longer = tmp_path / "run", tiny(steps=100, checkpoints=20)
    early = tmp_path / "run-null" / "checkpoints" / "step-000001.safetensors"
    stopped = zygote.train("--out", out, "--with-null", *command_line(longer), interrupt_when=early)
    assert stopped.status == 130
    assert f"--out {out} --resume --with-null" in stopped.err
    assert Run(out).complete
    assert not Run(tmp_path / "run-null").complete
    result = zygote.train("--resume", "--out", out, "--with-null")
    assert (result.status, result.err) == (0, "")
    assert Run(out).null is not None
    assert Run(tmp_path / "run-null").config == null_config(longer)


def test_a_replaced_pair_that_was_stopped_is_resumed(tmp_path, monkeypatch):
    """The old null of other settings must not bar the way."""
    from mechxl.training import pair

    train_pair(SHORT, tmp_path / "run", quiet=True)
    other, trained = tiny(steps=8, checkpoints=3), pair.train_run

    def stopped(config, out, **how):
        trained(config, out, **how)
        raise KeyboardInterrupt(f"{out}: stopped at step 8 of 8, all saved; to continue, run it")

    monkeypatch.setattr(pair, "train_run", stopped)
    with pytest.raises(KeyboardInterrupt, match="--resume --with-null"):
        train_pair(other, tmp_path / "run", quiet=True, overwrite=True)
    monkeypatch.setattr(pair, "train_run", trained)
    assert train_pair(other, tmp_path / "run", quiet=True, resume=True).null is not None
