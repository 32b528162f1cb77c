"""A finding as a section of a page: sentences, figures and tables, as data that are safe inside HTML."""

import html
import math
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from mechxl.findings import Finding
from mechxl.plots import Panel
from mechxl.questions.question import Question


@dataclass(frozen=True)
class Figure:
    """A figure with its title and caption; `spec` is JSON that is safe inside a script element."""

    name: str
    title: str
    caption: str
    spec: Markup
    height: int
    square: bool


@dataclass(frozen=True)
class Table:
    """A table as columns; the page lays it out, sorts it and saves it.

    Attributes:
        name: of the table.
        n: the number of rows.
        content: {"columns": names, "values": one list per column}; a missing value is null.
    """

    name: str
    n: int
    content: dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A question's part of the page.

    Attributes:
        name: of the question; the section's address on the page.
        title, definition, caveats: as the question declares them.
        summary: sentences, the most important first.
        figures, tables: shown below the summary.
        overview: a figure for the page's first screen.
        facts: answers about single facts over training; may be empty.
        error: the error that the question raised, and where; empty if it raised none.
    """

    name: str
    title: str
    definition: Sequence[str] = ()
    caveats: Sequence[str] = ()
    summary: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    overview: Figure | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def section(question: Question, finding: Finding) -> Section:
    """A question with its finding."""
    escaped = for_figures(finding)
    return Section(
        question.name,
        question.title,
        question.definition,
        question.caveats,
        finding.summary,
        figures=[drawn(panel) for panel in question.figures(escaped)],
        tables=[table(name, rows) for name, rows in finding.tables.items() if len(rows)],
        overview=drawn(question.overview(escaped)) if question.overview else None,
        facts=shown_facts(finding),
    )


def failed(name: str, question: Question | None, error: Exception) -> Section:
    """The section of a question that raised an error: the error and the last place of its traceback."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno}, in {place.name})"
    if question is None:  # its module could not be imported
        return Section(name, name, error=message)
    return Section(name, question.title, question.definition, question.caveats, error=message)


def drawn(panel: Panel) -> Figure:
    """A panel ready for the page. `for_figures` escaped title and caption; here they are unescaped for the template."""
    title, caption = html.unescape(panel.title), html.unescape(panel.caption)
    spec = Markup(str(panel.figure.to_json()).replace("<", "\\u003c"))
    height: Any = panel.figure.layout["height"]
    return Figure(panel.name, title, caption, spec, int(height or 380), panel.square)


def for_figures(finding: Finding) -> Finding:
    """The finding with <, > and & of every text as entities, since plotly interprets some HTML in texts."""
    tables = {name: _escaped_table(rows) for name, rows in finding.tables.items()}
    return replace(finding, tables=tables, notes=_escaped(finding.notes))


def _escaped_table(rows: pd.DataFrame) -> pd.DataFrame:
    texts = [column for column in rows.columns if rows[column].dtype.kind not in "biuf"]
    return rows.assign(**{str(column): rows[column].map(_escaped) for column in texts})


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(value, quote=False)
    if isinstance(value, list | tuple):
        return type(value)(_escaped(part) for part in value)
    return {_escaped(key): _escaped(part) for key, part in value.items()} if isinstance(value, dict) else value


def table(name: str, rows: pd.DataFrame) -> Table:
    """A data frame for the page; numbers to six significant digits."""
    names = [str(column) for column in rows.columns]
    return Table(name, len(rows), {"columns": names, "values": [_column(rows[column]) for column in rows.columns]})


def _column(values: pd.Series) -> list[Any]:
    return [_cell(value) for value in values.tolist()]


def _cell(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value if isinstance(value, int | str) else str(value)


def shown_facts(finding: Finding) -> dict[str, Any]:
    """Single facts for the page: their sentence in each language, and the model's answers over training."""
    answers = finding.notes.get("shown_answers")
    if not answers:
        return {}
    return {
        "steps": finding.notes["steps"],
        "languages": finding.notes["languages"],
        "sentences": finding.notes["shown_facts"],
        **answers,
    }
