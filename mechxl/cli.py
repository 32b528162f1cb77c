"""What the commands share: settings from TOML and the command line, exit codes, and errors in one sentence.

Exit codes: 0 done, 1 it ran but something failed, 2 bad input, 130 interrupted. This module imports only config, tyro
and pydantic, so that --help is quick.
"""

import contextlib
import dataclasses
import io
import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel

from mechxl.config import RunConfig, parse_config
from mechxl.errors import Failure, InputError
from mechxl.version import own_version

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def command(body: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """Runs a command's body on its arguments; an error becomes a sentence on stderr and an exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if "--version" in arguments:
        print(f"mechxl {own_version()}")
        return DONE
    try:
        return body(arguments)
    except InputError as error:
        print(f"mechxl: {error}", file=sys.stderr)
        return BAD_INPUT
    except Failure as error:
        print(f"mechxl: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt as interrupt:
        print(f"mechxl: {interrupt or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def parse(arguments_type: Any, argv: Sequence[str], prog: str, description: str) -> Any:
    """Parses a command line with tyro; hyphens and underscores are alike, and flags have no --no- form.

    Args:
        arguments_type: a dataclass whose fields are the arguments, or an annotation of one.
        argv: the command line, without the command.
        prog: the command, for --help.
        description: what the command does, for --help.

    Raises:
        InputError: tyro's message about what is wrong, as one line.
    """
    config = (tyro.conf.FlagCreatePairsOff,)
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(arguments_type, args=list(argv), prog=prog, description=description, config=config)
    except SystemExit as end:
        if not end.code:
            raise
        raise InputError(_panel_text(messages.getvalue())) from None


def _panel_text(panel: str) -> str:
    """The text of a panel that tyro draws, as one line; horizontal rules become semicolons."""
    inside = [line.strip().strip("│").strip() for line in panel.splitlines() if line.strip()[:1] not in ("╭", "╰")]
    return " ".join(" ".join(";" if line and not line.strip("─") else line for line in inside).split()).replace(
        " ;", ";"
    )


def settings_type(defaults: RunConfig) -> Any:
    """A plain dataclass of all settings for tyro. It checks no values: `parse_config` alone does."""
    return Annotated[_mirror(RunConfig, defaults), tyro.conf.arg(name="")]


def _mirror(model: type[BaseModel], defaults: BaseModel) -> type:
    fields = []
    for name, info in model.model_fields.items():
        value = getattr(defaults, name)
        if isinstance(value, BaseModel):
            section = _mirror(type(value), value)
            fields.append((name, section, dataclasses.field(default_factory=section)))
        else:
            kind = Annotated[info.annotation, tyro.conf.arg(help=info.description)]  # type: ignore[valid-type]
            fields.append((name, kind, dataclasses.field(default=value)))
    mirrored = dataclasses.make_dataclass(model.__name__, fields, frozen=True)
    mirrored.__doc__ = model.__doc__
    return mirrored


def option(argv: Sequence[str], name: str) -> str | None:
    """The value of `--name VALUE` or `--name=VALUE`, read before the full parse; None if it is absent."""
    for position, argument in enumerate(argv):
        if argument == f"--{name}" and position + 1 < len(argv):
            return argv[position + 1]
        if argument.startswith(f"--{name}="):
            return argument.split("=", 1)[1]
    return None


def read_config(path: Path) -> RunConfig:
    """The settings in a TOML file.

    Raises:
        InputError: the file is missing, is no TOML, or holds wrong settings; the sentence names the file.
    """
    raw = read_toml(path, "--config takes a TOML file of settings")
    try:
        return parse_config(raw)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_toml(path: Path, wanted: str) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        path: the file.
        wanted: what the user should have given, for the error if the file can't be read.

    Raises:
        InputError: the file is missing or is no TOML; the sentence names the file.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; {wanted}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({error}); {wanted}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not valid TOML ({error}); correct the file there") from None
