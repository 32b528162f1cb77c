"""Findings that are kept beside a run, and what they are kept for."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mechxl.config import flat
from mechxl.errors import InputError
from mechxl.files import kind_of, read_bytes, reason, write_text
from mechxl.findings import Finding
from mechxl.questions.dependencies import files_behind
from mechxl.questions.question import Question
from mechxl.run import Run

LARGEST_FINDING = 2**30  # bytes


def finding_path(run: Run, question: str) -> Path:
    """Where a question's finding is kept."""
    return run.file("findings") / f"{question}.json"


def kept_finding(run: Run, question: Question, thorough: bool = False) -> Finding | None:
    """The kept finding of a question; None where there is none, or it was computed from something else."""
    return read_kept(run, question.name, finding_digest(run, question, thorough))


def read_kept(run: Run, question: str, digest: str) -> Finding | None:
    """The finding kept for a question; None, which is said on stderr, if its file is not as it was kept."""
    path = finding_path(run, question)
    if question in run.unkept:
        return Finding.from_json(run.unkept[question], digest, question)
    try:
        if kind_of(path.parent) != "directory" or kind_of(path) == "nothing":
            return None
        return Finding.from_json(read_bytes(path, LARGEST_FINDING).decode("utf-8"), digest, question)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        print(f"mechxl: {path}: {reason(error)}; the question is answered anew", file=sys.stderr)
        return None


def finding_digest(run: Run, question: Question, thorough: bool) -> str:
    """A hash of all that a finding is computed from.

    That is: the settings, the checkpoints and metrics, whether all facts are asked for, the code that the question
    imports inside mechxl and its own package, the kept findings that it reads, and the trained null if it reads that.

    Args:
        run: whose finding.
        question: which question.
        thorough: all facts rather than samples.

    Raises:
        InputError: the run has no metrics.
    """
    about = digest_of(run, files_behind(question.source, question.module), thorough=thorough)
    digest = hashlib.sha256(about.encode())
    for name in question.reads:
        digest.update(_content(run, name))
    if question.reads_null:
        digest.update(_null(run))
    return digest.hexdigest()


def digest_of(run: Run, sources: Sequence[Path], **about: bool | int) -> str:
    """A hash of a run's settings, checkpoints and metrics, of files of code, and of what else is given.

    Raises:
        InputError: the run has no metrics.
    """
    digest = hashlib.sha256(json.dumps({"settings": flat(run.config)} | about, default=str).encode())
    if not run.rows:
        raise InputError(f"{run.file('metrics.jsonl')}: has no rows; restore it, or train the run again")
    for step in run.steps:
        digest.update(f"{step} {run.checkpoint_hash(step)}".encode())
    digest.update(json.dumps(run.rows).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def keep(run: Run, name: str, text: str) -> None:
    """Writes a finding beside its run; where that is impossible, it is said, and the run object has it."""
    path = finding_path(run, name)
    try:
        if (folder := kind_of(path.parent)) not in ("directory", "nothing"):
            raise OSError(None, f"{path.parent.name} is a {folder}")
        path.parent.mkdir(exist_ok=True)
        write_text(path, text)
    except OSError as error:  # somebody else's run, say
        print(f"mechxl: {path}: can't be written ({error.strerror}); the answer is not kept", file=sys.stderr)
        run.unkept[name] = text  # for the questions that read it


def _content(run: Run, question: str) -> bytes:
    """The content of a kept finding; the question's name where there is none."""
    if question in run.unkept:
        return run.unkept[question].encode()
    try:
        return read_bytes(finding_path(run, question), LARGEST_FINDING)
    except OSError:
        return question.encode()


def _null(run: Run) -> bytes:
    """A hash of the trained null; why there is none, where there is none, since a finding says that."""
    if run.null is None:
        return run.why_no_null.encode()
    digest = hashlib.sha256(json.dumps({"name": run.null.name, "settings": flat(run.null.config)}).encode())
    for step in run.null.steps:
        digest.update(f"{step} {run.null.checkpoint_hash(step)}".encode())
    return digest.digest()
