"""Asks a question of a run, and keeps the answer beside it."""

from mechxl.errors import InputError
from mechxl.findings import Finding
from mechxl.questions.find import find_question
from mechxl.questions.kept import finding_digest, keep, read_kept
from mechxl.run import Run


def ask(run: Run, question: str, *, thorough: bool = False) -> Finding:
    """The Finding of a question: read from RUN/findings/QUESTION.json if that still fits, else computed and kept there.

    Args:
        run: a run with checkpoints.
        question: a name in QUESTIONS, or a module of one's own (`find_question`).
        thorough: all facts rather than samples of large worlds.

    Raises:
        InputError: no such question, or the run has no checkpoints or metrics.
        TypeError: an own question that gives something else than a Finding, or a Finding of other things.

    Example:
        >>> learning = ask(run, "learning")
        >>> learning.summary[0]  # in words
        >>> learning.tables["rates"].tail()  # pandas
    """
    asked = find_question(question)
    if not run.steps:
        raise InputError(f"{run.path}: has no checkpoints; train it, or go on with --resume")
    digest = finding_digest(run, asked, thorough)
    if (kept := read_kept(run, question, digest)) is not None:
        return kept
    finding = asked.compute(run, thorough)
    if not isinstance(finding, Finding):
        raise TypeError(f"{question}: compute gave a {type(finding).__name__}; a question's answer is a Finding")
    finding.check()
    text = finding.to_json(digest, question)
    keep(run, question, text)
    read_back = Finding.from_json(text, digest, question)  # the same the first time as later
    assert read_back is not None
    return read_back
