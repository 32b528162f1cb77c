"""A page of the small run, and Debian's chromium to look at it, with the network off."""

import shutil
from pathlib import Path
from typing import Literal

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page, sync_playwright

from mechxl.questions.table import QUESTIONS
from mechxl.report.__main__ import main


@pytest.fixture(scope="session")
def written(trained, answered, shared_folder):
    """Gives the page of all questions about the small run, or of some; the worker that needs it first writes it."""

    def write(name: str, *questions: str) -> Path:
        for question in questions or QUESTIONS:
            answered(question)
        out = shared_folder / "pages" / name / "page.html"
        with FileLock(shared_folder / f"page {name}.lock"):
            if not out.exists():
                out.parent.mkdir(parents=True)
                only = ["--only", *questions] if questions else []
                assert main([str(trained.path), "--out", str(out), *only]) == 0
        return out

    return write


@pytest.fixture(scope="session")
def page(written):
    return written("whole")


@pytest.fixture(scope="session")
def small_page(written):
    """A page of three questions: what follows the checkpoint, the theme and the keyboard is there."""
    return written("small", "learning", "unification", "phases")


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Opened:
    """Opens pages in tabs of their own, and keeps what they say on the console and what they ask for."""

    def __init__(self, browser: Browser) -> None:
        self.browser, self.contexts, self.said = browser, [], []

    def __call__(self, path: Path, *, width: int = 1440, theme: Literal["light", "dark"] = "light", anchor="") -> Page:
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, offline=True, accept_downloads=True
        )
        self.contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: self.said.append(message.text))
        tab.on("pageerror", lambda error: self.said.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith(own) else self.said.append(request.url))
        own = (f"{path.as_uri()}", "data:", "blob:", (path.parent / "plotly.min.js").as_uri())
        tab.goto(path.as_uri() + anchor)
        if not anchor:  # a figure is drawn once it is in view, and there may be none beside the anchor
            tab.wait_for_selector(".plot .main-svg")
        return tab

    def close(self) -> None:
        for context in self.contexts:
            context.close()


@pytest.fixture
def looked_at(chromium):
    """Opens a page; what it says on the console and what it asks for must be nothing."""
    opened = Opened(chromium)
    yield opened
    opened.close()
    assert opened.said == []


@pytest.fixture(scope="module")
def dark_tab(chromium, page):
    """The page in dark colours, every figure drawn; `read_tab` gives it to a test."""
    opened = Opened(chromium)
    tab = opened(page, theme="dark")
    scrolled(tab)
    yield tab, opened.said
    opened.close()


@pytest.fixture
def read_tab(dark_tab):
    """The tab that tests share, at the last checkpoint, the first fact and no open table; it must say nothing."""
    tab, said = dark_tab
    tab.evaluate(
        """() => {
            const set = (id, value, event) => {
                const control = document.getElementById(id);
                control.value = value;
                control.dispatchEvent(new Event(event));
            };
            set("checkpoint", document.getElementById("checkpoint").max, "input");
            set("fact-choice", "0", "change");
            document.querySelectorAll("details").forEach((one) => { one.open = one.matches(".fold"); });
            scrollTo(0, 0);
        }"""
    )
    yield tab
    assert said == []


def unfolded(tab: Page) -> None:
    """The parts of each section that unfold, open."""
    tab.evaluate("document.querySelectorAll('details.fold').forEach((one) => { one.open = true; })")


def scrolled(tab: Page) -> None:
    """Unfolded and down to the end, until every figure is drawn."""
    unfolded(tab)
    for name in tab.evaluate("[...document.querySelectorAll('.plot')].map((plot) => plot.id)"):
        tab.locator(f"[id='{name}']").scroll_into_view_if_needed()
        tab.wait_for_function("(name) => document.getElementById(name).ready", arg=name)
