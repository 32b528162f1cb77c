"""The cache: what it holds as other tools read it, and what happens to one that is damaged or of other parameters."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from safetensors.torch import load_file, save_file

from mechxl import activations
from mechxl.check import accept
from mechxl.instruments.activations import chunks, reading
from mechxl.instruments.checkpoints import read_checkpoint
from mechxl.run import Run
from mechxl.training.loop import train_run
from tests.instruments.runs import Plain, sentence, small_run


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run that keeps the streams of all its facts."""
    run = small_run(tmp_path_factory.mktemp("runs") / "run")
    activations(run).load()
    return run


@pytest.fixture
def run(kept, tmp_path):
    return Run(shutil.copytree(kept.path, tmp_path / "run"))


def array_of(run: Run, step: int, name: str = "blocks.1.hook_resid_post.prompt_last") -> Path:
    return next(run.path.glob(f"activations.zarr/step-{step:06d}-*")) / name


@pytest.fixture
def counted(monkeypatch):
    """The checkpoints that are computed with."""
    found = []
    used = reading.use_checkpoint

    def use(run, step, *more):
        found.append(step)
        used(run, step, *more)

    monkeypatch.setattr(reading, "use_checkpoint", use)
    return found


def test_what_is_kept_is_not_computed_again(run, counted, capsys):
    first = activations(run).values
    for part in (activations(run, facts="mono", steps=4), activations(run, "resid_post", layers=1, n=3)):
        part.load()
    assert not counted
    assert np.array_equal(activations(Run(run.path)).values, first)
    assert capsys.readouterr().err == ""
    activations(run, "mlp_out", steps=[1]).load()
    assert counted == [1]


def test_other_tools_read_it(run):
    values = activations(run).values
    root = run.path / "activations.zarr"
    groups = dict(zarr.open_group(root, mode="r").groups())
    assert [name.rsplit("-", 1)[0] for name in sorted(groups)] == ["step-000000", "step-000001", "step-000004"]
    for at, name in enumerate(sorted(groups)):
        read = xr.open_zarr(root, group=name, chunks=None, consolidated=False).load()
        for layer, hook in enumerate(activations(run)["hook"].values):
            array = read[f"{hook}.prompt_last"]
            assert array.dims == ("language", "fact", "d_model")
            assert np.array_equal(array.values, values[at, layer, :, :, 0])


def test_only_what_is_asked_for_is_kept(kept, tmp_path):
    run = Run(shutil.copytree(kept.path, tmp_path / "run", ignore=shutil.ignore_patterns("activations.zarr")))
    facts = [2, 5, 29]
    activations(run, "z", layers=2, steps=1, facts=facts, role="name_last").sel(language=["B"]).load()
    groups = list((run.path / "activations.zarr").glob("step-*"))
    assert len(groups) == 1
    assert [path.name for path in groups[0].iterdir() if path.is_dir()] == ["blocks.1.attn.hook_z.name_last"]
    held = zarr.open_array(groups[0] / "blocks.1.attn.hook_z.name_last", mode="r")
    held = np.asarray(held[:])
    assert held.shape == (2, 30, 2, 32)
    assert np.isnan(held[0]).all()
    assert np.flatnonzero(~np.isnan(held[1]).all(axis=(1, 2))).tolist() == facts
    activations(run, "z", layers=2, steps=1, facts=[5, 6], role="name_last").load()
    held = np.asarray(zarr.open_array(groups[0] / "blocks.1.attn.hook_z.name_last", mode="r")[:])
    assert np.flatnonzero(~np.isnan(held[1]).all(axis=(1, 2))).tolist() == [2, 5, 6, 29]
    assert np.flatnonzero(~np.isnan(held[0]).all(axis=(1, 2))).tolist() == [5, 6]


