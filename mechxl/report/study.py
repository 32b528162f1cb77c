"""Lays out a study of several runs as one HTML page, and the gallery of all studies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mechxl.plots import Panel
from mechxl.report.layout import render_page
from mechxl.report.page import write_page
from mechxl.report.plotlyjs import PART
from mechxl.report.sections import drawn, table


def write_study(
    out: Path, title: str, paragraphs: Sequence[str], panels: Sequence[Panel], tables: Mapping[str, pd.DataFrame]
) -> Path:
    """Writes a study's page, with plotly.min.js beside it.

    Args:
        out: the page.
        title: of the study.
        paragraphs: its question, then what was fixed before the runs.
        panels: its figures.
        tables: its results, by name.

    Raises:
        InputError: the page can't be written.
    """
    shown = [table(name, rows) for name, rows in tables.items()]
    figures = [drawn(panel) for panel in panels]
    page = render_page("study.html", False, title=title, paragraphs=paragraphs, figures=figures, tables=shown)
    return write_page(page, out, "beside")


def index_page(content: Mapping[str, Sequence[Any]]) -> str:
    """The gallery: the table of the paper's claims, a card a study, and what lies beyond the paper.

    Args:
        content: `claims`, `cards` and `beyond`, as gallery.html names their parts.
    """
    claim = (
        "What the paper claims, what small Transformers showed, and how sure that is. Each study fixed its question, "
        "grid and test before its runs."
    )
    claims, cards, beyond = (content[name] for name in ("claims", "cards", "beyond"))
    shown = {"title": "Studies of unification", "claim": claim, "claims": claims, "cards": cards, "beyond": beyond}
    return render_page("gallery.html", inline=True, plotly=PART, **shown)


def write_index(out: Path, content: Mapping[str, Sequence[Any]]) -> Path:
    """Writes the gallery.

    Raises:
        InputError: the page can't be written.
    """
    return write_page(index_page(content), out, "inline")
