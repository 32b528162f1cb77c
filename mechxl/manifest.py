"""What a run consists of: size and hash of each file, and which checkpoints and evaluations there must be.

A complete run has this in COMPLETE (`Manifest`). While training goes on, resume.safetensors has it for what the saved
state builds on (`Base`).
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mechxl.errors import InputError
from mechxl.files import kind_of, read_bytes, reason, write_text

AT_ONCE = 2**20  # bytes: smaller files are hashed when a run is opened, larger ones when they are read
DATA = ("config.toml", "facts.parquet", "tokenizer.json", "metrics.jsonl")
FORMAT: Literal["mechxl run 1"] = "mechxl run 1"
_PIECE = 2**22


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Seal(_Strict):
    """Size and SHA-256 of a file."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Base(_Strict):
    """What a saved state builds on: files as they are, and the beginning of metrics.jsonl."""

    files: dict[str, Seal]
    metrics: Seal


class Manifest(_Strict):
    """The content of COMPLETE.

    Attributes:
        format: of this file.
        steps: the last step.
        checkpoints: the steps whose checkpoints there must be.
        evaluations: the steps of the rows of metrics.jsonl.
        files: by path in the run's directory.
        accepted: what was otherwise than training left it when somebody accepted it, a sentence each.
    """

    format: Literal["mechxl run 1"]
    steps: int = Field(ge=1)
    checkpoints: list[int]
    evaluations: list[int]
    files: dict[str, Seal]
    accepted: list[str] = []

    def write(self, path: Path) -> None:
        """Writes COMPLETE, with a hash of its own."""
        content = self.model_dump(mode="json")
        write_text(path, json.dumps(content | {"sha256": _digest(content)}, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """What `write` wrote.

        Raises:
            InputError: it can't be read, or is not as it was written.
        """
        try:
            content = json.loads(read_bytes(path).decode("utf-8"))
            if not isinstance(content, dict) or content.pop("sha256", "") != _digest(content):
                raise ValueError("it holds no manifest whose hash is right")
            return cls.model_validate(content)
        except (OSError, ValueError, RecursionError) as error:
            said = "it holds no manifest" if isinstance(error, ValidationError) else reason(error)
            raise InputError(
                f"{path}: can't be read as what the run consists of ({said}); restore it, or accept the run as it is "
                f"with {accepting(path.parent)}"
            ) from None

    def changes(self, directory: Path, hashed: int | None = AT_ONCE) -> Iterator[str]:
        """What is otherwise than the manifest says, a phrase each.

        Args:
            directory: of the run.
            hashed: larger files are compared by size alone; None: all are hashed.
        """
        yield from changed_files(directory, self.files, hashed)


def changed_files(directory: Path, files: Mapping[str, Seal], hashed: int | None = None) -> Iterator[str]:
    """Which files are otherwise than their seals, a phrase each; larger files than `hashed` by size alone."""
    for name, seal in files.items():
        path = directory / name
        try:
            status = path.stat()
        except OSError as error:
            yield f"{name} is missing" if isinstance(error, FileNotFoundError) else f"{name}: {error.strerror}"
            continue
        if kind_of(path.resolve()) != "file":
            yield f"{name} is no regular file"
        elif status.st_size != seal.size:
            yield f"{name} has {status.st_size:,} bytes, not {seal.size:,}"
        elif hashed is None or (seal.size <= hashed and name in DATA):
            try:
                if sealed(path) != seal:
                    yield f"{name} has other content"
            except OSError as error:
                yield f"{name} can't be read ({reason(error)})"


def sealed(path: Path) -> Seal:
    """The seal of a regular file.

    Raises:
        OSError: it can't be read.
    """
    if kind_of(path.resolve()) != "file":
        raise OSError(None, "it is no regular file")
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
    return Seal(size=size, sha256=digest.hexdigest())


def seal_of(content: bytes) -> Seal:
    """The seal of a file with this content."""
    return Seal(size=len(content), sha256=hashlib.sha256(content).hexdigest())


def accepting(directory: Path) -> str:
    """The command that accepts a run as it is."""
    return f"mechxl check {directory} --accept"


def read_base(path: Path) -> Base | None:
    """What the state in resume.safetensors builds on, from the file's header; None if there is no such file.

    Raises:
        InputError: the header can't be read.
    """
    try:
        if kind_of(path) == "nothing":
            return None
        if kind_of(path) != "file":
            raise OSError(None, "it is no regular file")
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > 2**26:
                raise ValueError("its header is too long")
            metadata = json.loads(file.read(length).decode("utf-8"))["__metadata__"]
        return Base.model_validate_json(metadata["base"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        said = "it holds no state" if isinstance(error, ValidationError | KeyError | TypeError) else reason(error)
        raise InputError(f"{path}: can't be read ({said}); train the run again with --overwrite") from None


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
