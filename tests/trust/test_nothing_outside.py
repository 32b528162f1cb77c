"""Nothing that mechxl did not make is removed or replaced: links, devices, and neighbours of each of its names."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from mechxl import activations, ask
from mechxl.errors import InputError
from mechxl.owned import in_run, is_run, remove
from mechxl.report.__main__ import main as report
from mechxl.report.page import page_targets, render_page, write_page
from mechxl.run import Run
from mechxl.sweep import parse_study, sweep
from mechxl.sweep.engines.local import LOG_BEGINS, _is_log
from mechxl.train import main as train
from mechxl.training.loop import train_run
from tests.model.plain import command_line, contents, tiny

SHORT = tiny(steps=6, checkpoints=3)
HEX = "0123456789abcdef" * 2
STATIC = 0, 1  # steps of `whole` at which a group of activations is looked for


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A device as /dev/null is."""
    path = tmp_path / "device"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("needs root: a device")
    return path


def test_an_activations_folder_that_is_a_link(run: Path, tmp_path: Path, seen, capsys):
    outside = tmp_path / "outside"
    (outside / "step-000000-photos").mkdir(parents=True)
    for name in ("x.partial", f".x.{HEX}.partial", "step-000000-photos/one.jpg", "zarr.json"):
        (outside / name).write_text("mine")
        os.utime(outside / name, (0, 0))
    (outside / f".old-{HEX}").mkdir()
    (run / "activations.zarr").symlink_to(outside)
    before = seen(outside)
    kept = activations(Run(run), steps=0).values
    assert seen(outside) == before
    assert "activations.zarr: is a link, which mechxl did not make" in capsys.readouterr().err
    (run / "activations.zarr").unlink()
    assert (activations(Run(run), steps=0).values == kept).all()


