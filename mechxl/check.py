"""Checks whether runs are as training left them.

python -m mechxl.check RUN [RUN ...] [--accept]
"""

import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from mechxl.cli import DONE, FAILED, command, parse
from mechxl.config import parse_config
from mechxl.errors import InputError
from mechxl.files import parse_rows, read_bytes, read_json, write_json
from mechxl.manifest import DATA, FORMAT, Manifest, sealed
from mechxl.owned import CHECKPOINT
from mechxl.run import Run
from mechxl.schema import environment_hash


@dataclass(frozen=True)
class Check:
    """Which runs to check."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(help="directories of runs")]
    accept: Annotated[
        bool,
        tyro.conf.arg(
            help="take the files as they are, for someone who changed them on purpose: COMPLETE is written anew, and "
            "pages say what is otherwise than training left it"
        ),
    ] = False
    version: Annotated[bool, tyro.conf.arg(help="print the version")] = False


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command(_check, argv)


def _check(argv: Sequence[str]) -> int:
    options: Any = parse(Check, argv, "python -m mechxl.check", "Checks whether runs are as training left them.")
    if not options.runs:
        raise InputError("no run is given; name a run's directory, or several")
    status = DONE
    for path in options.runs:
        if options.accept:
            for change in accept(path):
                print(f"{path}: accepted: {change}")
        problems, remarks = check(path)
        for text in (*problems, *remarks):
            print(f"{path}: {text}")
        if problems:
            status = FAILED
        else:
            run = Run(path)
            print(f"{path}: {'complete' if run.complete else 'not complete'}, {len(run.steps)} checkpoints, whole")
    return status


def check(path: str | Path) -> tuple[list[str], list[str]]:
    """(what is wrong with a run, what is only worth knowing), each a sentence; every file is read and hashed.

    Raises:
        InputError: the path is no run directory.
    """
    from safetensors.torch import load

    from mechxl.model.hooked import copy_parameters

    if not (Path(path) / "config.toml").exists():
        Run(path)  # which says why it is none
    try:
        run = Run(path)
    except InputError as error:
        return [str(error)], []
    problems: list[str] = []
    if run.manifest:
        problems += run.manifest.changes(run.path, hashed=None)
    for read in ("facts", "tokenizer", "corpus", "rows"):
        try:
            getattr(run, read)
        except InputError as error:
            problems.append(str(error))
    if not problems and run.steps:
        model = run.model(run.steps[0])
        for step in run.steps[1:]:
            try:
                copy_parameters(model, load(run.read_checkpoint(step)[0]))
            except InputError as error:
                problems.append(str(error))
            except Exception as error:  # the library raises no narrower class
                problems.append(f"{run.checkpoint(step)}: can't be read as this run's parameters ({error})")
    remarks = [f"checkpoints/{name} is not of this training; it is left alone" for name in run.foreign]
    accepted = run.manifest.accepted if run.manifest else []
    return problems, remarks + [f"was accepted: {change}" for change in accepted]


def accept(path: str | Path) -> list[str]:
    """Writes COMPLETE anew for a run's files as they are. Returns what is otherwise than training left it.

    Raises:
        InputError: the path is no run directory, training has not ended, or a file can't be read.
    """
    path = Path(path)
    if not (path / "config.toml").is_file():
        Run(path)  # which says why it is none
    try:
        before = Manifest.read(path / "COMPLETE")
    except InputError:
        before = None
    try:
        found, environment = _as_it_is(path), read_json(path / "environment.json")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: can't be accepted, since a file can't be read ({error}); restore it") from None
    if before is None and (found.evaluations[-1:] != [found.steps] or (path / "resume.safetensors").exists()):
        raise InputError(f"{path}: its training has not ended; continue it with --resume")
    changes = ["it had no manifest: nothing shows that its files are those of the training"]
    if before:
        extra = sorted(set(found.checkpoints) - set(before.checkpoints))
        changes = [
            *before.changes(path, hashed=None),
            *(f"the checkpoint of step {step:,} was added" for step in extra),
        ]
        settings = before.files["config.toml"].sha256
        if environment.get("sha256") != environment_hash(_unsealed(environment), settings):
            changes.append("environment.json has other content")
    plain, settings = _unsealed(environment), found.files["config.toml"].sha256
    write_json(path / "environment.json", plain | {"sha256": environment_hash(plain, settings)})
    earlier = before.accepted if before else []
    accepted = [*earlier, *(change for change in changes if change not in earlier)]
    found.model_copy(update={"accepted": accepted}).write(path / "COMPLETE")
    return changes


def _as_it_is(path: Path) -> Manifest:
    """The manifest of a run's files as they are."""
    config = parse_config(tomllib.loads(read_bytes(path / "config.toml").decode("utf-8")))
    rows = parse_rows(path / "metrics.jsonl", read_bytes(path / "metrics.jsonl"))
    names = sorted(file.name for file in (path / "checkpoints").iterdir() if CHECKPOINT.fullmatch(file.name))
    return Manifest(
        format=FORMAT,
        steps=config.training.steps,
        checkpoints=sorted(int(name.removesuffix(".safetensors").split("-")[1]) for name in names),
        evaluations=[row["step"] for row in rows],
        files={name: sealed(path / name) for name in (*DATA, *(f"checkpoints/{name}" for name in names))},
    )


def _unsealed(environment: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in environment.items() if name != "sha256"}


if __name__ == "__main__":
    sys.exit(main())
