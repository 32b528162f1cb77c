"""Claims a directory for a training: checks its content, locks it, and moves a new run into place.

A new run starts in a hidden directory next to its place. It moves into place when its first checkpoint is saved. So no
reader sees half a run, and `--overwrite` deletes the old run only then.
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w
import torch
from filelock import FileLock, Timeout

from mechxl.config import RunConfig, as_toml_table, differences
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.errors import InputError
from mechxl.files import TEMPORARY, whole_file, write_text
from mechxl.run import Run, facts_table
from mechxl.version import own_version

PACKAGES = ("torch", "transformer-lens", "transformers", "tokenizers", "numpy", "safetensors")


@dataclass
class Claim:
    """A directory that one training alone writes to.

    Attributes:
        directory: the directory that the training writes to now.
        place: the run's final path, with links resolved.
        out: the same path as the user wrote it, for messages.
        resume: whether the training continues an existing run.
        corpus: the training data; None if the run is complete already.
    """

    directory: Path
    place: Path
    out: Path
    resume: bool
    corpus: Corpus | None

    def move_into_place(self) -> Path:
        """Moves a new run to its place; an old run there is deleted."""
        if self.directory != self.place:
            old = _hidden(self.place, "old")
            shutil.rmtree(old, ignore_errors=True)
            if self.place.is_dir() and any(self.place.iterdir()):
                self.place.rename(old)
            self.directory.rename(self.place)
            shutil.rmtree(old, ignore_errors=True)
            self.directory = self.place
        return self.directory


@contextmanager
def claim(config: RunConfig, out: Path, *, resume: bool, overwrite: bool, quiet: bool) -> Iterator[Claim]:
    """Decides what to do at `out`, and holds its lock until the training ends.

    Raises:
        InputError: nothing can be trained there, for one of the reasons that `train_run` lists.
    """
    place = out.resolve()  # resolves `.` and links
    if not place.exists() and (old := _hidden(place, "old")).is_dir():  # killed between the two moves of a replacement
        old.rename(place)
    if place.exists() and not place.is_dir():
        raise InputError(f"{out}: is a file, but a run is a directory; choose another --out")
    if (existing := _holds_files(place)) and not (place / "config.toml").is_file():
        raise InputError(f"{out}: holds files that are not a run's; choose another --out, or empty this directory")
    if existing and not overwrite:
        with _lock(place, out):
            yield _continue(config, out, place, resume, quiet)
        return
    if resume and not existing and not quiet:
        print(f"mechxl: {out}: there is no run to resume; a new one starts", file=sys.stderr)
    corpus = build_corpus(config)
    claimed = Claim(_hidden(place, "new"), place, out, resume=False, corpus=corpus)
    created = [path for path in (claimed.directory, *claimed.directory.parents) if not path.exists()]
    try:
        claimed.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); choose another --out") from None
    try:
        with _lock(claimed.directory, out) as moved, ExitStack() as locks:
            moved.append(claimed)
            try:
                if existing:
                    locks.enter_context(_lock(place, out))
                elif _holds_files(place):
                    raise InputError(f"{out}: another process started a run there; choose another --out")
                _begin(config, corpus, claimed.directory)
                yield claimed
            finally:
                if claimed.directory != place:  # it was never moved into place
                    shutil.rmtree(claimed.directory, ignore_errors=True)
    finally:
        for path in created[1:]:
            try:
                path.rmdir()
            except OSError:  # not empty: it holds the run
                break


def _holds_files(place: Path) -> bool:
    return place.is_dir() and any(place.iterdir())


def _continue(config: RunConfig, out: Path, place: Path, resume: bool, quiet: bool) -> Claim:
    run = Run(place)
    if changed := differences(run.config, config):
        listed = ", ".join(f"{name} is {old} there and {new} here" for name, (old, new) in changed.items())
        raise InputError(
            f"{out}: is a run with other settings: {listed}; choose another --out, or replace the run with --overwrite"
        )
    if run.complete:
        if not quiet:
            print(f"{out}: is complete with these settings already; to train it again, add --overwrite")
        return Claim(place, place, out, resume=False, corpus=None)
    if not resume:
        raise InputError(
            f"{out}: this run is not complete; continue it with --resume, or train it again with --overwrite"
        )
    for folder in (place, place / "checkpoints"):  # not the caches: other processes may be writing there
        for leftover in folder.glob(TEMPORARY):
            leftover.unlink()
    return Claim(place, place, out, resume=True, corpus=run.corpus)


def _begin(config: RunConfig, corpus: Corpus, directory: Path) -> None:
    """Empties the directory except for its lock, and writes the files that do not depend on training."""
    for path in directory.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_text(directory / "config.toml", tomli_w.dumps(as_toml_table(config)))
    with whole_file(directory / "facts.parquet") as path:
        facts_table(corpus).to_parquet(path, index=False)
    write_text(directory / "tokenizer.json", corpus.tokenizer.to_str(pretty=True))


def _hidden(place: Path, kind: str) -> Path:
    """A hidden directory next to a run's place."""
    return place.parent / f".{place.name}.{kind}"


@contextmanager
def _lock(directory: Path, out: Path) -> Iterator[list[Claim]]:
    """Holds the directory's lock; the system frees it when the process ends for any reason.

    Yields:
        A list for claims whose directory may move meanwhile: the lock file is also deleted in the new directory.
    """
    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{out}: another process is training this run; wait until it ends, or choose another --out"
        ) from None
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); choose another --out") from None
    moved: list[Claim] = []
    try:
        yield moved
    finally:
        for path in (directory, *(claimed.directory for claimed in moved)):
            (path / "lock").unlink(missing_ok=True)  # while it is held, so that it can't be another process's lock
        lock.release()


def environment(n_ctx: int, device: str, data_digest: str, least_loss: float) -> dict[str, Any]:
    """Everything except settings that a run's numbers depend on: versions, commit, threads, device, command line.

    Args:
        n_ctx: the number of positions of the model's context.
        device: torch device of the training.
        data_digest: hash of the corpus.
        least_loss: the loss of a model that knows all facts, in nats.
    """
    return {
        "versions": _versions(),
        "platform": platform.platform(),
        "commit": _commit(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
        "n_ctx": n_ctx,
        "device": device,
        "data_digest": data_digest,
        "least_loss": least_loss,
    }


@cache
def _versions() -> dict[str, str]:
    versions = {"mechxl": own_version(), **{name: version(name) for name in PACKAGES}}
    return versions | {"python": platform.python_version()}


@cache
def _commit() -> str | None:
    """The commit of the checkout that contains this code; None if it is installed without one."""
    source = Path(__file__).parents[2]
    if not (source / "pyproject.toml").is_file():
        return None
    git = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
