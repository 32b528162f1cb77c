"""A finding as a part of a page: its sentences, figures and tables, each as data that the page can hold safely."""

import html
import math
import traceback
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from mechxl.findings import Finding
from mechxl.plots import Panel


@dataclass(frozen=True)
class Figure:
    """A figure with its words; `spec` is JSON that may stand inside a script element."""

    name: str
    title: str
    caption: str
    spec: Markup
    height: int
    square: bool


@dataclass(frozen=True)
class Table:
    """A table as columns, for the page to lay out, sort and save.

    Attributes:
        name: of the table.
        n: rows.
        content: {"columns": names, "values": a list a column}; what is missing is null.
    """

    name: str
    n: int
    content: dict[str, Any]


@dataclass(frozen=True)
class Chapter:
    """What the page says beside a question's finding.

    Attributes:
        title: of the section.
        definition: what is measured, paragraph by paragraph.
        caveats: what the numbers do not say.
    """

    title: str
    definition: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A question's part of the page. `error`: why there is nothing, and where that was."""

    name: str
    chapter: Chapter
    summary: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def section(name: str, finding: Finding, module: Any) -> Section:
    """What a question's module makes of its finding."""
    figures = [drawn(panel) for panel in module.figures(for_figures(finding))]
    tables = [table(name, rows) for name, rows in finding.tables.items() if len(rows)]
    return Section(name, chapter(name, module), finding.summary, figures, tables, shown_facts(finding))


def failed(name: str, module: Any, error: Exception) -> Section:
    """The section of a question that raised: what, and the last place of the traceback."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{at.filename}, line {at.lineno}, in {at.name}"
    return Section(name, chapter(name, module), error=f"{type(error).__name__}: {error} ({where})")


def chapter(name: str, module: Any) -> Chapter:
    """A question's TITLE, DEFINITION and CAVEATS; an own question may lack some."""
    parts = (getattr(module, part, ()) for part in ("DEFINITION", "CAVEATS"))
    return Chapter(str(getattr(module, "TITLE", name)), *((p,) if isinstance(p, str) else tuple(p) for p in parts))


def drawn(panel: Panel) -> Figure:
    """A panel ready for the page. Its words were escaped for figures (`for_figures`); the page escapes them itself."""
    title, caption = html.unescape(panel.title), html.unescape(panel.caption)
    spec = Markup(str(panel.figure.to_json()).replace("<", "\\u003c"))
    height: Any = panel.figure.layout["height"]
    return Figure(panel.name, title, caption, spec, int(height or 380), panel.square)


def for_figures(finding: Finding) -> Finding:
    """The finding with <, > and & of every text written as entities, since plotly reads a little HTML in its texts."""
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
    """What the page tells of single facts: how each language says them, and what is answered over training."""
    answers = finding.notes.get("shown_answers")
    if not answers:
        return {}
    return {
        "steps": finding.notes["steps"],
        "languages": finding.notes["languages"],
        "sentences": finding.notes["shown_facts"],
        **answers,
    }
