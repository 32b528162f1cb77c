"""A run says what it consists of: damage is refused by the name of its file, or the numbers are right."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file, save_file

from mechxl import activations, ask
from mechxl.check import accept, check
from mechxl.check import main as check_command
from mechxl.errors import InputError
from mechxl.manifest import Manifest, seal_of
from mechxl.report.page import write_report
from mechxl.run import Run
from mechxl.training import loop
from mechxl.training.loop import train_run
from tests.model.plain import contents, tiny

CONFIG = tiny(steps=6, checkpoints=3)


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 4
    path.write_bytes(content)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def other_types(path: Path) -> None:
    """Columns of types that pandas does not know."""
    column = {"name": "entity", "field_name": "entity", "numpy_type": "Ynt64", "pandas_type": "x", "metadata": None}
    about = json.dumps({"columns": [column], "index_columns": [], "column_indexes": []})
    parquet.write_table(parquet.read_table(path).replace_schema_metadata({"pandas": about}), path)


def row(change: dict[str, object]) -> Callable[[Path], None]:
    """Changes the second row of metrics.jsonl."""

    def damage(run: Path) -> None:
        path = run / "metrics.jsonl"
        lines = path.read_text().splitlines()
        lines[1] = json.dumps(json.loads(lines[1]) | change)
        path.write_text("\n".join(lines) + "\n")

    return damage


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        path = run / "metrics.jsonl"
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return damage


def replaced(name: str, how: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).unlink()
        how(run / name)

    return damage


def read_all(path: Path, model: int | None = None) -> None:
    run = Run(path)
    _ = run.facts, run.metrics, [run.read_checkpoint(step) for step in run.steps]
    if model is not None:
        run.model(model)


ONE = "checkpoints/step-000001.safetensors"
LAST = "checkpoints/step-000006.safetensors"


def other_parameter(value: float, dtype: torch.dtype | None = None) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        saved = load_file(run / ONE)
        saved["unembed.b_U"][0] = value
        save_file({name: x.to(dtype) if dtype else x for name, x in saved.items()}, run / ONE)

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a row less": (lines(lambda rows: [*rows[:1], *rows[2:]]), "metrics.jsonl"),
    "rows cut": (lines(lambda rows: rows[:2]), "metrics.jsonl"),
    "no rows": (lines(lambda rows: []), "metrics.jsonl"),
    "a byte order mark": (lines(lambda rows: [b"\xef\xbb\xbf", *rows]), "metrics.jsonl"),
    "CRLF": (lines(lambda rows: [line.replace(b"\n", b"\r\n") for line in rows]), "metrics.jsonl"),
    "recall edited": (row({"recall_accuracy": 0.123}), "metrics.jsonl"),
    "a digit of a row": (lambda run: rewrite(run / "metrics.jsonl", "0.", "1."), "metrics.jsonl"),
    "a checkpoint less": (lambda run: (run / ONE).unlink(), ONE),
    "a checkpoint that is a folder": (replaced(ONE, Path.mkdir), ONE),
    "a checkpoint that is a pipe": (replaced(ONE, os.mkfifo), ONE),
    "a checkpoint that is a circle of links": (replaced(ONE, lambda path: path.symlink_to(path)), ONE),
    "a checkpoint cut": (lambda run: (run / ONE).write_bytes((run / ONE).read_bytes()[:-1]), ONE),
    "a bit of a checkpoint": (lambda run: flip(run / ONE), ONE),
    "two checkpoints swapped": (lambda run: shutil.copy(run / LAST, run / ONE), ONE),
    "a parameter that is NaN": (other_parameter(float("nan")), ONE),
    "rate edited": (
        lambda run: rewrite(run / "config.toml", "learning_rate = 0.002", "learning_rate = 0.003"),
        "config",
    ),
    "steps edited": (lambda run: rewrite(run / "config.toml", "steps = 6", "steps = 60"), "config.toml"),
    "a bit of the environment": (
        lambda run: rewrite(run / "environment.json", '"n_ctx": ', '"n_ctx": 1'),
        "environment.json",
    ),
    "no environment": (lambda run: (run / "environment.json").unlink(), "environment.json"),
    "an environment that is a pipe": (replaced("environment.json", os.mkfifo), "environment.json"),
    "an environment 100,000 deep": (
        lambda run: (run / "environment.json").write_text("[" * 100_000 + "]" * 100_000),
        "environment.json",
    ),
    "a bit of the facts": (lambda run: flip(run / "facts.parquet"), "facts.parquet"),
    "a bit of the tokenizer": (lambda run: flip(run / "tokenizer.json"), "tokenizer.json"),
    "COMPLETE deleted": (lambda run: (run / "COMPLETE").unlink(), "COMPLETE"),
    "COMPLETE that is a folder": (replaced("COMPLETE", Path.mkdir), "COMPLETE"),
    "COMPLETE that is a pipe": (replaced("COMPLETE", os.mkfifo), "COMPLETE"),
    "a bit of COMPLETE": (lambda run: flip(run / "COMPLETE", 0.3), "COMPLETE"),
    "COMPLETE emptied": (lambda run: (run / "COMPLETE").write_text(""), "COMPLETE"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_by_its_file(run: Path, kind: str):
    damage, named = DAMAGE[kind]
    damage(run)
    with pytest.raises(InputError, match=named) as refused:
        read_all(run)
    assert "\n" not in str(refused.value)
    problems, _ = check(run)
    assert any(named in problem for problem in problems)


UNSEALED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a row that is 5": (lines(lambda rows: [rows[0], b"5\n"]), "line 2 can't be read"),
    "a row that is null": (lines(lambda rows: [rows[0], b"null\n"]), "line 2 can't be read"),
    "a row that is a list": (lines(lambda rows: [rows[0], b"[1]\n"]), "line 2 can't be read"),
    "a row without a step": (lines(lambda rows: [b'{"loss": 1}\n', *rows]), r"line 1: step"),
    "NaN": (lines(lambda rows: [rows[0].replace(b'"loss": ', b'"loss": NaN, "x": ')]), "line 1 can't be read"),
    "a number out of range": (row({"recall_accuracy": 5}), "line 2: recall_accuracy = 5"),
    "below 0": (row({"recall_accuracy": -1}), "line 2: recall_accuracy = -1"),
    "a rate that is not its kind's": (row({"recall_accuracy": 0.123}), "line 2: recall_accuracy is not the share"),
    "step 10^30": (row({"step": 10**30}), "line 2: (step|has step)"),
    "a step of text": (row({"step": "1"}), "line 2: step = '1'"),
    "a step twice": (lines(lambda rows: [rows[0], *rows]), "line 2: has step 0 where step 1 is due"),
    "no order": (lines(lambda rows: [rows[1], rows[0]]), "line 1: has step 1 where step 0 is due"),
    "a row missing": (lines(lambda rows: [rows[0], rows[2]]), "line 2: has step 5 where step 1 is due"),
    "a parameter that is NaN": (other_parameter(float("nan")), "step-000001.*unembed.b_U holds a number"),
    "infinite": (other_parameter(float("inf")), "step-000001.*unembed.b_U holds a number"),
    "a parameter of 1e30": (other_parameter(1e30), "step-000001.*unembed.b_U holds a number"),
    "another type": (other_parameter(0, torch.int8), "step-000001.*is int8"),
    "facts that pandas can't read": (
        lambda run: other_types(run / "facts.parquet"),
        "facts.parquet: can't be read",
    ),
    "facts of other columns": (
        lambda run: Run(run).facts.rename(columns={"group": "kind"}).to_parquet(run / "facts.parquet"),
        "facts.parquet: holds",
    ),
}


@pytest.mark.parametrize("kind", UNSEALED)
def test_without_a_seal_the_schema_refuses(run: Path, kind: str):
    """Files of a run whose training was interrupted, and was copied without its state."""
    for name in ("COMPLETE", LAST):
        (run / name).unlink()
    lines(lambda rows: rows[:3])(run)
    damage, said = UNSEALED[kind]
    damage(run)
    with pytest.raises(InputError, match=said):
        read_all(run, model=1)


def test_a_last_row_without_its_newline_is_read(run: Path):
    for name in ("COMPLETE", LAST):
        (run / name).unlink()
    lines(lambda rows: rows[:3])(run)
    expected = Run(run).metrics
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert Run(run).metrics.equals(expected)
    path.write_bytes(path.read_bytes()[:-1])
    assert Run(run).metrics.equals(expected[:-1])


def test_a_copy_without_findings_activations_and_state_is_whole(run: Path, own):
    ask(Run(run), own())
    activations(Run(run), steps=0, layers=1).load()
    for name in ("findings", "activations.zarr"):
        shutil.rmtree(run / name)
    assert check(run) == ([], [])
    assert Run(run).complete


def test_the_manifest_holds_every_file(whole: Run):
    manifest = Manifest.read(whole.file("COMPLETE"))
    files = {name for name in contents(whole.path) if not name.startswith(("findings", "activations", "COMPLETE"))}
    assert set(manifest.files) == files
    assert all(seal_of(whole.file(name).read_bytes()) == seal for name, seal in manifest.files.items())
    assert manifest.checkpoints == [0, 1, 6]
    assert manifest.evaluations == whole.metrics["step"].tolist() == [0, 1, 5, 6]


def test_a_change_on_purpose_is_accepted_and_the_page_says_so(run: Path, own, capsys):
    (run / ONE).unlink()
    (run / "checkpoints" / "step-24.safetensors").touch()
    assert check_command([str(run)]) == 1
    assert "step-000001.safetensors is missing" in capsys.readouterr().out
    assert check_command([str(run), "--accept"]) == 0
    out = capsys.readouterr().out
    assert f"{run}: accepted: {ONE} is missing" in out
    assert "complete, 2 checkpoints, whole" in out
    assert Run(run).steps == [0, 6]
    page = write_report(Run(run), run.parent / "page.html", only=[own()], quiet=True).read_text(encoding="utf-8")
    assert f"accepted by hand (mechxl check --accept): {ONE} is missing." in page
    assert "left alone: step-24.safetensors" in page
    assert accept(run) == []


def test_a_training_that_has_not_ended_is_not_accepted(run: Path):
    (run / "COMPLETE").unlink()
    lines(lambda rows: rows[:2])(run)
    with pytest.raises(InputError, match="has not ended"):
        accept(run)
    (run / "COMPLETE").write_text("6\n")
    with pytest.raises(InputError, match="has not ended"):
        accept(run)


@pytest.mark.parametrize("change", [('"p": [1e-09', '"p": [5e-10'), ("One sentence.", ""), ('"question"', '"answer"')])
def test_a_finding_that_was_changed_is_computed_anew_and_said(run: Path, own, capsys, change: tuple[str, str]):
    question = own()
    first = ask(Run(run), question)
    path = run / "findings" / f"{question}.json"
    kept = path.read_text()
    rewrite(path, *change)
    again = ask(Run(run), question)
    assert f"{path}: it is not as it was kept; the question is answered anew" in capsys.readouterr().err
    assert again.to_json("x") == first.to_json("x")
    assert path.read_text() == kept
    ask(Run(run), question)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", ["", "[" * 100_000, "null", '{"question": "own", "tables": {}, "notes": []}'])
def test_a_finding_that_is_none(run: Path, own, capsys, content: str):
    question = own()
    first = ask(Run(run), question)
    path = run / "findings" / f"{question}.json"
    path.write_text(content)
    assert ask(Run(run), question).to_json("x") == first.to_json("x")
    assert "answered anew" in capsys.readouterr().err
    path.unlink()
    os.mkfifo(path)
    assert ask(Run(run), question).to_json("x") == first.to_json("x")


def test_another_questions_finding(run: Path, own, capsys):
    one, other = own(), own()
    ask(Run(run), one)
    ask(Run(run), other)
    shutil.copy(run / "findings" / f"{one}.json", run / "findings" / f"{other}.json")
    ask(Run(run), other)
    assert f"it answers the question {one}" in capsys.readouterr().err


def test_a_finding_that_can_not_be_kept_is_known_to_questions_that_read_it(run: Path, own, capsys):
    one = own()
    reader = own(READER.format(one=one))
    expected = ask(Run(run), one), ask(Run(run), reader)
    shutil.rmtree(run / "findings")
    (run / "findings").touch()  # a place where nothing can be kept
    damaged = Run(run)
    assert ask(damaged, one).to_json("x") == expected[0].to_json("x")
    assert "is not kept" in capsys.readouterr().err
    assert ask(damaged, one).to_json("x") == expected[0].to_json("x")
    assert capsys.readouterr().err == ""  # it is not asked again
    assert ask(damaged, reader).summary == expected[1].summary == ["It was answered."]


READER = """
from mechxl.findings import Finding
from mechxl.questions.find import find_question
from mechxl.questions.kept import kept_finding

