"""`python -m mechxl.train` as a shell sees it: exit status, stdout, stderr, and what is left on disk."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock

from mechxl.run import Run
from mechxl.training.loop import train_run
from tests.model.plain import command_line, contents, tiny
from tests.runs import unfinished
from tests.zygote import ENVIRONMENT, REPOSITORY, Result, Zygote

DONE, BAD_INPUT = 0, 2
SHORT = tiny(steps=6, checkpoints=3)


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A fresh process of its own; slow where it imports torch."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENT,
    )


def listing(directory: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(SHORT, tmp_path_factory.mktemp("complete") / "run", quiet=True).path


@pytest.fixture
def folder(tmp_path: Path, complete: Path) -> Path:
    """A complete run, one that was not finished, a directory that is none, a file, and settings good and bad."""
    shutil.copytree(complete, tmp_path / "run")
    shutil.copytree(complete, tmp_path / "unfinished")
    unfinished(tmp_path / "unfinished", 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    for name, text in {
        "broken": "[world\nn_entities = 5",
        "unknown": "[world]\nn_entites = 5",
        "section": "[wrld]\nn_entities = 5",
        "type": "[world]\nn_entities = 'many'",
        "fraction": "[world]\nn_entities = 5.5",
        "range": "[languages]\ncount = 9",
        "flat": "world = 3",
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
    (tmp_path / "latin.toml").write_bytes("# Zürich\n".encode("latin-1"))
    return tmp_path


BAD = {
    "unknown option": ("--world.n_entites 5", "n_entites"),
    "stray word": ("five", "five"),
    "wrong type": ("--world.n_entities five", "n-entities"),
    "fraction": ("--world.n_entities 5.5", "n-entities"),
    "no value": ("--world.n_entities", "n-entities"),
    "too small": ("--world.n_entities 1", "world.n_entities = 1: must be at least 2; the nearest that works: 2"),
    "too large": ("--mixture.parallel_fraction 1.5", "mixture.parallel_fraction = 1.5: must be at most 1"),
    "at the bound": ("--training.learning_rate 0", "training.learning_rate = 0"),
    "not a number": ("--training.learning_rate nan", "training.learning_rate = nan"),
    "infinite": ("--training.weight_decay inf", "training.weight_decay = inf"),
    "negative seed": ("--seed -1", "seed = -1"),
    "not a choice": ("--tokenization.kind words", "kind"),
    "heads": ("--model.n_heads 3", "model.n_heads = 3: it must divide d_model, which is 64; the nearest that works"),
    "betas": ("--training.betas 0.9 1.5", "training.betas = [0.9, 1.5]"),
    "shares": ("--mixture.language_shares 0.5 0.6", "mixture.language_shares = [0.5, 0.6]: the shares sum to 1.1"),
    "names": ("--world.n_entities 2000", "world.n_entities = 2000"),
    "vocabulary": ("--tokenization.kind bpe --tokenization.vocab_size 5", "tokenization.vocab_size = 5"),
    "device": ("--training.device nonsense", "training.device = nonsense"),
    "no such config": ("--config {folder}/none.toml", "none.toml: there is no such file"),
    "config is a directory": ("--config {folder}/mine", "mine: can't be read"),
    "no TOML": ("--config {folder}/broken.toml", "broken.toml: is not valid TOML"),
    "not UTF-8": ("--config {folder}/latin.toml", "latin.toml: can't be read"),
    "unknown setting": ("--config {folder}/unknown.toml", "unknown.toml: world.n_entites: there is no such setting"),
    "unknown section": ("--config {folder}/section.toml", "section.toml: wrld: there is no such setting"),
    "wrong type in TOML": (
        "--config {folder}/type.toml",
        "type.toml: world.n_entities = 'many': must be a whole number",
    ),
    "fraction in TOML": ("--config {folder}/fraction.toml", "fraction.toml: world.n_entities = 5.5"),
    "out of range in TOML": ("--config {folder}/range.toml", "range.toml: languages.count = 9: must be at most 8"),
    "no section in TOML": ("--config {folder}/flat.toml", "flat.toml: world"),
    "out is a file": ("--out {folder}/file", "file: is a file"),
    "out is in a file": ("--out {folder}/file/run", "file/run: can't be written"),
    "out is no run": ("--out {folder}/mine", "mine: holds files that are not a run's"),
    "out is no run, overwritten": ("--out {folder}/mine --overwrite", "mine: holds files that are not a run's"),
    "other settings": ("--out {folder}/run --seed 1", "world.seed is 0 there and 1 here"),
    "other settings, resumed": (
        "--out {folder}/unfinished --resume --model.d_mlp 8",
        "model.d_mlp is 32 there and 8 here",
    ),
    "not finished": ("--out {folder}/unfinished --config {folder}/unfinished/config.toml", "--resume"),
}


def refused(result: Result, message: str) -> None:
    assert result.status == BAD_INPUT, result
    assert "Traceback" not in result.err
    assert "https://" not in result.err
    assert message in result.err
    assert result.out == ""


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_and_leaves_nothing(zygote: Zygote, folder: Path, case: str):
    arguments, message = BAD[case]
    before = listing(folder)
    command = arguments.format(folder=folder).split()
    result = zygote.train(*([] if "--out" in command else ["--out", folder / "new"]), *command)
    refused(result, message)
    assert listing(folder) == before


def test_two_trainers_do_not_share_a_run(zygote: Zygote, folder: Path):
    with FileLock(folder / "unfinished" / "lock"):
        before = listing(folder)
        for options in (["--resume"], ["--overwrite"], []):
            result = zygote.train("--out", folder / "unfinished", *command_line(SHORT), *options)
            refused(result, "unfinished: another process is training this run")
        assert listing(folder) == before


def test_a_fresh_process_trains_what_file_and_options_say(tmp_path: Path, zygote: Zygote):
    text = """
        [world]
        n_entities = 30
        n_unseen = 0
        [languages]
        word_order = "varied"
        [training]
        steps = 4
        checkpoints = 2
    """
    (tmp_path / "settings.toml").write_text(text)
    command = ["--config", tmp_path / "settings.toml", "--out", tmp_path / "new" / "run", "--world.n_entities", "20"]
    result = python("-m", "mechxl.train", *command, "--training.batch-size=8")
    assert (result.returncode, result.stderr) == (DONE, "")
    assert result.stdout.startswith(f"{tmp_path}/new/run: 4 steps in ")
    assert result.stdout.count("\n") == 1
    run = Run(tmp_path / "new" / "run")
    settings = tomllib.loads((run.path / "config.toml").read_text())
    assert run.complete
    assert settings["world"]["n_entities"] == 20
    assert settings["world"]["n_unseen"] == 0
    assert settings["languages"]["word_order"] == "varied"
    assert settings["training"]["batch_size"] == 8
    assert settings["training"]["learning_rate"] == 2e-3
    assert run.environment["command"][1:] == [str(word) for word in [*command, "--training.batch-size=8"]]

    before = contents(run.path)
    again = zygote.train(*command, "--training.batch_size", "8")
    assert (again.status, again.err) == (DONE, "")
    assert "run: is complete with these settings already" in again.out
    assert contents(run.path) == before


def test_quiet_says_nothing(zygote: Zygote, tmp_path: Path):
    result = zygote.train("--out", tmp_path / "run", "--quiet", *command_line(SHORT))
    assert result == Result(DONE, "", "", 0)
    assert Run(tmp_path / "run").complete


def test_resuming_takes_the_runs_own_settings(zygote: Zygote, tmp_path: Path):
    out, longer = tmp_path / "run", command_line(tiny(steps=300, checkpoints=40))
    early = out / "checkpoints" / "step-000001.safetensors"
    assert zygote.train("--out", out, *longer, interrupt_when=early).status == 130
    result = zygote.train("--resume", "--out", out)
    assert (result.status, result.err) == (DONE, "")
    assert Run(out).config == tiny(steps=300, checkpoints=40)
    assert Run(out).complete
    assert result.out.startswith(f"{out}: 300 steps")


def test_describe_prints_and_trains_nothing(zygote: Zygote, tmp_path: Path):
    sizes = ["--world.n-entities", "300", "--languages.count", "3", "--languages.cue", "tag"]
    result = zygote.train("--describe", "--out", tmp_path / "run", *sizes)
    assert (result.status, result.err) == (DONE, "")
    lines = result.out.splitlines()
    assert 30 < len(lines) < 150
    assert max(map(len, lines)) < 200
    assert any(line.split()[:2] == ["entities", "300"] for line in lines)
    assert not any("nan" in line.split() for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_hyphens_and_underscores_are_alike(zygote: Zygote):
    spellings = ["--world.n_entities", "--world.n-entities"]
    described = [zygote.train("--describe", spelling, "40").out for spelling in spellings]
    assert described[0] == described[1]
    assert described[0] != zygote.train("--describe").out


PROBE = """
import json, sys
from mechxl.{module} import main
try:
    status = main({arguments})
