"""Asks a question of a run, and keeps the answer beside it."""

import sys
from typing import Any

from mechxl.findings import Finding
from mechxl.questions import language_identity, learning, patching, phases, unification
from mechxl.questions.kept import finding_digest, finding_path
from mechxl.refusals import InputError
from mechxl.run import Run, write_text

QUESTIONS: dict[str, Any] = {
    "learning": learning,
    "unification": unification,
    "language_identity": language_identity,
    "patching": patching,
    "phases": phases,  # last: it reads what the others found
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
    path = finding_path(run, question)
    digest = finding_digest(run, thorough, reads=getattr(QUESTIONS[question], "READS", ()))
    if (kept := Finding.read(path, digest)) is not None:
        return kept
    finding = QUESTIONS[question].compute(run, thorough)
    try:
        path.parent.mkdir(exist_ok=True)
        write_text(path, finding.to_json(digest))
    except OSError as error:  # somebody else's run, say
        print(f"mechxl: {path}: can't be written ({error.strerror}); the answer is not kept", file=sys.stderr)
    return finding
