"""A finding as a section of a page: sentences, figures and tables, as data that are safe inside HTML."""

import html
import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from mechxl.findings import Finding
from mechxl.plots import Panel
from mechxl.questions.question import Question
from mechxl.questions.table import QUESTIONS

MOST_ROWS = 200_000  # of a table
# The figure of a question that is open at first, and how to read it; the first one that the question draws counts.
MAIN = {
    "learning": (
        ("rates", "The black line is the share of right answers at each step; dotted grey is guessing without facts."),
    ),
    "unification": (
        (
            "excess",
            "Above 0, a fact is more alike in two languages than in a model that was trained in the same way on facts "
            "that no two languages share.",
        ),
        ("score", "The higher the line, the closer is a fact's vector in one language to its vector in another."),
    ),
    "language_identity": (
        ("known", "A bar is what the text holds of the language; a point is what a linear probe reads off a layer."),
    ),
    "patching": (
        ("grid", "A cell says how often a fact that is swapped in at this layer and place becomes the answer."),
    ),
    "phases": (("timeline", "A bar is a rise from 10 to 90 %; its diamond is the half-rise step."),),
}
MAPS = {
    "scattergeo",
    "choropleth",
    *(f"{kind}map{box}" for kind in ("scatter", "choropleth", "density") for box in ("", "box")),
}


@dataclass(frozen=True)
class Figure:
    """A figure with its title and caption; `spec` is JSON that is safe inside a script element, `kinds` of traces."""

    name: str
    title: str
    caption: str
    spec: Markup
    height: int
    square: bool
    kinds: frozenset[str] = frozenset()


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

    @property
    def main(self) -> Figure | None:
        """The figure that is open at first: the one that MAIN names, or the first."""
        wanted = [name for name, _ in MAIN.get(self.name, ())]
        ranked = sorted(self.figures, key=lambda one: wanted.index(one.name) if one.name in wanted else len(wanted))
        return ranked[0] if ranked else None

    @property
    def how_to_read(self) -> str:
        """One sentence on the main figure; empty where its caption says it alone."""
        return dict(MAIN.get(self.name, ())).get(self.main.name, "") if self.main else ""

    @property
    def others(self) -> list[Figure]:
        """The figures that unfold."""
        return [figure for figure in self.figures if figure is not self.main]

    @property
    def label(self) -> str:
        """What the navigation calls it: one of mechxl's questions by its name, another by its title."""
        return self.name.replace("_", " ") if self.name in QUESTIONS else self.title


def section(question: Question, finding: Finding) -> Section:
    """A question with its finding.

    Raises:
        TypeError: figures or tables are not what a page can show.
    """
    if most := [name for name, rows in finding.tables.items() if len(rows) > MOST_ROWS]:
        raise TypeError(
            f"table {most[0]!r} has {len(finding.tables[most[0]]):,} rows; a page shows at most {MOST_ROWS:,}"
        )
    escaped = for_figures(finding)
    return Section(
        question.name,
        question.title,
        question.definition,
        question.caveats,
        finding.summary,
        figures=[drawn(panel) for panel in question.figures(escaped)],
        tables=[table(*_shown(finding, name, rows)) for name, rows in finding.tables.items() if len(rows)],
        overview=drawn(question.overview(escaped)) if question.overview else None,
        facts=shown_facts(finding),
    )


def _shown(finding: Finding, name: str, rows: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """A table's name and rows; of those that the finding names in `shown_at_last`, the last checkpoint alone."""
    if name not in finding.notes.get("shown_at_last", ()) or "step" not in rows:
        return name, rows
    return f"{name}_at_the_last_checkpoint", rows[rows["step"] == rows["step"].max()]


def failed(name: str, question: Question | None, error: BaseException) -> Section:
    """The section of a question that raised an error: the error and the last place of its traceback."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    try:
        said = str(error)
    except Exception:  # a class of errors of one's own may have no text
        said = "(without text)"
    message = readable(f"{type(error).__name__}: {said} ({place.filename}, line {place.lineno}, in {place.name})")
    if question is None:  # its module could not be imported
        return Section(name, name, error=message)
    return Section(name, question.title, question.definition, question.caveats, error=message)


def readable(text: str) -> str:
    """A text that UTF-8 can hold: what is no letter is written as its number."""
    return text.encode(errors="backslashreplace").decode()


def drawn(panel: Panel) -> Figure:
    """A panel ready for the page. `for_figures` escaped title and caption; here they are unescaped for the template.

    Raises:
        TypeError: it is no panel, or its figure would make the page fetch something.
        UnicodeEncodeError: UTF-8 can't hold a text.
    """
    if not isinstance(panel, Panel) or not all(isinstance(x, str) for x in (panel.name, panel.title, panel.caption)):
        raise TypeError(f"figures and overview give panels with texts, not {panel!r:.100}")
    _refuse_fetching(panel)
    title, caption = html.unescape(panel.title), html.unescape(panel.caption)
    spec = Markup(str(panel.figure.to_json()).replace("<", "\\u003c"))
    "".join((panel.name, title, caption, spec)).encode()
    height: Any = panel.figure.layout["height"]
    traces: Any = panel.figure.data
    kinds = frozenset(str(trace.type) for trace in traces)
    return Figure(panel.name, title, caption, spec, int(height or 380), panel.square, kinds)


def _refuse_fetching(panel: Panel) -> None:
    """Refuses what plotly draws with data from the net: maps, and images by address."""
    spec: Any = panel.figure.to_plotly_json()
    drawings = [spec, *spec.get("frames", ())]
    if any(trace.get("type") in MAPS for drawing in drawings for trace in drawing.get("data") or ()):
        raise TypeError(f"figure {panel.name!r} has a map, for which the page would fetch data; draw it without")
    for part in _parts(spec):
        source = part.get("source")
        if isinstance(source, str) and not source.startswith("data:"):
            raise TypeError(f"figure {panel.name!r} has an image with an address, which the page would fetch; embed it")


def _parts(value: object) -> Iterator[Mapping[str, Any]]:
    """All dictionaries in a figure: traces, layout, frames, templates. A list of numbers is not looked through."""
    if isinstance(value, Mapping):
        yield value
        for part in value.values():
            yield from _parts(part)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping | list | tuple):
        for part in value:
            yield from _parts(part)


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