READS = ["{one}"]


def compute(run):
    found = kept_finding(run, find_question("{one}"))
    return Finding("reader", ["It was answered." if found else "It was not."], {{}})


def figures(finding):
    return []
"""


def test_the_first_and_the_second_report_are_equal(run: Path, own):
    question = own()
    first, second = (
        write_report(Run(run), run.parent / f"{n}.html", only=[question], quiet=True).read_bytes() for n in "ab"
    )
    assert first == second
    assert b"1e-09" in first


def test_chunks_in_one_anothers_place(run: Path, capsys):
    expected = activations(Run(run)).values
    groups = sorted((run / "activations.zarr").glob("step-*"))
    arrays = sorted(path for path in groups[0].iterdir() if path.is_dir())
    places = [
        (arrays[0] / "c.0.0.0", arrays[0] / "c.1.0.0"),  # languages
        (arrays[0] / "c.0.0.0", arrays[1] / "c.0.0.0"),  # layers
        (arrays[0] / "c.0.0.0", groups[1] / arrays[0].name / "c.0.0.0"),  # checkpoints
    ]
    for one, other in places:
        content = one.read_bytes(), other.read_bytes()
        one.write_bytes(content[1])
        other.write_bytes(content[0])
        found = activations(Run(run)).values
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert "it belongs to another place" in capsys.readouterr().err
        assert (activations(Run(run)).values == found).all()
        assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run after Ctrl-C at step 4."""
    path, rate = tmp_path_factory.mktemp("stopped") / "run", loop.learning_rate

    def press(settings, step):
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return rate(settings, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "learning_rate", press)
        with pytest.raises(KeyboardInterrupt):
            train_run(CONFIG, path, quiet=True)
    return path


