"""The speed of the report page in a browser: python -m benchmarks.page [--quick] [--page FILE]

The page is the default run's report, in Debian's headless chromium, from a file. First paint is the browser's first
contentful paint. Interaction is the time from moving the checkpoint control to the second frame after it, with the
checkerboard, the single fact and the map on the screen, which is the slowest part of the page.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.machine import table
from mechxl.config import RunConfig
from mechxl.report.page import write_report
from mechxl.training.loop import train_run

PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
READY = "['checkerboard', 'map'].every((name) => document.getElementById('plot-' + name).ready)"
MOVE = """(at) => new Promise((done) => {
    const bar = document.getElementById('checkpoint'), begun = performance.now();
    bar.value = at;
    bar.dispatchEvent(new Event('input'));
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begun)));
})"""


def measure(page: Path, repeats: int) -> tuple[list[float], list[float]]:
    """Milliseconds of first paints and of interactions."""
    paints, moves = [], []
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(repeats):
            context = browser.new_context(viewport={"width": 1440, "height": 1800}, offline=True)
            tab = context.new_page()
            tab.goto(page.resolve().as_uri() + "#checkerboard")
            tab.wait_for_function(READY)
            paints.append(tab.evaluate(PAINT))
            moves += [tab.evaluate(MOVE, at) for at in (3, 12, 20, 27)]
            context.close()
        browser.close()
    return paints, moves


def section(quick: bool) -> str:
    """The rows as a section of the results."""
    with tempfile.TemporaryDirectory() as folder:
        run = train_run(RunConfig(), Path(folder) / "run", quiet=True)
        page = write_report(run, Path(folder) / "page.html", quiet=True)
        return rows(page, 2 if quick else 5)


def rows(page: Path, repeats: int) -> str:
    """The measurements of a page as a Markdown table."""
    paints, moves = measure(page, repeats)

    def spread(times: list[float]) -> str:
        return f"{statistics.median(times):.0f} ms ({min(times):.0f}-{max(times):.0f})"

    size = page.stat().st_size / 1e6
    return table(
        ("what", "measured", "bound"),
        [
            ("first paint", spread(paints), "2,000 ms"),
            ("a checkpoint chosen, until all that is on the screen shows it", spread(moves), "200 ms"),
            ("size", f"{size:.1f} MB", "8 MB"),
        ],
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--page", type=Path, help="measure this report instead of a new one")
    options = parser.parse_args()
    print(rows(options.page, 5) if options.page else section(options.quick))


if __name__ == "__main__":
    main()
