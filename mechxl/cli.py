"""What the commands share: settings from TOML and the command line, exit codes, and errors in one sentence.

Exit codes: 0 done, 1 it ran but something failed, 2 bad input, 130 interrupted, 70 an error that nobody foresaw, which
is a defect of mechxl. This module imports only config, tyro and pydantic, so that --help is quick.
"""

import contextlib
import dataclasses
import errno
import io
import os
import re
import sys
import tempfile
import tomllib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel

from mechxl.config import RunConfig, parse_config
from mechxl.errors import Failure, InputError
from mechxl.files import check_path, read_bytes, reason
from mechxl.version import own_version

DONE, FAILED, BAD_INPUT, DEFECT, INTERRUPTED = 0, 1, 2, 70, 130
LARGEST_TOML = 2**20  # bytes
LONGEST_SENTENCE = 2000  # letters: some quote what the user gave
MOST_DOTS = 100  # in a key: tomllib takes a time that grows with their square
MACHINE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit of a file's size",
    errno.EROFS: "choose another place",
    errno.EACCES: "see to its permissions",
    errno.EPERM: "see to its permissions",
    errno.EIO: "see to the disk",
    errno.ENOMEM: "free memory, or choose smaller settings",
    errno.EMFILE: "raise the limit of open files",
    errno.ENFILE: "close other programs",
    errno.ENAMETOOLONG: "choose a shorter name",
}  # what the machine may refuse, and what helps


def command(body: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """Runs a command's body on its arguments; an error becomes a sentence on stderr and an exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if "--version" in arguments:
        print(f"mechxl {own_version()}")
        return DONE
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter must not end the work
    try:
        return body(arguments)
    except InputError as error:
        return _say(str(error), BAD_INPUT)
    except Failure as error:
        return _say(str(error), FAILED)
    except KeyboardInterrupt as interrupt:
        return _say(str(interrupt) or "interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if sentence := foreseen(error):
            return _say(sentence, FAILED)
        return _say(_unforeseen(error), DEFECT)


def _say(sentence: str, status: int) -> int:
    """Prints a sentence on stderr, as one line, and gives the status. The middle of a very long one is left out."""
    line = " ".join(sentence.splitlines())
    if len(line) > LONGEST_SENTENCE:
        line = f"{line[: LONGEST_SENTENCE // 2]} ... {line[-LONGEST_SENTENCE // 2 :]}"
    print(f"mechxl: {line}".encode(errors="backslashreplace").decode(), file=sys.stderr)
    return status


def foreseen(error: BaseException) -> str:
    """The sentence for an error in which the machine lacks something; empty for any other."""
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _SCARCE.search(text)):
        shown = text.split("\n")[0][:200]
        return f"memory ran out{f' ({shown})' if shown else ''}; choose smaller settings, or use a machine with more"
    if isinstance(error, OSError) and error.errno in MACHINE:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; {MACHINE[error.errno]}, and run the same command again"
    return ""


_SCARCE = re.compile("memory|start new thread")  # a thread's stack too is memory


def _unforeseen(error: Exception) -> str:
    """The sentence for an error that nobody foresaw; its traceback goes into a file."""
    what = f"{type(error).__name__}: {str(error).strip()[:200]}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="mechxl-", suffix=".log", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as log:
            log.write(f"mechxl {own_version()}, {sys.version}\n{sys.argv}\n")
            log.writelines(traceback.format_exception(error))
        where = f"details are in {log.name}"
    except OSError:
        where = "details could not be written"
    return (
        f"an error that mechxl did not foresee, which is a defect ({what}); {where}; please file it, with this file, "
        "in the bug tracker of mechxl's repository"
    )


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


def options_type(model: type[BaseModel]) -> type:
    """A plain dataclass of a model's fields for tyro, in which what is not given is None. It checks no values."""
    fields = []
    for name, info in model.model_fields.items():
        flag = info.annotation is bool
        kind = info.annotation if flag else info.annotation | None  # type: ignore[operator]
        described = Annotated[kind, tyro.conf.arg(help=info.description)]  # type: ignore[valid-type]
        fields.append((name, described, dataclasses.field(default=False if flag else None)))
    return dataclasses.make_dataclass(model.__name__, fields, frozen=True)


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
    check_path(path, "the file")
    try:
        text = read_bytes(path, LARGEST_TOML).decode("utf-8-sig")
        if any(len(_DOT.findall(part)) > MOST_DOTS for part in _PARTS.split(text)):
            raise InputError(f"{path}: a key has more than {MOST_DOTS} dots; {wanted}")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; {wanted}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read ({reason(error)}); {wanted}") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deep; {wanted}") from None
    except ValueError as error:
        raise InputError(f"{path}: is not valid TOML ({error}); correct the file there") from None


_PARTS = re.compile(r"[=,\[\]{}#\n]")
_DOT = re.compile(r"[^\s.]\s*\.(?=\s*[^\s.])")
