"""Reading and writing whole files: what is written is there completely or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mechxl.errors import InputError


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
    """The rows of a JSON-lines file that is written while it is read: a torn last line is left out."""
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line]
    except ValueError as error:
        raise InputError(f"{path}: can't be read ({error}); restore it, or train the run again") from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; moved into place at the end, removed if something fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a whole file, or nothing."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes a whole JSON file, or nothing; NaN is refused."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
