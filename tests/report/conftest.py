"""A page of the small run, and Debian's chromium to look at it, with the network off."""

import shutil

import pytest
from playwright.sync_api import Page, sync_playwright

from mechxl.questions.table import QUESTIONS
from mechxl.report.__main__ import main


@pytest.fixture(scope="session")
def page(trained, answered, tmp_path_factory):
    for question in QUESTIONS:
        answered(question)
    out = tmp_path_factory.mktemp("report") / "page.html"
    assert main([str(trained.path), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def looked_at(chromium):
    """Opens a page; what it says on the console and what it asks for must be nothing."""
    contexts, said = [], []

    def open_page(path, *, width=1440, theme="light", anchor="") -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, offline=True, accept_downloads=True
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith(own) else said.append(request.url))
        own = (f"{path.as_uri()}", "data:", "blob:", (path.parent / "plotly.min.js").as_uri())
        tab.goto(path.as_uri() + anchor)
        if not anchor:  # a figure is drawn once it is in view, and there may be none beside the anchor
            tab.wait_for_selector(".plot .main-svg")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def scrolled(tab: Page) -> None:
    """Down to the end, until every figure is drawn."""
    for name in tab.evaluate("[...document.querySelectorAll('.plot')].map((plot) => plot.id)"):
        tab.locator(f"[id='{name}']").scroll_into_view_if_needed()
        tab.wait_for_function("(name) => document.getElementById(name).ready", arg=name)
