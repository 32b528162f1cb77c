"""Where a run is begun: nothing is lost before a new run is under way, and nothing is left by one that never was."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from mechxl.config import InputError
from mechxl.run import Run
from mechxl.training import claim
from mechxl.training.loop import train_run
from tests.model.plain import command_line, contents, tiny
from tests.zygote import Zygote

SHORT = {"steps": 6, "checkpoints": 3}


def everything(directory: Path) -> dict[str, bytes | None]:
    """All files and directories below."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")
    }


@pytest.fixture(scope="module")
def trained_twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs that differ in the order of batches."""
    folder = tmp_path_factory.mktemp("twice")
    one, other = (train_run(tiny(**SHORT, order_seed=s), folder / str(s), quiet=True).path for s in (0, 1))
    return one, other


@pytest.fixture
def out(trained_twice: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the first run, in a directory of its own."""
    return shutil.copytree(trained_twice[0], tmp_path / "run")


def test_overwriting_replaces_the_run(out: Path, trained_twice: tuple[Path, Path]):
    train_run(tiny(**SHORT, order_seed=1), out, overwrite=True, quiet=True)
    assert contents(out) == contents(trained_twice[1])
    assert [path.name for path in out.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("there", ["another run", "the same run", "nothing", "nothing, nor its parents"])
def test_a_start_that_fails_leaves_everything_as_it_was(out: Path, there: str):
    config = tiny(**SHORT, order_seed=int(there == "another run"), device="nonsense")
    place = {"nothing": out.parent / "other", "nothing, nor its parents": out.parent / "a" / "b"}.get(there, out)
    before = everything(out.parent)
    with pytest.raises(InputError, match=r"training\.device = nonsense"):
        train_run(config, place, overwrite=True, quiet=True)
    assert everything(out.parent) == before


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_run_with_a_trainer_at_work_is_refused(out: Path, options):
    with FileLock(out / "lock"):
        before = everything(out.parent)
        with pytest.raises(InputError, match=r"run: another process is training this run"):
            train_run(tiny(**SHORT), out, quiet=True, **options)
        assert everything(out.parent) == before


@pytest.mark.parametrize("options", [{}, {"resume": True}])
def test_a_run_with_other_settings_is_refused(out: Path, options):
    before = everything(out.parent)
    with pytest.raises(InputError, match=r"training\.order_seed is 0 there and 1 here"):
        train_run(tiny(**SHORT, order_seed=1), out, quiet=True, **options)
    assert everything(out.parent) == before


def test_a_complete_run_is_returned_as_it_is(out: Path, capsys: pytest.CaptureFixture[str]):
    before = everything(out.parent)
    assert train_run(tiny(**SHORT), out).complete
    assert everything(out.parent) == before
    printed = capsys.readouterr()
    assert f"{out}: is complete with these settings already" in printed.out
    assert printed.err == ""


def test_a_foreign_directory_is_refused_even_to_overwrite(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    before = everything(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"mine: holds files that are not a run's"):
            train_run(tiny(**SHORT), tmp_path / "mine", overwrite=overwrite, quiet=True)
    assert everything(tmp_path) == before


def test_leftovers_of_a_killed_start_do_not_hinder(tmp_path: Path, trained_twice: tuple[Path, Path]):
    left = shutil.copytree(trained_twice[1], tmp_path / f".run.{'7f' * 16}.new")
    (left / f".resume.safetensors.{'7f' * 16}.partial").write_bytes(b"half")
    (left / "lock").touch()
    (tmp_path / f".run.{'8f' * 16}.new").mkdir()
    run = train_run(tiny(**SHORT, order_seed=0), tmp_path / "run", quiet=True)
    assert contents(run.path) == contents(trained_twice[0])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_begun_meanwhile_is_not_replaced(
    tmp_path: Path, trained_twice: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    """Another trainer puts its run in place while this one still builds its corpus."""
    build = claim.build_corpus

    def slow(config):
        shutil.copytree(trained_twice[1], tmp_path / "run", dirs_exist_ok=True)
        return build(config)

    monkeypatch.setattr(claim, "build_corpus", slow)
    with pytest.raises(InputError, match="run"):
        train_run(tiny(**SHORT), tmp_path / "run", quiet=True)
    assert contents(tmp_path / "run") == contents(trained_twice[1])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("place", [".", "../here"])
def test_the_place_may_be_where_one_is(
    tmp_path: Path, trained_twice: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, place: str
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    train_run(tiny(**SHORT, order_seed=0), place, quiet=True)
    assert contents(tmp_path / "here") == contents(trained_twice[0])
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("empty", [False, True])
def test_the_place_may_be_a_link_to_a_directory(
    out: Path, tmp_path: Path, trained_twice: tuple[Path, Path], empty: bool
):
    (tmp_path / "elsewhere").mkdir()
    place = tmp_path / "elsewhere" / "link"
    target = out
    if empty:
        target = tmp_path / "empty"
        target.mkdir()
    place.symlink_to(target)
    train_run(tiny(**SHORT, order_seed=1), place, overwrite=True, quiet=True)
    assert contents(Run(place).path) == contents(trained_twice[1])
    train_run(tiny(**SHORT, order_seed=0), place, overwrite=True, quiet=True)
    assert contents(Run(place).path) == contents(trained_twice[0])
    assert [path.name for path in place.parent.iterdir()] == ["link"]


def test_killed_before_any_move_of_overwriting(
    zygote: Zygote, out: Path, trained_twice: tuple[Path, Path], tmp_path: Path
):
    """One of the two runs is there at any moment, and the command given again ends with the new one."""
    old, new = (contents(path) for path in trained_twice)
    arguments = ["--out", out, "--overwrite", *command_line(tiny(**SHORT)), "--training.order_seed", "1"]
    moves = ("os.rename", "os.mkdir", "os.rmdir")
    place, status = 0, -9
    while status == -9:
        shutil.rmtree(out)
        shutil.copytree(trained_twice[0], out)
        status = zygote.train(*arguments, watch=tmp_path, kill_at=place, events=moves).status
        kept = [contents(path) for path in (out, *tmp_path.glob(".run.*.old")) if path.is_dir()]
        resumable = (out / "resume.safetensors").is_file() and "order_seed = 1" in (out / "config.toml").read_text()
        complete = (out / "COMPLETE").is_file() and new.items() <= contents(out).items()
        assert resumable or complete or any(old.items() <= files.items() for files in kept), place
        if status == -9:
            result = zygote.train(*arguments)
            assert (result.status, "Traceback" in result.err) == (0, False), (place, result.err)
            assert contents(out) == new, place
            assert [path.name for path in tmp_path.iterdir()] == ["run"], place
        place += 1
    assert status == 0
    assert place > 10
