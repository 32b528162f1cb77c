"""Lays out a comparison of runs as one HTML page."""

from collections.abc import Collection, Sequence
from pathlib import Path

from mechxl.comparison.compute import compare
from mechxl.comparison.figures import figures, overview
from mechxl.comparison.finals import finals_words, settings_map
from mechxl.findings import Finding
from mechxl.questions.find import find_question
from mechxl.report.layout import render_page
from mechxl.report.page import page_targets, write_page
from mechxl.report.sections import drawn, for_figures, table
from mechxl.run import Run

MOST_ROWS = 4000  # the page leaves out longer tables; each run's own report has its rows of them
CAPTIONS = {
    "finals_by_group": "The last value of each quantity by group: the mean over runs with its 95 % t interval.",
    "by_group": "Half-rise steps by group on each clock: the geometric mean over seeds with its 95 % t interval in ln.",
    "differences": "Half-rise steps divided by those of the first group, paired by seed; p after Holm over all tests.",
    "settings": "Settings that differ between runs, apart from seeds.",
    "runs": "What one step is on the other clocks: tokens seen, exposures of a mono fact, FLOP.",
}


def write_comparison(
    runs: Sequence[Run], out: str | Path, *, thorough: bool = False, plotly: str = "inline", quiet: bool = False
) -> Path:
    """Compares runs and writes the page.

    Args:
        runs: two or more.
        out: the page.
        thorough: compute each run's question `phases` on all facts.
        plotly: inline or beside.
        quiet: no progress bar.

    Returns:
        The page's path.

    Raises:
        InputError: there are fewer than two runs; a run is given twice or has no checkpoints; or the page can't be
            written.
    """
    page_targets(Path(out), plotly)  # refused before anything is computed
    finding = compare(runs, thorough, quiet=quiet)
    beside = {run.name for run in runs if (Path(out).parent / f"{run.name}.html").is_file()}
    page = render_comparison(finding, Path(out).stem, inline=plotly == "inline", pages=beside)
    return write_page(page, Path(out), plotly)


def render_comparison(finding: Finding, title: str, *, inline: bool, pages: Collection[str] = ()) -> str:
    """The page as text; `pages` are the runs whose reports lie beside it."""
    shown = {name: rows for name, rows in finding.tables.items() if 0 < len(rows) <= MOST_ROWS}
    escaped = for_figures(finding)
    return render_page(
        "comparison.html",
        inline,
        title=title,
        n_runs=len(finding.tables["runs"]),
        ends=finals_words(finding.tables["finals_by_group"], finding.notes["groups"]),
        summary=[sentence for sentence in finding.summary if not sentence.startswith("At the end, ")],
        settings_map=settings_map(finding),
        pages=pages,
        question=find_question("phases"),
        timeline=drawn(overview(escaped)),
        figures=[drawn(panel) for panel in figures(escaped)],
        tables=[(table(name, rows), CAPTIONS.get(name, "")) for name, rows in shown.items()],
        left_out=[(name, len(rows)) for name, rows in finding.tables.items() if len(rows) > MOST_ROWS],
        equal=finding.notes["equal"],
    )