except SystemExit as leave:
    status = leave.code
print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--describe", "--world.n_entities", "20"]])
def test_quick_answers_import_nothing_slow(arguments: list[str]):
    result = python("-c", PROBE.format(module="train", arguments=arguments))
    status, modules = json.loads(result.stderr)
    assert status == DONE
    slow = {"torch", "transformers", "transformer_lens", "sklearn", "scipy", "pyarrow", "rich.progress"}
    if arguments == ["--help"]:
        slow |= {"pandas", "tokenizers", "safetensors"}
        assert "--world.n-entities INT" in result.stdout
        shown = " ".join(result.stdout.split())
        assert "entities that occur in training [at least 2, at most 10,000,000]" in shown
    assert slow & set(modules) == set()


def test_the_console_script_knows_its_commands():
    trains = python("-m", "mechxl", "train", "--help")
    assert trains.returncode == DONE
    assert "--training.steps INT" in trains.stdout
    for arguments in (["--version"], ["train", "--version"]):
        result = python("-m", "mechxl", *arguments)
        assert (result.returncode, result.stdout) == (DONE, f"mechxl {version('mechxl')}\n")
    unknown = python("-m", "mechxl", "trian")
    assert unknown.returncode == BAD_INPUT
    assert "trian" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    assert "train" in python("-m", "mechxl").stdout
