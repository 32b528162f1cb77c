"""The files of one run: what it consists of, and reading only what is as training left it."""

import tomllib
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from mechxl.config import RunConfig, parse_config
from mechxl.errors import InputError
from mechxl.files import check_path, kind_of, parse_rows, read_bytes, reason
from mechxl.manifest import Base, Manifest, Seal, accepting, changed_files, read_base, seal_of
from mechxl.owned import CHECKPOINT
from mechxl.schema import check_rows, read_environment, scheduled

LARGEST_SETTINGS = 2**20  # bytes


class RunFiles:
    """The files of a run on disk, without what needs its data or its model.

    Of a run that is being trained it shows the state at its opening: what is trained later, a new `Run` shows.

    Attributes:
        path: the run's directory.
        manifest: what a complete run consists of.
        base: of a run that is not complete, what its saved state builds on.
        unkept: findings that can't be written beside the run (somebody else's, say), as JSON by question.

    Raises:
        InputError: the path is no run directory, or a file is not as training left it. Sizes are compared when a run
            is opened, hashes of large files when these are read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = check_path(Path(path), "run")
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: there is no such run; train it with python -m mechxl.train --out {self.path}"
            )
        if kind_of(self.file("config.toml")) == "nothing":
            raise InputError(
                f"{self.path}: is not a run directory (it has no config.toml); name one that mechxl.train wrote"
            )
        self.manifest, self.base = self._consists_of()
        self.unkept: dict[str, str] = {}
        self._hashes: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._check_opened()

    def _consists_of(self) -> tuple[Manifest | None, Base | None]:
        """The manifest of a complete run; of another one, what its saved state builds on."""
        if kind_of(self.file("COMPLETE")) == "nothing":
            base = read_base(self.file("resume.safetensors"))
            if base or kind_of(self.file("COMPLETE")) == "nothing":  # training may have ended meanwhile
                return None, base
        return Manifest.read(self.file("COMPLETE")), None

    def _check_opened(self) -> None:
        """Compares the files with the manifest, or with what the saved state builds on."""
        if self.manifest:
            changes = [*self.manifest.changes(self.path)]
            if not changes and self.manifest.steps != self.config.training.steps:
                changes = ["COMPLETE is another run's"]
        elif self.base:
            files = {name: seal for name, seal in self.base.files.items() if name != "facts.parquet"}
            changes = [*changed_files(self.path, files, hashed=2**20)]
        else:
            rows = self.rows
            changes = ["COMPLETE is missing"] if rows and rows[-1]["step"] == self.config.training.steps else []
        if not changes and not self.manifest:
            with suppress(InputError):  # it is said by whoever reads them
                _ = self.steps, self.rows  # in this order: the row of each checkpoint was written before it
        if not changes and (self.manifest or self.base):
            _ = self.environment  # which has a hash of its own
        if changes:
            listed = "; ".join(changes[:5]) + (f"; and {len(changes) - 5} more" if len(changes) > 5 else "")
            raise InputError(
                f"{self.path}: is not as training left it: {listed}. Restore it; or, if this was done on purpose, "
                f"accept it with {accepting(self.path)}"
            )

    def file(self, name: str) -> Path:
        """The path of a file in the run directory."""
        return self.path / name

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.resolve().name

    @property
    def complete(self) -> bool:
        """Whether training has ended."""
        return self.manifest is not None

    def read(self, name: str, most: int | None = 2**32) -> bytes:
        """The content of one of the run's files, which is as training left it.

        Args:
            name: its path in the run's directory.
            most: the most bytes that it may have.

        Raises:
            InputError: it can't be read, or is not as training left it.
        """
        path = self.file(name)
        try:
            content = read_bytes(path, most)
        except OSError as error:
            raise InputError(f"{path}: can't be read ({reason(error)}); restore it, or train the run again") from None
        self._check_seal(name, seal_of(content) if self._seal(name) else None)
        return content

    def _seal(self, name: str) -> Seal | None:
        files = self.manifest.files if self.manifest else self.base.files if self.base else {}
        return files.get(name)

    def _check_seal(self, name: str, found: Seal | None) -> None:
        if self._seal(name) != found and self._seal(name):
            raise InputError(
                f"{self.file(name)}: is not as training left it; restore it, or accept it with {accepting(self.path)}"
            )

    @cached_property
    def config(self) -> RunConfig:
        """The settings."""
        path = self.file("config.toml")
        try:
            return parse_config(tomllib.loads(self.read("config.toml", LARGEST_SETTINGS).decode("utf-8")))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}: can't be read as settings ({error}); restore it, or train the run again"
            ) from None
        except InputError as error:
            if str(path) in str(error):
                raise
            raise InputError(
                f"{path}: can't be read as settings ({error}); restore it, or train the run again"
            ) from None

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, commit, threads, device, command line and wall time of the training."""
        settings = seal_of(self.read("config.toml", LARGEST_SETTINGS)).sha256
        return read_environment(self.file("environment.json"), settings)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a torn last line is ignored.

        Raises:
            InputError: a row is damaged or missing; file and line are named.
        """
        path = self.file("metrics.jsonl")
        content = b"" if kind_of(path) == "nothing" and not self.complete else self.read("metrics.jsonl")
        if self.base and seal_of(content[: self.base.metrics.size]) != self.base.metrics:
            raise InputError(
                f"{path}: is not as training wrote it, up to the saved state; restore it, or train the run again"
            )
        rows = parse_rows(path, content)
        if rows:
            due = iter(self.manifest.evaluations) if self.manifest else scheduled(self.config.training)
            check_rows(path, rows, due)
        if self.manifest and len(rows) != len(self.manifest.evaluations):
            raise InputError(f"{path}: has {len(rows)} rows, not {len(self.manifest.evaluations)}; restore it")
        return rows

    @cached_property
    def steps(self) -> list[int]:
        """The steps whose checkpoints are saved, in order; of a complete run those that its manifest names."""
        return list(self.manifest.checkpoints) if self.manifest else self._saved_steps()

    def _saved_steps(self) -> list[int]:
        folder, due = self.file("checkpoints"), set(self.config.training.checkpoint_steps())
        names = [path.name for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name)] if folder.is_dir() else []
        steps = {int(name.removesuffix(".safetensors").split("-")[1]) for name in names}
        if self.base:  # up to the saved state, those that it builds on; then those that were saved since
            built_on = {name for name in self.base.files if name.startswith("checkpoints/")}
            last = max((int(name[17:-12]) for name in built_on), default=-1)
            steps = {step for step in steps if step > last or f"checkpoints/{_checkpoint_name(step)}" in built_on}
        return sorted(steps & due)

    @property
    def foreign(self) -> list[str]:
        """Names in checkpoints/ that training did not make; they are left alone."""
        folder = self.file("checkpoints")
        later = [] if self.complete else self.config.training.checkpoint_steps()  # some may be saved by now
        last = max(self.steps, default=-1)
        own = {_checkpoint_name(step) for step in (*self.steps, *(step for step in later if step > last))}
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(name for name in names if name not in own and not name.endswith(".partial"))

    def checkpoint(self, step: int) -> Path:
        """The path of a step's checkpoint, which need not exist."""
        return self.file("checkpoints") / _checkpoint_name(step)

    def read_checkpoint(self, step: int) -> tuple[bytes, str]:
        """The content of a saved step's checkpoint, which is as training left it, and its SHA-256.

        Raises:
            InputError: it can't be read, or is not as training left it.
        """
        path, name = self.checkpoint(step), f"checkpoints/{_checkpoint_name(step)}"
        try:
            content, signature = read_bytes(path, None), _signature(path)
        except OSError as error:
            raise InputError(f"{path}: can't be read ({reason(error)}); restore it, or train the run again") from None
        seal = seal_of(content)
        self._check_seal(name, seal)
        self._hashes[path] = signature, seal.sha256
        return content, seal.sha256

    def checkpoint_hash(self, step: int) -> str:
        """The SHA-256 of a saved step's checkpoint; its file is read again only if it was replaced.

        Raises:
            InputError: as `read_checkpoint`.
        """
        path = self.checkpoint(step)
        known = self._hashes.get(path)
        return known[1] if known and known[0] == _signature(path) else self.read_checkpoint(step)[1]


def _checkpoint_name(step: int) -> str:
    return f"step-{step:06d}.safetensors"


def _signature(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino
