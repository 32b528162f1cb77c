"""Reading and writing whole files: what is written is there completely or not at all, and only regular files are read.

A file that is being written has a name that no person would give, `.NAME.32 hex digits.partial`.
"""

import json
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mechxl.errors import InputError

LARGEST = 2**26  # bytes of a file of settings, rows or answers; a checkpoint may be larger
LONGEST_NAME = 255  # bytes, in all common file systems
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{32}\.partial", re.DOTALL)


def check_path(path: Path, what: str) -> Path:
    """A path that a user gave, if a file system can have such a path.

    Args:
        path: the path.
        what: what it names, for the error.

    Raises:
        InputError: it holds NUL or bytes that are not UTF-8, a name is too long, or its links lead in a circle.
    """
    text = str(path)
    if "\0" in text:
        raise InputError(f"{what} {text!a}: holds a NUL character; choose another name")
    try:
        longest = max((len(part.encode()) for part in path.parts), default=0)
    except UnicodeEncodeError:
        raise InputError(f"{what} {text!a}: is not UTF-8; choose another name") from None
    if longest > LONGEST_NAME:
        shown = text if len(text) < 80 else f"{text[:60]}..."
        raise InputError(f"{what} {shown}: a name of {longest:,} bytes is too long; use at most {LONGEST_NAME}")
    try:
        path.resolve()
        path.exists()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
        raise InputError(f"{what} {text[:200]}: can't be reached ({reason}); choose another name") from None
    return path


def kind_of(path: Path) -> str:
    """What is at a path, a link not followed: nothing, file, link, directory, or special file."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    kinds = {stat.S_IFREG: "file", stat.S_IFLNK: "link", stat.S_IFDIR: "directory"}
    return kinds.get(stat.S_IFMT(mode), "special file")


def is_partial(path: Path) -> bool:
    """Whether a killed writer left this file, or a writer is at work on it (`whole_file`)."""
    return _PARTIAL.fullmatch(path.name) is not None and kind_of(path) == "file"


def read_bytes(path: Path, most: int | None = LARGEST) -> bytes:
    """The content of a regular file. It never waits, as it would for a pipe.

    Args:
        path: the file; links are followed.
        most: the most bytes that it may have; None: any number.

    Raises:
        OSError: it can't be read, is no regular file, or is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it is a directory" if stat.S_ISDIR(status.st_mode) else "it is no regular file")
        if most is not None and status.st_size > most:
            raise OSError(None, f"it has {status.st_size:,} bytes, more than {most:,}")
    except OSError:
        os.close(descriptor)
        raise
    with open(descriptor, "rb") as file:  # noqa: PTH123  a descriptor
        return file.read(status.st_size)  # not `most`, for which room would be made


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        InputError: the file is missing or damaged; it is named.
    """
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read ({reason(error)}); restore it, or train the run again") from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file that may be written while it is read: a torn last line is left out.

    Raises:
        InputError: a line is damaged; file and line are named.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path}: can't be read ({reason(error)}); restore it, or train the run again") from None
    return parse_rows(path, content)


def parse_rows(path: Path, content: bytes) -> list[dict[str, Any]]:
    """The rows in the content of a JSON-lines file; the path is for messages.

    Raises:
        InputError: a line is damaged; file and line are named.
    """
    *lines, last = content.split(b"\n")
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1)]
    with suppress(InputError):  # it may be torn: whoever writes it has not ended
        rows += [_row(path, len(lines) + 1, last)] if last else []
    return rows


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        if line.endswith(b"\r") or not isinstance(row, dict):
            raise ValueError("it ends in CR" if line.endswith(b"\r") else "it is no row of names and values")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: line {number} can't be read ({error}); restore the file, or train the run again"
        ) from None
    return row


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def reason(error: BaseException) -> str:
    """Why a file can't be read, without its path."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the directory of `path` to write to.

    The file is moved to `path` at the end, and removed if something fails. Several writers of one path do not disturb
    each other: the last one's file stays. A link at `path` is replaced, not followed.

    Raises:
        OSError: a directory or a special file is at `path`.
    """
    if (kind := kind_of(path)) in ("directory", "special file"):
        raise OSError(None, f"it is a {kind}", str(path))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)  # the name that the user knows
        raise


def write_bytes(path: Path, *parts: bytes | memoryview) -> None:
    """Writes a whole file from its parts, or nothing."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.writelines(parts)


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file, or nothing."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes a whole JSON file, or nothing.

    Raises:
        ValueError: the content holds NaN.
    """
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
