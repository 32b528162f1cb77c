"""What mechxl made, by name and content. Nothing else is ever removed, and no link is followed to remove something."""

import json
import os
import re
import tomllib
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from mechxl.config import parse_config
from mechxl.errors import InputError
from mechxl.files import is_partial, kind_of, read_bytes

RUN_FILES = (
    "environment.json",
    "facts.parquet",
    "tokenizer.json",
    "metrics.jsonl",
    "resume.safetensors",
    "COMPLETE",
    "lease",
    "lock",
    "config.toml",
)  # in the order in which they are removed: by its settings, what is left of a run is known as such
CHECKPOINT = re.compile(r"step-(\d{6}|[1-9]\d{6,})\.safetensors", re.ASCII)
_GROUP = re.compile(r"step-\d{6,}-[0-9a-f]{20}|\.old-[0-9a-f]{32}")
_ARRAY = re.compile(r"\w+(\.\w+)+", re.ASCII)
_CHUNK = re.compile(r"c(\.\d+)+", re.ASCII)

Owned = Callable[[tuple[str, ...], Path], bool]
"""owned(names, path): whether a file or directory, by its names below the top and its content, is mechxl's."""


def is_run(directory: Path) -> bool:
    """Whether a directory is a run's, or what a killed trainer left of one: it has a run's settings, or only a lock."""
    if kind_of(directory) != "directory":
        return False
    settings = directory / "config.toml"
    if kind_of(settings) != "file":
        return all(path.name in ("lock", "lease") or is_partial(path) for path in directory.iterdir())
    try:
        parse_config(tomllib.loads(read_bytes(settings).decode("utf-8")))
    except (InputError, OSError, ValueError, RecursionError):
        return False
    return True


def in_run(names: tuple[str, ...], path: Path) -> bool:
    """Whether something in a run's directory is mechxl's."""
    if is_partial(path):
        return True
    kind = kind_of(path)
    if names[0] == "activations.zarr":
        return in_cache(names[1:], path)
    if len(names) == 1:
        folders = ("checkpoints", "findings")
        return kind == "directory" if names[0] in folders else kind == "file" and names[0] in RUN_FILES
    if len(names) != 2 or kind != "file":
        return False
    if names[0] == "checkpoints":
        return CHECKPOINT.fullmatch(names[1]) is not None
    return names[0] == "findings" and names[1].endswith(".json") and _begins(path, b'{"question": ')


def in_cache(names: tuple[str, ...], path: Path) -> bool:
    """Whether something in activations.zarr, or this itself (no names), is mechxl's."""
    if is_partial(path):
        return True
    kind = kind_of(path)
    if names and names[-1] == "zarr.json":
        return kind == "file" and len(names) <= 3 and _describes(path)
    if len(names) == 3:
        return kind == "file" and _CHUNK.fullmatch(names[2]) is not None
    patterns = (_GROUP, _ARRAY)
    return (
        kind == "directory"
        and len(names) < 3
        and all(pattern.fullmatch(name) for pattern, name in zip(patterns, names, strict=False))
    )


def is_old_group(path: Path) -> bool:
    """Whether this is a checkpoint's group of activations in which all is mechxl's."""
    return in_cache((path.name,), path) and all(
        in_cache((path.name, *names), inner) for names, inner in _below(path, lambda _, inner: True)
    )


def remove(directory: Path, owned: Owned, above: tuple[str, ...] = ()) -> bool:
    """Removes from a directory what is mechxl's, and the directory if nothing is left in it.

    Args:
        directory: a directory, no link.
        owned: what is mechxl's.
        above: the names above what the directory holds, for `owned`.

    Returns:
        Whether the directory is gone.
    """
    for names, path in _below(directory, lambda names, inner: owned((*above, *names), inner)):
        if not owned((*above, *names), path):
            continue
        try:
            path.rmdir() if kind_of(path) == "directory" else path.unlink()
        except OSError:  # a directory in which something else is left, or somebody else's file
            continue
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def aside(path: Path) -> Path:
    """A name beside a group of activations under which it is removed."""
    return path.with_name(f".old-{uuid.uuid4().hex}")


def give_back(old: Path, place: Path) -> None:
    """Moves what is left in a directory, which is not mechxl's, to equal names at a place, where nothing is there."""
    for path in list(old.iterdir()):
        target = place / path.name
        try:
            if (there := kind_of(target)) == "nothing":
                path.rename(target)
            elif there == kind_of(path) == "directory":
                give_back(path, target)
        except OSError:
            continue
    with suppress(OSError):
        old.rmdir()


def _below(directory: Path, enter: Callable[[tuple[str, ...], Path], bool]) -> Iterator[tuple[tuple[str, ...], Path]]:
    """(names, path) of all below a directory, what a folder holds before the folder; links are not entered."""
    order = {name: place for place, name in enumerate(RUN_FILES)}
    for name in sorted(os.listdir(directory), key=lambda name: order.get(name, -1)):  # noqa: PTH208  names
        path = directory / name
        if kind_of(path) == "directory" and enter((name,), path):
            yield from (((name, *names), inner) for names, inner in _below(path, _inside(enter, name)))
        yield (name,), path


def _inside(enter: Callable[[tuple[str, ...], Path], bool], name: str) -> Callable[[tuple[str, ...], Path], bool]:
    return lambda names, path: enter((name, *names), path)


def _begins(path: Path, content: bytes) -> bool:
    try:
        return read_bytes(path, None)[: len(content)] == content
    except OSError:
        return False


def _describes(path: Path) -> bool:
    """Whether a file describes a Zarr array or group."""
    try:
        content = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("zarr_format") == 3