def test_small_chunks_hold_what_large_ones_do(kept, tmp_path, monkeypatch):
    expected = activations(kept).values
    monkeypatch.setattr("mechxl.instruments.activations.cache.CHUNK_BYTES", 2000)  # 7 facts of 64 floats
    run = Run(shutil.copytree(kept.path, tmp_path / "run", ignore=shutil.ignore_patterns("activations.zarr")))
    some = activations(run, facts=[29, 3, 12, 4, 11]).values
    values = activations(run).values
    assert len(list(array_of(run, 4).glob("c.0.*"))) == 4
    assert values == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(activations(run, facts=[29, 3, 12, 4, 11]).values, some)
    assert np.asarray(zarr.open_array(array_of(run, 4), mode="r")[:]) == pytest.approx(values[2, 2, :, :, 0])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def garble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a chunk cut off": lambda a: cut(a / "c.0.0.0"),
    "an empty chunk": lambda a: (a / "c.0.0.0").write_bytes(b""),
    "a bit of a chunk": lambda a: garble(a / "c.1.0.0"),
    "no metadata": lambda a: (a / "zarr.json").unlink(),
    "metadata that is no JSON": lambda a: (a / "zarr.json").write_bytes(b"\x00garbage"),
    "metadata of another array": lambda a: (a / "zarr.json").write_text(
        json.dumps(json.loads((a / "zarr.json").read_text()) | {"shape": [2, 9, 64]})
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_mended_and_said(run, kept, damage, capsys):
    expected = activations(kept).values
    DAMAGES[damage](array_of(run, 4))
    found = activations(run).values
    err = capsys.readouterr().err
    assert found == pytest.approx(expected, abs=1e-6)
    assert err.startswith("mechxl: ")
    assert "is damaged" in err
    assert err.count("\n") == 1
    assert np.array_equal(activations(run).values, found)
    assert capsys.readouterr().err == ""
    assert np.asarray(zarr.open_array(array_of(run, 4), mode="r")[:]) == pytest.approx(found[2, 2, :, :, 0])


def test_an_array_that_another_writes_while_it_is_looked_for_is_not_damaged(run, kept, capsys, monkeypatch, tmp_path):
    expected, array, away = activations(kept).values, array_of(run, 4), tmp_path / "not yet written"
    array.rename(away)
    described = chunks.Layout.described

    def then_written(layout, path):
        found = described(layout, path)
        if path == array and away.exists():
            away.rename(array)
        return found

    monkeypatch.setattr(chunks.Layout, "described", then_written)
    assert activations(run).values == pytest.approx(expected, abs=1e-6)
    assert not away.exists()
    assert capsys.readouterr().err == ""


def test_a_missing_chunk_and_missing_groups_are_as_never_asked(run, kept, capsys, counted):
    expected = activations(kept).values
    (array_of(run, 4) / "c.1.0.0").unlink()
    (run.path / "activations.zarr/zarr.json").write_text("{")
    array_of(run, 0).parent.joinpath("zarr.json").unlink()
    assert activations(run).values == pytest.approx(expected, abs=1e-6)
    assert counted == [4]
    assert capsys.readouterr().err == ""
    zarr.open_group(run.path / "activations.zarr", mode="r")


def test_a_replaced_checkpoint_is_computed_anew_and_said(run, capsys):
    before = activations(run).values
    parameters = load_file(run.checkpoint(1))
    save_file({name: value * 1.5 for name, value in parameters.items()}, run.checkpoint(1))
    accept(run.path)
    run = Run(run.path)
    found = activations(run)
    values = found.values
    err = capsys.readouterr().err
    assert "holds other parameters' activations (step 1); computed again" in err
    assert err.count("\n") == 1
    plain, name = Plain(run, 1), "blocks.1.hook_resid_post"
    assert values[1, 2, 0, 7, 0] == pytest.approx(plain(name, sentence(run, 7, 0), 3), abs=1e-6)
    assert np.array_equal(values[[0, 2]], before[[0, 2]])
    assert not np.isclose(values[1], before[1]).all()
    assert len(list((run.path / "activations.zarr").glob("step-*"))) == 3
    assert np.array_equal(activations(run).values, values)
    assert capsys.readouterr().err == ""


def test_a_run_trained_again_keeps_nothing_of_the_old_one(run, capsys):
    old = activations(run).values
    again = train_run(run.config.model_copy(update={"seed": 5}), run.path, overwrite=True, quiet=True)
    found = activations(again).values
    plain, name = Plain(again, 4), "blocks.0.hook_resid_post"
    assert found[2, 1, 1, 9, 0] == pytest.approx(plain(name, sentence(again, 9, 1), 3), abs=1e-6)
    assert not np.isclose(found, old).any(axis=-1).all()


def test_equal_parameters_with_other_sentences_are_another_cache(tmp_path):
    words, kind = {"name_syllables": 12, "word_syllables": 24}, {"kind": "word"}
    one, other = (
        small_run(tmp_path / f"{seed}", languages=words | {"seed": seed}, tokenization=kind) for seed in (0, 1)
    )
    assert one.checkpoint(0).read_bytes() == other.checkpoint(0).read_bytes()
    assert sentence(one, 0, 0) != sentence(other, 0, 0)
    assert read_checkpoint(one, 0).digest != read_checkpoint(other, 0).digest


def test_a_full_disk_is_said_once(run, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(chunks, "write_bytes", full)
    found = activations(run, "attn_out").values
    assert np.isfinite(found).all()
    err = capsys.readouterr().err
    assert "can't be written (No space left on device)" in err
    assert err.count("\n") == 1