@pytest.fixture
def stopped(stopped_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stopped_run, tmp_path / "run")


STATE = "resume.safetensors"
STATE_DAMAGE: dict[str, Callable[[Path], object]] = {
    **{
        f"a bit at {place}": lambda run, place=place: flip(run / STATE, place)
        for place in (0.001, 0.1, 0.3, 0.5, 0.7, 0.99)
    },
    "cut": lambda run: (run / STATE).write_bytes((run / STATE).read_bytes()[:-9]),
    "a block of zeros": lambda run: (run / STATE).write_bytes((run / STATE).read_bytes()[:-4096] + bytes(4096)),
    "a pipe": replaced(STATE, os.mkfifo),
    "another rate": lambda run: rewrite(run / "config.toml", "learning_rate = 0.002", "learning_rate = 0.003"),
    "a row less": lines(lambda rows: [rows[0]]),
    "a row edited": row({"loss": 1.0}),
    "a bit of a checkpoint": lambda run: flip(run / ONE),
    "a checkpoint less": lambda run: (run / ONE).unlink(),
    "a bit of the facts": lambda run: flip(run / "facts.parquet"),
    "another environment": lambda run: rewrite(run / "environment.json", '"threads": ', '"threads": 1'),
}


@pytest.mark.parametrize("kind", STATE_DAMAGE)
def test_a_state_is_resumed_only_from_what_it_builds_on(stopped: Path, kind: str, seen):
    STATE_DAMAGE[kind](stopped)
    before = seen(stopped)
    with pytest.raises(InputError):
        train_run(CONFIG, stopped, resume=True, quiet=True)
    assert seen(stopped) == before


def test_resuming_what_was_not_damaged(stopped: Path, whole: Run):
    assert not Run(stopped).complete
    train_run(CONFIG, stopped, resume=True, quiet=True)
    assert contents(stopped) == contents(whole.path)


def test_another_runs_state_is_refused(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Even one of equal shape at an equal step."""
    other = shutil.copytree(stopped, tmp_path / "other")
    rewrite(other / "config.toml", "seed = 0", "seed = 1")
    shutil.copy(stopped / STATE, other / STATE)
    with pytest.raises(InputError, match=r"config\.toml"):
        Run(other)
