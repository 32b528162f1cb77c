"""Asks a question of a run, and keeps the answer beside it."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import mechxl
from mechxl.config import flat
from mechxl.findings import Finding
from mechxl.questions import language_identity, learning, patching, unification
from mechxl.refusals import InputError
from mechxl.run import Run, write_text

QUESTIONS: dict[str, Any] = {
    "learning": learning,
    "unification": unification,
    "language_identity": language_identity,
    "patching": patching,
}


def ask(run: Run, question: str, *, thorough: bool = False) -> Finding:
    """The Finding of a question: read from RUN/findings/QUESTION.json if that still fits, else computed and kept there.

    Args:
        run: a run with checkpoints.
        question: a name in QUESTIONS.
        thorough: all facts rather than samples of large worlds.

    Raises:
        InputError: no such question, or the run has no checkpoints or metrics.
    """
    if question not in QUESTIONS:
        raise InputError(f"question {question!r}: there is no such question; there are: {', '.join(QUESTIONS)}")
    if not run.steps:
        raise InputError(f"{run.path}: has no checkpoints; train it, or go on with --resume")
    path = run.file("findings") / f"{question}.json"
    digest = finding_digest(run, thorough)
    if (kept := Finding.read(path, digest)) is not None:
        return kept
    finding = QUESTIONS[question].compute(run, thorough)
    try:
        path.parent.mkdir(exist_ok=True)
        write_text(path, finding.to_json(digest))
    except OSError as error:  # somebody else's run, say
        print(f"mechxl: {path}: can't be written ({error.strerror}); the answer is not kept", file=sys.stderr)
    return finding


def finding_digest(run: Run, thorough: bool) -> str:
    """A hash of all that a finding is computed from: settings, checkpoints, metrics, this package's code, precision."""
    found = hashlib.sha256(json.dumps({"settings": flat(run.config), "thorough": thorough}, default=str).encode())
    if not (metrics := run.file("metrics.jsonl")).is_file():
        raise InputError(f"{metrics}: there is no such file; restore it, or train the run again")
    for step in run.steps:
        found.update(run.checkpoint(step).read_bytes())
    found.update(metrics.read_bytes())
    for source in sorted(Path(mechxl.__file__).parent.rglob("*.py")):
        found.update(source.read_bytes())
    return found.hexdigest()
