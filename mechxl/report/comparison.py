"""Lays out a comparison of runs as one HTML page."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from plotly.offline import get_plotlyjs

from mechxl.findings import Finding
from mechxl.questions.comparison import compare, figures
from mechxl.report.page import environment, figure_html, write_page
from mechxl.run import Run


def write_comparison(
    runs: Sequence[Run], out: str | Path, *, thorough: bool = False, plotly: str = "inline", quiet: bool = False
) -> Path:
    """Compares runs and writes the page.

    Args:
        runs: two or more.
        out: the page.
        thorough: precision of each run's question `phases`.
        plotly: inline or beside.
        quiet: no progress bar.

    Returns:
        The page's path.

    Raises:
        InputError: fewer than two runs, one given twice or without checkpoints; or the page can't be written.
    """
    finding = compare(runs, thorough, quiet=quiet)
    return write_page(render_comparison(finding, Path(out).stem, inline=plotly == "inline"), Path(out), plotly)


def render_comparison(finding: Finding, title: str, *, inline: bool) -> str:
    """The page as text."""
    by_group = finding.tables["by_group"]
    shown = by_group[by_group["clock"] == "step"].drop(columns=["clock", "not_finished"])
    tables = [
        ("Onsets by group", "by-group", "Half-rise steps: geometric mean over seeds, 95 % t interval in ln.", shown),
        (
            "What differs",
            "settings",
            "Settings that are not the same in all runs, but for seeds.",
            finding.tables["settings"],
        ),
        ("Runs", "runs", "A step on other clocks: tokens, exposures of a mono fact, FLOP.", finding.tables["runs"]),
    ]
    return (
        environment()
        .get_template("comparison.html")
        .render(
            title=title,
            runs=finding.tables["runs"].to_dict("records"),
            summary=finding.summary,
            panels=[(panel, figure_html(panel)) for panel in figures(finding)],
            tables=[
                (name, anchor, caption, list(rows.columns), _cells(rows)) for name, anchor, caption, rows in tables
            ],
            equal=finding.notes["equal"],
            plotly_js=get_plotlyjs() if inline else "",
            version=version("mechxl"),
        )
    )


def _cells(table: pd.DataFrame) -> list[list[str]]:
    return [[_cell(value) for value in row] for row in table.itertuples(index=False)]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if value != value else f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
