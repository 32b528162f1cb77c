"""Command lines and files that can't work: one sentence, status 2 or 1, at once, and nothing is left or lost."""

import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mechxl import cli
from mechxl.__main__ import main as mechxl
from mechxl.errors import InputError
from mechxl.files import read_bytes
from mechxl.sweep import parse_study
from tests.model.plain import command_line, tiny
from tests.zygote import REPOSITORY

SHORT = command_line(tiny(steps=2, checkpoints=2))


def refused(argv: Sequence[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    """The sentence of a command that is refused."""
    assert mechxl(argv) == status
    printed = capsys.readouterr()
    assert printed.err.startswith("mechxl: ")
    assert printed.err.count("\n") == 1, printed.err
    assert "Traceback" not in printed.err
    return printed.err


OUTS = {
    "300 letters": ("x" * 300, "300 bytes is too long"),
    "300 bytes of letters": ("ä" * 150, "300 bytes is too long"),
    "a run's name of 250 letters": ("x" * 250, "at most 200 bytes"),
    "NUL": ("a\0b", "NUL"),
    "not UTF-8": (os.fsdecode(b"\xff"), "is not UTF-8"),
    "a circle of links": ("circle", "circle"),
}


@pytest.mark.parametrize("kind", OUTS)
@pytest.mark.parametrize("command", ["train", "report", "read"])
def test_names_that_no_file_can_have(run: Path, tmp_path: Path, capsys, seen, command: str, kind: str):
    name, said = OUTS[kind]
    (tmp_path / "circle").symlink_to("circle")
    before = seen(tmp_path)
    argv = {
        "train": ["train", "--out", str(tmp_path / name), *SHORT],
        "report": ["report", str(run), "--out", str(tmp_path / name), "--only", "learning", "--quiet"],
        "read": ["report", str(tmp_path / name)],
    }[command]
    if command != "train" and kind == "a run's name of 250 letters":
        return
    assert said in refused(argv, capsys)
    assert seen(tmp_path) == before


def toml(text: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text.encode() if isinstance(text, str) else text)


CONFIGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nested lists": (toml("a = " + "[" * 5000 + "]" * 5000), "nested too deep"),
    "nested tables": (toml("a = " + "{b = " * 5000 + "1" + "}" * 5000), "nested too deep"),
    "5,000 digits": (toml("seed = " + "9" * 5000), "is not valid TOML"),
    "a hexadecimal number of 5,000 digits": (toml("seed = 0x" + "f" * 5000), "a number too long to show"),
    "20,000 dots": (toml("a" + ".b" * 20_000 + " = 1"), "a key has more than 100 dots"),
    "20,000 dots in a heading": (toml("[a" + " . 'b'" * 20_000 + "]"), "a key has more than 100 dots"),
    "a pipe": (os.mkfifo, "no regular file"),
    "/dev/zero": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "a folder": (Path.mkdir, "it is a directory"),
    "2 MB": (toml("# " + "x" * 2_000_000), "more than 1,048,576"),
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_settings_that_can_not_be_read(tmp_path: Path, capsys, command: str, kind: str):
    make, said = CONFIGS[kind]
    path = tmp_path / "settings.toml"
    make(path)
    out = ["--out", str(tmp_path / "out")]
    argv = ["train", "--config", str(path), *out] if command == "train" else ["sweep", str(path), *out]
    sentence = refused(argv, capsys)
    assert said in sentence or command == "sweep"
    assert len(sentence) < 1000
    assert not (tmp_path / "out").exists()


def test_a_byte_order_mark_and_lines_of_dots_are_read(tmp_path: Path):
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xef\xbb\xbf# " + b"." * 500 + b" " + b". " * 500 + b"\nseed = 3\n")
    assert cli.read_config(path).seed == 3


LARGE = {
    "d_model": (["train", "--describe", "--model.d-model", "100000000000"], "model.d_model"),
    "n_unseen": (["train", "--describe", "--world.n-unseen", "1" + "0" * 30], "world.n_unseen"),
    "many names": (
        [
            "train",
            "--describe",
            "--world.n-entities",
            "10000000",
            "--world.n-unseen",
            "10000000",
            "--languages.name-length",
            "1",
        ],
        "world.n_entities",
    ),
    "names of 8 syllables": (
        ["train", "--describe", "--world.n-entities", "10000000", "--languages.name-length", "8"],
        "world.n_entities = 249872",
    ),
    "many values": (
        ["train", "--describe", "--world.n-relations", "500", "--world.n-values", "10000"],
        "world.n_values = 2000",
    ),
    "names without number": (
        ["train", "--describe", "--languages.name-length", "8", "--languages.name-syllables", "300"],
        "languages.name_length = 7",
    ),
    "5,000 digits": (["train", "--describe", "--seed", "9" * 5000], "seed"),
    "a device": (["train", "--training.device", "hpu", "--out", "{tmp}/x"], "training.device = hpu"),
    "another device": (["train", "--training.device", "privateuseone", "--out", "{tmp}/x"], "training.device"),
    "a device without numbers": (["train", "--training.device", "meta", "--out", "{tmp}/x"], "training.device = meta"),
    "no command": (["trian"], "there is no command 'trian'"),
}


@pytest.mark.parametrize("kind", LARGE)
def test_values_that_nothing_could_hold(kind: str, tmp_path: Path, capsys):
    argv, said = LARGE[kind]
    assert said in refused([argument.format(tmp=tmp_path) for argument in argv], capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_sentence_is_short(tmp_path: Path, capsys):
    """What it quotes of the user's may be long."""
    sentence = refused(["report", str(tmp_path), "--null", *["x" * 2000] * 3], capsys)
    assert len(sentence) < 2100
    assert " ... " in sentence


def test_no_room_is_made_for_more_than_a_file_has(tmp_path: Path):
    (tmp_path / "small").write_bytes(b"12")
    assert read_bytes(tmp_path / "small", 2**60) == b"12"


@pytest.mark.parametrize(
    "raw",
    [
        {"seeds": 10**6},
        {"seeds": 10**30},
        {"seeds": 10**5000},
        {"seeds": 200, "grid": {"seed": [1], "world.n_values": [*range(2, 53)]}},
    ],
)
def test_a_study_of_too_many_runs(raw):
    with pytest.raises(InputError, match="at most 10,000"):
        parse_study(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"grid": {"seed": 10**5000}},
        {"base": {"seed": 10**5000}},
        {"base": 10**5000},
        {"name": 10**5000},
        {"seeds": [-(10**5000)]},
        {"grid": {"world": {"seed": [10**5000]}}},
    ],
)
def test_a_study_with_numbers_too_long_to_show(raw):
    with pytest.raises(InputError, match=r"too long to show|a-number-too-long"):
        parse_study(raw)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_lacks_letters(encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert mechxl(["train", "--describe", "--world.n-entities", "20"]) == 0
    assert mechxl(["train", "--out", str(tmp_path / "läuft"), *SHORT]) == 0
    sys.stdout.flush()
    assert b"Sentences" in raw.getvalue()
    assert b"uft: 2 steps" in raw.getvalue()


def test_the_unforeseen_is_one_sentence_and_a_log(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def body(argv: Sequence[str]) -> int:
        raise ZeroDivisionError("\ud800 of\ntwo lines")

    assert cli.command(body, []) == 70
    error = capsys.readouterr().err
    assert error.startswith("mechxl: an error that mechxl did not foresee, which is a defect (ZeroDivisionError: ")
    assert error.count("\n") == 1
    assert "bug tracker" in error
    (log,) = tmp_path.iterdir()
    assert str(log) in error
    assert "Traceback" in log.read_text()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert cli.command(body, []) == 70
    assert "could not be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (MemoryError(), 1, "memory ran out; choose smaller settings"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), 1, "memory ran out (DefaultCPU"),
        (OSError(28, "No space left on device", "a/b"), 1, "a/b: No space left on device; make room"),
        (OSError(27, "File too large"), 1, "File too large; raise the limit"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_machine_lacks(capsys, raised: BaseException, status: int, said: str):
    def body(argv: Sequence[str]) -> int:
        raise raised

    assert cli.command(body, []) == status
    assert capsys.readouterr().err.startswith(f"mechxl: {said}")


@pytest.mark.parametrize("command", [["-m", "mechxl.train"], ["-m", "mechxl", "sweep"]])
def test_ctrl_c_while_a_command_still_imports(tmp_path: Path, command: Sequence[str]):
    (tmp_path / "tyro.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "mechxl: interrupted\n")
