"""Claims a directory for a training: checks its content, locks it, and moves a new run into place.

A new run starts in a hidden directory next to its place, .NAME.32 hex digits.new. It moves into place after its first
update. So no reader sees half a run, and `--overwrite` deletes the old run only then. Of an old run only the files
that mechxl made are removed; others move to the new one.
"""

import errno
import os
import platform
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w
import torch

from mechxl.config import RunConfig, as_toml_table, differences
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.sources.choose import with_digests, with_digests_of
from mechxl.errors import Busy, Failure, InputError
from mechxl.files import check_path, is_partial, kind_of, reason, whole_file, write_text
from mechxl.lock import Hold, busy, hold, is_held
from mechxl.owned import give_back, in_run, is_run, remove
from mechxl.run import Run, facts_table
from mechxl.version import own_version

LONGEST = 200  # bytes of a run's name: hidden directories beside it have longer names
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
        held: the right to write to `directory`.
        replaced: the right to replace the run at `place`; None if there is none.
    """

    directory: Path
    place: Path
    out: Path
    resume: bool
    corpus: Corpus | None
    held: Hold
    replaced: Hold | None = None

    def move_into_place(self) -> Path:
        """Moves a new run to its place; an old run there is deleted."""
        if self.directory != self.place:
            old = _hidden(self.place, "old")
            if self.replaced:
                self.place.rename(old)
                self.replaced.directory = old
            try:
                self.directory.rename(self.place)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    raise Busy(f"{self.out}: another process started a run there; choose another --out") from None
                raise
            if self.replaced:
                _discard(old, self.place)
            self.directory = self.held.directory = self.place
        return self.directory


@contextmanager
def claim(
    config: RunConfig, out: Path, *, resume: bool, overwrite: bool, quiet: bool, facts_of: Run | None = None
) -> Iterator[Claim]:
    """Decides what to do at `out`, and holds its lock until the training ends.

    Args:
        config: the settings.
        out: the run's directory.
        resume: continue what was stopped.
        overwrite: replace what is there.
        quiet: no messages.
        facts_of: a run whose facts these are too, so that their source is not read again.

    Raises:
        InputError: nothing can be trained there, for one of the reasons that `train_run` lists.
    """
    place = check_path(out, "--out").resolve()  # resolves `.` and links
    if len(place.name.encode()) > LONGEST:
        raise InputError(f"--out: a run's name has at most {LONGEST} bytes, not {len(place.name.encode())}; shorten it")
    _clear_leftovers(place)
    if (kind := kind_of(place)) not in ("nothing", "directory"):
        raise InputError(f"{out}: is a {kind}, but a run is a directory; choose another --out")
    if (existing := _holds_files(place)) and not (place / "config.toml").is_file():
        raise InputError(f"{out}: holds files that are not a run's; choose another --out, or empty this directory")
    if existing and not overwrite:
        with hold(place, out, quiet=quiet) as held:
            yield _continue(config, out, place, held, resume, quiet)
        return
    if os.path.ismount(place):
        raise InputError(f"{out}: is a mount point, which a run can't take the place of; name a directory in it")
    if resume and not existing and not quiet:
        print(f"mechxl: {out}: there is no run to resume; a new one starts", file=sys.stderr)
    if facts_of is None:
        config = with_digests(config)
        corpus = build_corpus(config)
    else:
        config = with_digests_of(config, facts_of.config)
        corpus = facts_of.corpus_with(config)
    directory = _hidden(place, "new")
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); choose another --out") from None
    try:
        with hold(directory, out, quiet=quiet) as held, ExitStack() as locks:
            claimed = Claim(directory, place, out, resume=False, corpus=corpus, held=held)
            try:
                _be_alone(claimed)
                if existing:
                    claimed.replaced = locks.enter_context(hold(place, out, quiet=quiet))
                elif _holds_files(place):
                    raise Busy(f"{out}: another process started a run there; choose another --out")
                try:
                    _begin(config, corpus, claimed.directory)
                except OSError as error:
                    raise Failure(
                        f"{out}: can't be written ({reason(error)}); make room, or choose another --out"
                    ) from error
                yield claimed
            finally:
                if claimed.directory != place:  # it was never moved into place
                    remove(claimed.directory, in_run)
    finally:
        with suppress(OSError):  # it is in place, or its lock could not be written
            directory.rmdir()
        for path in created[1:]:
            try:
                path.rmdir()
            except OSError:  # not empty: it holds the run
                break


def _hidden(place: Path, kind: str) -> Path:
    """A new hidden directory's path next to a run's place."""
    return place.parent / f".{place.name}.{uuid.uuid4().hex}.{kind}"


def _all_hidden(place: Path, kind: str) -> list[Path]:
    """The hidden directories of a place, this process's and others', live or left behind."""
    pattern = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{32}}\.{kind}")
    try:
        return [path for path in place.parent.iterdir() if pattern.fullmatch(path.name) and is_run(path)]
    except OSError:  # there is no such folder, or it can't be read
        return []


def is_being_trained(out: Path) -> bool:
    """Whether a process, on this machine or another one, trains a run at `out`."""
    place = out.resolve()
    return is_held(place) or any(is_held(path) for path in _all_hidden(place, "new"))


def _clear_leftovers(place: Path) -> None:
    """Removes what killed trainers left beside a place; an old run without a new one moves back."""
    for kind in ("old", "new"):
        for path in _all_hidden(place, kind):
            if is_held(path):
                continue
            if kind == "new":
                remove(path, in_run)
            elif kind_of(place) == "nothing":  # killed between the two moves of a replacement
                path.rename(place)
            elif _holds_files(place):
                _discard(path, place)


def _discard(old: Path, place: Path) -> None:
    """Removes an old run; what is not mechxl's moves to the new one."""
    if not remove(old, in_run):
        give_back(old, place)


