"""Claims a directory for a training: what stands there already, who is at work, and how a new run takes its place.

A new run is begun in a hidden directory beside its place and moved there once it is under way, so that nothing is
half-written and `--overwrite` loses the old run only then.
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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
class Plan:
    """Where a training works.

    Attributes:
        directory: where it writes.
        place: where the run belongs, links resolved.
        out: the same as the user wrote it, for messages.
        resume: whether it goes on with what is there.
        corpus: what is trained on; None where there is nothing to do.
    """

    directory: Path
    place: Path
    out: Path
    resume: bool
    corpus: Corpus | None

    def move_into_place(self) -> Path:
        """Puts a new run where it belongs, in place of an old one if there is one."""
        if self.directory != self.place:
            old = _beside(self.place, "old")
            shutil.rmtree(old, ignore_errors=True)
            if self.place.is_dir() and any(self.place.iterdir()):
                self.place.rename(old)
            self.directory.rename(self.place)
            shutil.rmtree(old, ignore_errors=True)
            self.directory = self.place
        return self.directory


@contextmanager
def claim(config: RunConfig, out: Path, *, resume: bool, overwrite: bool, quiet: bool) -> Iterator[Plan]:
    """Decides what to do at `out`, and holds its lock meanwhile.

    Raises:
        InputError: with the way out: see `train_run`.
    """
    place = out.resolve()  # `.` and links stand for what they name
    if not place.exists() and (old := _beside(place, "old")).is_dir():  # cut off between the two moves of a replacement
        old.rename(place)
    if place.exists() and not place.is_dir():
        raise InputError(f"{out}: is a file, and a run is a directory; choose another --out")
    if (existing := _holds_files(place)) and not (place / "config.toml").is_file():
        raise InputError(f"{out}: holds files that are not a run's; choose another --out, or empty it")
    if existing and not overwrite:
        with _lock(place, out):
            yield _continue(config, out, place, resume, quiet)
        return
    if resume and not existing and not quiet:
        print(f"mechxl: {out}: there is no run yet; beginning one", file=sys.stderr)
    corpus = build_corpus(config)
    plan = Plan(_beside(place, "new"), place, out, resume=False, corpus=corpus)
    made = [path for path in (plan.directory, *plan.directory.parents) if not path.exists()]
    try:
        plan.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); choose another --out") from None
    try:
        with _lock(plan.directory, out) as held, ExitStack() as also:
            held.append(plan)
            try:
                if existing:
                    also.enter_context(_lock(place, out))
                elif _holds_files(place):
                    raise InputError(f"{out}: another trainer began a run there; choose another --out")
                _begin(config, corpus, plan.directory)
                yield plan
            finally:
                if plan.directory != place:  # never got under way
                    shutil.rmtree(plan.directory, ignore_errors=True)
    finally:
        for path in made[1:]:
            try:
                path.rmdir()
            except OSError:  # not empty: the run is there
                break


def _holds_files(place: Path) -> bool:
    return place.is_dir() and any(place.iterdir())


def _continue(config: RunConfig, out: Path, place: Path, resume: bool, quiet: bool) -> Plan:
    run = Run(place)
    if changed := differences(run.config, config):
        listed = ", ".join(f"{name} {old} there and {new} here" for name, (old, new) in changed.items())
        raise InputError(
            f"{out}: is a run with other settings: {listed}; choose another --out, or replace it with --overwrite"
        )
    if run.complete:
        if not quiet:
            print(f"{out}: complete already, with these settings; nothing to do (--overwrite trains it again)")
        return Plan(place, place, out, resume=False, corpus=None)
    if not resume:
        raise InputError(f"{out}: this run was not finished; go on with --resume, or begin anew with --overwrite")
    for folder in (place, place / "checkpoints"):  # others may be writing to the caches below
        for leftover in folder.glob(TEMPORARY):
            leftover.unlink()
    return Plan(place, place, out, resume=True, corpus=run.corpus)


def _begin(config: RunConfig, corpus: Corpus, directory: Path) -> None:
    """Empties the directory but for its lock, and writes what is known before training."""
    for path in directory.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_text(directory / "config.toml", tomli_w.dumps(as_toml_table(config)))
    with whole_file(directory / "facts.parquet") as path:
        facts_table(corpus).to_parquet(path, index=False)
    write_text(directory / "tokenizer.json", corpus.tokenizer.to_str(pretty=True))


def _beside(place: Path, kind: str) -> Path:
    return place.parent / f".{place.name}.{kind}"


@contextmanager
def _lock(directory: Path, out: Path) -> Iterator[list[Plan]]:
    """Holds the directory's lock; the system frees it with the process, however that ends."""
    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{out}: another trainer is at work on it; wait until it ends, or choose another --out"
        ) from None
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); choose another --out") from None
    moved: list[Plan] = []
    try:
        yield moved
    finally:
        for path in (directory, *(plan.directory for plan in moved)):
            (path / "lock").unlink(missing_ok=True)  # while it is held: nobody else's
        lock.release()


def environment(**more: Any) -> dict[str, Any]:
    """Versions, commit, threads, device, command line: what the numbers of a run depend on beside its settings."""
    versions = {"mechxl": own_version(), **{name: version(name) for name in PACKAGES}}
    versions["python"] = platform.python_version()
    return {
        "versions": versions,
        "platform": platform.platform(),
        "commit": _commit(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
        **more,
    }


def _commit() -> str | None:
    """The commit of this package's own checkout; None where it is installed without one."""
    source = Path(__file__).parents[2]
    if not (source / "pyproject.toml").is_file():
        return None
    git = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
