"""Lays out a comparison of runs as one HTML page."""

from collections.abc import Sequence
from pathlib import Path

from mechxl.comparison.compute import compare
from mechxl.comparison.figures import figures, overview
from mechxl.findings import Finding
from mechxl.questions.find import find_question
from mechxl.report.page import render_page, write_page
from mechxl.report.sections import drawn, for_figures, table
from mechxl.run import Run

MOST_ROWS = 4000  # of a table that the page holds: the curves of dozens of runs stand in each run's own report
CAPTIONS = {
    "by_group": "Onsets by group: half-rise steps, geometric mean over seeds, 95 % t interval in ln; by clock.",
    "differences": "Paired differences between groups, corrected for their number.",
    "settings": "Settings that are not the same in all runs, but for seeds.",
    "runs": "A step on other clocks: tokens, exposures of a mono fact, FLOP.",
}


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
    shown = {name: rows for name, rows in finding.tables.items() if 0 < len(rows) <= MOST_ROWS}
    escaped = for_figures(finding)
    return render_page(
        "comparison.html",
        inline,
        title=title,
        n_runs=len(finding.tables["runs"]),
        summary=finding.summary,
        question=find_question("phases"),
        timeline=drawn(overview(escaped)),
        figures=[drawn(panel) for panel in figures(escaped)],
        tables=[(table(name, rows), CAPTIONS.get(name, "")) for name, rows in shown.items()],
        left_out=[(name, len(rows)) for name, rows in finding.tables.items() if len(rows) > MOST_ROWS],
        equal=finding.notes["equal"],
    )