@pytest.mark.parametrize("inner", ["", "group", "array"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_cache_with_a_file_or_link_in_place_of_a_folder(
    run: Path, tmp_path: Path, seen, capsys, inner: str, kind: str
):
    expected = activations(Run(run), steps=0, layers=1).values
    root = run / "activations.zarr"
    array = next(root.glob("step-*/blocks*"))
    place = {"": root, "group": array.parent, "array": array}[inner]
    shutil.move(place, tmp_path / "moved")
    if kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "moved")
    before = seen(tmp_path)
    assert (activations(Run(run), steps=0, layers=1).values == expected).all()
    assert seen(tmp_path) == before
    assert "mechxl did not make" in capsys.readouterr().err


def test_neighbours_in_the_cache_stay(run: Path, seen):
    """Another checkpoint's group goes with all that mechxl made; one in which something else is stays as it is."""
    activations(Run(run), steps=0, layers=1).load()
    root = run / "activations.zarr"
    group = next(root.glob("step-000000-*"))
    outdated = root / f"step-000000-{HEX[:20]}"
    shutil.copytree(group, outdated)
    shutil.copytree(group, root / f"step-000000-{HEX[1:21]}")
    (root / f"step-000000-{HEX[1:21]}" / "notes.txt").write_text("mine")
    for name in (f"step-000000-{HEX[:19]}", f"step-000000-{HEX[:21]}", "step-000000-photos", f".old-{HEX}x", "step-0"):
        shutil.copytree(group, root / name)
    for name in ("x.partial", ".x.partial", f"x.{HEX}.partial", f".x.{HEX}.partial.txt"):
        (root / name).write_text("mine")
        os.utime(root / name, (0, 0))
    link = root / f".y.{HEX}.partial"
    link.symlink_to(run / "config.toml")
    before = seen(root)
    own = root / f".x.{HEX}.partial"
    own.write_text("half")
    os.utime(own, (0, 0))
    activations(Run(run), "mlp_out", steps=0, layers=1).load()
    gone = {name for name in before if name not in seen(root)}
    assert {name.split("/")[0] for name in gone} == {outdated.name}
    assert not own.exists()


def test_findings_that_are_a_link(run: Path, tmp_path: Path, own, seen, capsys):
    shutil.rmtree(run / "findings", ignore_errors=True)
    (tmp_path / "outside").mkdir()
    question = own()
    (tmp_path / "outside" / f"{question}.json").write_text("mine")
    (run / "findings").symlink_to(tmp_path / "outside")
    before = seen(tmp_path / "outside")
    assert ask(Run(run), question).summary
    assert seen(tmp_path / "outside") == before
    assert "findings is a link" in capsys.readouterr().err


@pytest.fixture
def neighbours(tmp_path: Path) -> Path:
    """Folders whose names are near those in which a run at `run` starts and an old one waits, each with a file."""
    names = ("new", "old", f"{HEX}.new.txt", f"{HEX[1:]}.new", f"{HEX}.old2", "notes.new")
    for name in [f".run.{name}" for name in names] + [f"run.{HEX}.new", f".run2.{HEX}.new"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text("mine")
    for kind in ("new", "old"):  # named as mechxl's, but no run
        (tmp_path / f".run.{HEX}.{kind}").mkdir()
        (tmp_path / f".run.{HEX}.{kind}" / "thesis.txt").write_text("mine")
        (tmp_path / f".run.{HEX[::-1]}.{kind}").symlink_to(tmp_path / ".run.new")
    return tmp_path


@pytest.mark.parametrize("existing", [False, True])
def test_neighbours_of_a_run_stay(neighbours: Path, whole: Run, seen, existing: bool):
    if existing:
        shutil.copytree(whole.path, neighbours / "run")
    before = {name: content for name, content in seen(neighbours).items() if name.split("/")[0] != "run"}
    for overwrite, resume in ((existing, False), (False, True)):
        train_run(SHORT, neighbours / "run", quiet=True, overwrite=overwrite, resume=resume)
    assert {name: content for name, content in seen(neighbours).items() if name.split("/")[0] != "run"} == before
    assert contents(neighbours / "run") == contents(whole.path)


def test_what_mechxl_did_not_make_moves_to_the_new_run(run: Path, whole: Run):
    mine = {
        "notes.txt": "mine",
        "checkpoints/step-24.safetensors": "mine",
        "checkpoints/step-000006 (copy).safetensors": "mine",
        "findings/notes.json": "mine",
        "photos/one.jpg": "mine",
        "photos/empty/": "",
    }
    for name, content in mine.items():
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text(content)
    outside = run.parent / "outside"
    outside.mkdir()
    (outside / "step-000000.safetensors").write_text("mine")
    (run / "link").symlink_to(outside)
    train_run(SHORT, run, overwrite=True, quiet=True)
    assert (run / "photos" / "empty").is_dir()
    assert all((run / name).read_text() == content for name, content in mine.items() if content)
    assert (run / "link").is_symlink()
    assert (outside / "step-000000.safetensors").read_text() == "mine"
    assert contents(whole.path).items() <= contents(run).items()
    assert {path.name for path in run.parent.iterdir()} == {"run", "outside"}


def test_checkpoints_that_are_a_link_are_not_emptied(run: Path, tmp_path: Path):
    shutil.move(run / "checkpoints", tmp_path / "elsewhere")
    (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
    train_run(SHORT, run, overwrite=True, quiet=True)
    assert len(list((tmp_path / "elsewhere").iterdir())) == 3


def test_resuming_leaves_other_hidden_files(run: Path, seen):
    (run / "COMPLETE").unlink()
    names = (".notes.2024", ".notes.partial", f"notes.{HEX}.partial", "x.partial", f".x.{HEX}.partial.1")
    for name in names:
        (run / name).write_text("mine")
    (run / f".y.{HEX}.partial").symlink_to(run / "config.toml")
    before = seen(run)
    with pytest.raises(InputError):  # there is no state to resume from
        train_run(SHORT, run, resume=True, quiet=True)
    assert seen(run) == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--training.order-seed", "18446744073709551616"], "order_seed"),
        (["--training.batch-size", "1000000000000"], "batch_size"),
        (["--training.learning-rate", "0.1"], None),  # a loss that is not finite
    ],
)
def test_overwriting_replaces_only_after_the_first_update(
    run: Path, seen, capsys, options: list[str], named: str | None
):
    before = seen(run.parent)
    if named is None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mechxl.training.loop.batch_losses", _infinite)
            assert train(["--out", str(run), "--overwrite", *command_line(SHORT), *options]) == 1
        assert "diverged" in capsys.readouterr().err
    else:
        assert train(["--out", str(run), "--overwrite", *command_line(SHORT), *options]) == 2
        assert named in capsys.readouterr().err
    assert seen(run.parent) == before


def _infinite(weights, batch):
    loss = weights.W_E.sum() * float("inf")
    return loss, loss.detach()


@pytest.mark.parametrize("kind", ["metrics", "code", "link", "directory", "fifo", "device", "looped"])
def test_a_page_replaces_pages_only(run: Path, tmp_path: Path, seen, capsys, kind: str, request: pytest.FixtureRequest):
    (tmp_path / "notes.py").write_text("<!doctype html> is how pages begin")
    out = tmp_path / kind
    if kind == "metrics":
        out = run / "metrics.jsonl"
    elif kind == "code":
        out = tmp_path / "notes.py"
    elif kind == "link":
        out.symlink_to(tmp_path / "notes.py")
    elif kind == "directory":
        out.mkdir()
    elif kind == "fifo":
        os.mkfifo(out)
    elif kind == "device":
        out = request.getfixturevalue("device")
    else:
        out.symlink_to(out)
    before = seen(tmp_path)
    assert report([str(run), "--only", "learning", "--quiet", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert out.name in error
    assert seen(tmp_path) == before


def test_pages_are_replaced(tmp_path: Path):
    page, link = tmp_path / "page.html", tmp_path / "link.html"
    page.touch()
    link.symlink_to(page)
    (tmp_path / "plotly.min.js").write_text("mine")
    text = render_page("study.html", False, title="a" * 200, paragraphs=["one"], figures=[], tables=[])
    write_page(text, link, "inline")
    write_page(text, link, "inline")
    assert link.is_symlink()
    assert page_targets(link, "inline") == [page]
    with pytest.raises(InputError, match=r"plotly\.min\.js: is not a page that mechxl wrote"):
        page_targets(page, "beside")
    (tmp_path / "plotly.min.js").unlink()
    write_page(text, page, "beside")
    assert page_targets(page, "beside") == [page, tmp_path / "plotly.min.js"]


@pytest.mark.parametrize("name", ["lock", "lease"])
@pytest.mark.parametrize("kind", ["file", "fifo", "directory", "link"])
def test_a_lock_that_mechxl_did_not_make(run: Path, seen, kind: str, name: str):
    (run / "COMPLETE").unlink()
    lock = run / name
    {
        "file": lambda: lock.write_text("mine"),
        "fifo": lambda: os.mkfifo(lock),
        "directory": lock.mkdir,
        "link": lambda: lock.symlink_to(run / "metrics.jsonl"),
    }[kind]()
    before = seen(run.parent)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=f"is not a {name} that mechxl made"):
            train_run(SHORT, run, quiet=True, overwrite=overwrite, resume=not overwrite)
    assert seen(run.parent) == before


def test_a_sweeps_table_and_logs(tmp_path: Path, whole: Run):
    study = parse_study({"base": {}}, "one")
    (tmp_path / "sweep.parquet").write_text("mine")
    with pytest.raises(InputError, match="is not a sweep's table"):
        sweep(study, tmp_path, quiet=True)
    assert (tmp_path / "sweep.parquet").read_text() == "mine"
    for content, own in (("mine", False), (LOG_BEGINS, True)):
        (tmp_path / "a.log").write_text(content)
        assert _is_log(tmp_path / "a.log") is own


def test_removal_knows_its_own(run: Path, tmp_path: Path):
    assert is_run(run)
    assert not is_run(tmp_path)
    (tmp_path / "link").symlink_to(run)
    assert not is_run(tmp_path / "link")
    (run / "mine").touch()
    assert not remove(run, in_run)
    assert [path.name for path in run.iterdir()] == ["mine"]
