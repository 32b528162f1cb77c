"""Reading and writing whole files: what is written is there completely or not at all."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mechxl.errors import InputError

TEMPORARY = "*.partial"  # names of files that are being written, or that a killed writer left


def read_json(path: Path) -> Any:
    """A JSON file's content.

    Raises:
        InputError: the file is missing or damaged; it is named.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({error}); restore it, or train the run again") from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file that is written while it is read: a torn last line is left out.

    Raises:
        InputError: a line is damaged; the file is named.
    """
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line]
    except ValueError as error:
        raise InputError(f"{path}: can't be read ({error}); restore it, or train the run again") from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the directory of `path` to write to.

    The file is moved to `path` at the end, and removed if something fails. Several writers of one path do not disturb
    each other: the last one's file stays.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
