"""Makes the pictures of README from the default run, its page, and the study after_recall.

python docs/pictures.py [RUN]     # the run, its null and its page must be there: make demo; needs chromium
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from playwright.sync_api import Browser, sync_playwright
from plotly.offline import get_plotlyjs

from analyses.claims.after_recall import ADDED, late
from analyses.study import read_results
from mechxl import Run, ask
from mechxl.findings import Finding
from mechxl.plots import SEPARATE_TO_UNIFIED, Panel, themed
from mechxl.questions.find import find_question

DOCS = Path(__file__).parent
BOARD = 350  # pixels
BOARDS = (125, 480, 3000)  # steps of the checkerboards: before, while and after facts are learned


def main() -> None:
    """Writes default.png, late.png and page-light.png."""
    run = Run(sys.argv[1] if len(sys.argv) > 1 else "runs/default")
    page = Path("reports") / f"{run.name}.html"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        photograph(browser, default_figures(run), DOCS / "default.png")
        photograph(browser, [[late(read_results("after_recall"), ADDED)]], DOCS / "late.png")
        first_screen(browser, page, DOCS / "page-light.png")
        browser.close()


def default_figures(run: Run) -> list[list[go.Figure]]:
    """Rows of figures: recall and transfer, the excess over the trained null, and three checkerboards."""
    unification = ask(run, "unification")
    panels = {panel.name: panel.figure for finding in (ask(run, "learning"), unification) for panel in shown(finding)}
    return [[panels["rates"]], [panels["excess"]], [board(unification, step) for step in BOARDS]]


def shown(finding: Finding) -> Sequence[Panel]:
    """A finding's panels, as the page has them."""
    return find_question(finding.question).figures(finding)


def board(finding: Finding, step: int) -> go.Figure:
    """The checkerboard of the checkpoint nearest to a step."""
    steps, names = finding.notes["steps"], finding.notes["languages"]
    index = min(range(len(steps)), key=lambda number: abs(steps[number] - step))
    z = finding.arrays["checkerboard"][index]
    half = len(z) / len(names)
    figure = go.Figure(go.Heatmap(z=z, zmin=-100, zmax=100, colorscale=SEPARATE_TO_UNIFIED, showscale=False))
    for number in range(1, len(names)):
        figure.add_vline(number * half - 0.5, line_width=1)
        figure.add_hline(number * half - 0.5, line_width=1)
    ticks = {"tickvals": [(number + 0.5) * half - 0.5 for number in range(len(names))], "ticktext": names}
    figure.update_xaxes(**ticks)
    figure.update_yaxes(autorange="reversed", **ticks)
    figure.update_layout(title={"text": f"Cosines at layer 1, step {steps[index]:,}", "font": {"size": 14}, "x": 0.5})
    return themed(figure, height=BOARD).update_layout(width=BOARD, margin={"l": 30, "r": 10, "t": 50, "b": 30})


def photograph(browser: Browser, rows: list[list[go.Figure]], out: Path) -> None:
    """Draws rows of figures on one white page, 1,100 pixels wide."""
    divs = "".join(
        "<div style='display:flex'>"
        + "".join(
            f"<div style='flex:1;min-width:0'>{figure.to_html(include_plotlyjs=False, full_html=False)}</div>"
            for figure in row
        )
        + "</div>"
        for row in rows
    )
    tab = browser.new_page(viewport={"width": 1100, "height": 400})
    tab.set_content(f"<script>{get_plotlyjs()}</script><body style='background:white;margin:8px'>{divs}</body>")
    tab.wait_for_timeout(2000)
    tab.screenshot(path=out, full_page=True)
    tab.close()


def first_screen(browser: Browser, page: Path, out: Path) -> None:
    """The page's first screen."""
    tab = browser.new_page(viewport={"width": 1280, "height": 853})
    tab.goto(page.resolve().as_uri())
    tab.wait_for_timeout(2500)
    tab.screenshot(path=out)
    tab.close()


if __name__ == "__main__":
    main()