def _be_alone(claimed: Claim) -> None:
    """Refuses a second new run at one place. Of two that begin at the same moment one goes on."""
    for _ in range(10):
        others = [path for path in _all_hidden(claimed.place, "new") if path != claimed.directory and is_held(path)]
        if not others:
            return
        if min(others) < claimed.directory:
            break
        time.sleep(0.1)  # the other one, if it too has just begun, gives way
    raise Busy(busy(claimed.out))


def _holds_files(place: Path) -> bool:
    return place.is_dir() and any(place.iterdir())


def _continue(config: RunConfig, out: Path, place: Path, held: Hold, resume: bool, quiet: bool) -> Claim:
    run = Run(place)
    if changed := differences(run.config, config):
        listed = ", ".join(f"{name} is {old} there and {new} here" for name, (old, new) in changed.items())
        raise InputError(
            f"{out}: is a run with other settings: {listed}; choose another --out, or replace the run with --overwrite"
        )
    if run.complete:
        if not quiet:
            print(f"{out}: is complete with these settings already; to train it again, add --overwrite")
        return Claim(place, place, out, resume=False, corpus=None, held=held)
    if not resume:
        raise InputError(
            f"{out}: this run is not complete; continue it with --resume, or train it again with --overwrite"
        )
    for folder in (place, place / "checkpoints"):  # not the caches: other processes may be writing there
        for leftover in [path for path in folder.glob("*") if is_partial(path)]:
            leftover.unlink()
    return Claim(place, place, out, resume=True, corpus=run.corpus, held=held)


def _begin(config: RunConfig, corpus: Corpus, directory: Path) -> None:
    """Writes the files that do not depend on training."""
    write_text(directory / "config.toml", tomli_w.dumps(as_toml_table(config)))
    with whole_file(directory / "facts.parquet") as path:
        facts_table(corpus).to_parquet(path, index=False)
    write_text(directory / "tokenizer.json", corpus.tokenizer.to_str(pretty=True))


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
