"""Asks a question of a run, and keeps the answer beside it."""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from mechxl.errors import InputError
from mechxl.files import write_text
from mechxl.findings import Finding
from mechxl.questions.kept import finding_digest, finding_path
from mechxl.questions.table import QUESTIONS
from mechxl.run import Run


def question_module(name: str) -> Any:
    """What answers a question: one of QUESTIONS, or an own module, by its dotted name.

    An own question is a module with `compute(run) -> Finding` (or `compute(run, thorough)`) and
    `figures(finding) -> list[Panel]`; `TITLE`, `DEFINITION` and `CAVEATS`, where it has them, go into the report. It is
    looked for where Python looks for modules, and in the folder that one stands in.

    Raises:
        InputError: there is no such question, or the module lacks one of the two functions.
        Exception: whatever the module raises while it is imported.
    """
    if name in QUESTIONS:
        return QUESTIONS[name]
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    if not _exists(name):
        raise InputError(
            f"question {name!r}: there is no such question; there are: {', '.join(QUESTIONS)}; or name a module that "
            f"can be imported from {here}, as my_package.my_question"
        )
    module = importlib.import_module(name)
    for function in ("compute", "figures"):
        if not callable(getattr(module, function, None)):
            raise InputError(
                f"question {name!r}: {module.__file__} has no function {function}; a question is a module with "
                "compute(run) -> Finding and figures(finding) -> list of Panel"
            )
    return module


def _exists(name: str) -> bool:
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as missing:  # of a package on the way
        if missing.name in {".".join(parts[:end]) for end in range(1, len(parts) + 1)}:
            return False
        raise


def ask(run: Run, question: str, *, thorough: bool = False) -> Finding:
    """The Finding of a question: read from RUN/findings/QUESTION.json if that still fits, else computed and kept there.

    Args:
        run: a run with checkpoints.
        question: a name in QUESTIONS, or a module of one's own (`question_module`).
        thorough: all facts rather than samples of large worlds.

    Raises:
        InputError: no such question, or the run has no checkpoints or metrics.
        TypeError: an own question that gives something else than a Finding.

    Example:
        >>> found = ask(run, "learning")
        >>> found.summary[0]  # in words
        >>> found.tables["rates"].tail()  # pandas
    """
    module = question_module(question)
    if not run.steps:
        raise InputError(f"{run.path}: has no checkpoints; train it, or go on with --resume")
    path, own = finding_path(run, question), [] if question in QUESTIONS else [Path(module.__file__)]
    digest = finding_digest(run, thorough, reads=getattr(module, "READS", ()), sources=own)
    if (kept := Finding.read(path, digest)) is not None:
        return kept
    takes_precision = "thorough" in inspect.signature(module.compute).parameters
    finding = module.compute(run, thorough) if takes_precision else module.compute(run)
    if not isinstance(finding, Finding):
        raise TypeError(f"{question}: compute gave a {type(finding).__name__}; a question's answer is a Finding")
    try:
        path.parent.mkdir(exist_ok=True)
        write_text(path, finding.to_json(digest))
    except OSError as error:  # somebody else's run, say
        print(f"mechxl: {path}: can't be written ({error.strerror}); the answer is not kept", file=sys.stderr)
    return finding
