"""Sections as a page shows them, kept beside the run: to draw figures takes longer than to lay out a page."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mechxl.findings import Finding
from mechxl.questions.ask import ask
from mechxl.questions.find import find_question
from mechxl.questions.kept import finding_digest, keep, read_kept
from mechxl.questions.question import Question
from mechxl.questions.table import QUESTIONS
from mechxl.report.sections import Figure, Section, Table, section
from mechxl.run import Run

PREFIX = "section_"  # of the file's name, before the question's
MECHXL = Path(__file__).parents[1]


def kept_section(run: Run, question: Question, finding: Finding, thorough: bool) -> Section:
    """The section of a question's finding: read where it is kept, else drawn and kept. Own questions are drawn.

    Args:
        run: whose finding.
        question: which question.
        finding: what `ask` gave.
        thorough: all facts rather than samples.

    Raises:
        TypeError: figures or tables are not what a page can show.
    """
    if question.name not in QUESTIONS:
        return section(question, finding)
    name, digest = f"{PREFIX}{question.name}", _digest(run, question, thorough)
    if (kept := read_kept(run, name, digest)) is not None:
        return _section(kept.notes)
    content = asdict(section(question, finding))
    for figure in (*content["figures"], content["overview"]):
        if figure:
            figure["kinds"] = sorted(figure["kinds"])
    text = Finding(name, [], {}, content).to_json(digest)
    keep(run, name, text, said=False)
    read_back = Finding.from_json(text, digest)  # the same the first time as later
    assert read_back is not None
    return _section(read_back.notes)


def answer_and_draw(path: Path, null: Path | None, name: str, thorough: bool) -> None:
    """Answers a question and draws its section; both are kept beside the run."""
    run = Run(path, null)
    kept_section(run, find_question(name), ask(run, name, thorough=thorough), thorough)


def _digest(run: Run, question: Question, thorough: bool) -> str:
    """A hash of what a section is made from: what the finding is computed from, and what draws it."""
    return hashlib.sha256(f"{finding_digest(run, question, thorough)} {_drawn_by()}".encode()).hexdigest()


@cache
def _drawn_by() -> str:
    """A hash of mechxl's code and of the versions of the libraries that draw."""
    digest = hashlib.sha256(" ".join(version(name) for name in ("plotly", "pandas", "numpy")).encode())
    for file in sorted(MECHXL.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _section(content: Mapping[str, Any]) -> Section:
    figures = [_figure(figure) for figure in content["figures"]]
    tables = [Table(**one) for one in content["tables"]]
    overview = _figure(content["overview"]) if content["overview"] else None
    return Section(**{**content, "figures": figures, "tables": tables, "overview": overview})


def _figure(content: Mapping[str, Any]) -> Figure:
    return Figure(**{**content, "spec": Markup(content["spec"]), "kinds": frozenset(content["kinds"])})
