"""Other people's text on the page: nothing runs, nothing is asked for, and it is shown as it is.

Escaping is the first wall and the page's policy the second; each is tested with the other one off.
"""

import csv
import io
import json
import os
import re
from html import escape
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from playwright.sync_api import Browser, Page
from plotly.offline import get_plotlyjs

from mechxl.comparison.compute import compare
from mechxl.display import error_html
from mechxl.explorer import drawn
from mechxl.explorer.shown import Patched, Renderings
from mechxl.findings import Finding
from mechxl.plots import Panel
from mechxl.questions.find import find_question
from mechxl.questions.question import Question, declared
from mechxl.report.comparison import render_comparison
from mechxl.report.page import PAGE, render, write_page
from mechxl.report.sections import failed, section
from mechxl.report.study import write_study
from mechxl.run import Run
from tests.report.conftest import Opened, scrolled
from tests.report.payloads import FORMULAS, PAYLOADS
from tests.runs import copied, write_environment

ALL = " ".join(PAYLOADS)
NO_RESULT = "<img src=x onerror=window.pwned=1>"


@pytest.fixture
def opened(chromium: Browser):
    """Opens a page, which must say nothing and ask for nothing, but that plotly finds no MathJax for a formula."""
    opened = Opened(chromium)
    yield opened
    opened.close()
    assert [said for said in opened.said if "MathJax" not in said] == []


class Hostile(Run):
    """A run in a directory whose name holds all payloads, a slash and NUL among them."""

    name = ALL  # type: ignore[assignment]


def texts_figures(texts: list[str]) -> dict[str, go.Figure]:
    """Texts wherever plotly shows one. A figure with all of these at once is more than plotly lays out."""
    n, few = len(texts), texts[:40]
    steps = [{"label": text, "method": "skip", "args": [[text]]} for text in few[:20]]
    shown: dict[str, tuple[dict[str, object], dict[str, object]]] = {
        "points": ({"x": [*range(n)], "y": [0] * n, "mode": "markers+text", "text": texts, "hovertext": texts}, {}),
        "ticks": ({"x": [0, 1], "y": [0, 1]}, {"xaxis": {"tickvals": [*range(n)], "ticktext": texts}}),
        "notes": ({}, {"annotations": [{"text": text, "x": 0, "y": 0, "hovertext": text} for text in texts]}),
        "title": ({"type": "bar", "x": few, "y": [1] * 40, "name": texts[0]}, {"title": {"text": " ".join(texts)}}),
        "table": ({"type": "table", "header": {"values": few[:2]}, "cells": {"values": [texts, texts]}}, {}),
        "slider": ({"type": "pie", "labels": few, "values": [1] * 40}, {"sliders": [{"steps": steps}], "meta": texts}),
        "menu": ({"x": [0], "y": [0], "hovertemplate": texts[1]}, {"updatemenus": [{"buttons": steps}]}),
    }
    return {name: go.Figure([trace] if trace else [], layout) for name, (trace, layout) in shown.items()}


def own_question() -> Question:
    """An own question that draws what it found, and payloads of its own."""
    module = ModuleType("own")
    module.__file__ = "own.py"
    own: dict[str, object] = {"TITLE": ALL, "DEFINITION": PAYLOADS, "CAVEATS": PAYLOADS, "compute": lambda run: None}

    def figures(finding: Finding) -> list[Panel]:
        found = finding.tables["texts"]["text"].tolist()
        drawn_found = [Panel(f"found-{name}", ALL, ALL, figure) for name, figure in texts_figures(found).items()]
        return [*drawn_found, *(Panel(f'{name}"{ALL}', ALL, ALL, raw) for name, raw in texts_figures(PAYLOADS).items())]

    vars(module).update(own, figures=figures)
    return declared("own", module)


def own_finding() -> Finding:
    numbers = pd.DataFrame({"number": [-1.5, -2, 1e-9], "count": [-1, 0, 7], "text": ["a", "b;c", 'd"e,']})
    tables = {"texts": pd.DataFrame({"text": PAYLOADS, ALL: PAYLOADS}), "numbers": numbers, ALL: numbers}
    tables["formulas"] = pd.DataFrame({"=name": FORMULAS, "n": -np.arange(len(FORMULAS))})
    return Finding("own", PAYLOADS, tables, {ALL: PAYLOADS}, {ALL: np.zeros(2)})


@pytest.fixture(scope="module")
def hostile(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    place = tmp_path_factory.mktemp("hostile") / NO_RESULT
    copied(trained, place)
    environment = json.loads((place / "environment.json").read_text())
    environment |= dict.fromkeys(("platform", "commit", "device"), PAYLOADS[7]) | {"command": [*PAYLOADS, "\udcff"]}
    environment["versions"] |= {payload: payload for payload in PAYLOADS}
    write_environment(place, environment)
    for payload in PAYLOADS:
        if "/" not in payload and "\0" not in payload and len(payload.encode()) < 200:
            (place / "checkpoints" / payload).touch()
    (place / "checkpoints" / os.fsdecode(b"step-\xff")).touch()
    run = Hostile(place)
    assert len(run.foreign) > 50
    assert run.manifest
    run.manifest = run.manifest.model_copy(update={"accepted": PAYLOADS})
    return run


@pytest.fixture(scope="module")
def report(hostile: Hostile, answered) -> Path:
    """The page of hostile findings, of own questions, and of one that failed."""
    sections = [section(own_question(), own_finding())]
    for name in ("learning", "unification"):
        found: Finding = answered(name)
        notes = dict(found.notes)
        if name == "unification":
            facts = len(notes["shown_facts"][0])
            told = [PAYLOADS[place * facts : (place + 1) * facts] for place in range(2)]
            notes |= {"shown_facts": told, "languages": [ALL, *PAYLOADS[: len(notes["languages"]) - 1]]}
            words = notes["shown_answers"]["words"]
            notes["shown_answers"] = notes["shown_answers"] | {"words": (PAYLOADS * 9)[: len(words)]}
        sections.append(section(find_question(name), Finding(name, PAYLOADS, dict(found.tables), notes, found.arrays)))
    sections.append(failed("failed", None, ValueError(ALL)))
    out = hostile.path.parent / "report.html"
    return write_page(render(hostile, sections, thorough=False, inline=True), out, "inline")


def is_harmless(tab: Page, own_links: bool = False) -> None:
    """Nothing ran, and no payload is an element, a handler or an address."""
    assert tab.evaluate("window.pwned") is None
    found = tab.evaluate(
        """(ownLinks) => {
            const bad = [...document.querySelectorAll(
                "img, iframe, object, embed, base, form, video, audio, portal, math, marquee, input:not(#checkpoint),"
                + "link:not([rel=icon]), style:not(head *), meta[http-equiv=refresh], script:not([type='application/json']) ~ b"
            )].map((one) => one.outerHTML.slice(0, 200));
            for (const one of document.querySelectorAll("*")) {
                for (const { name, value } of one.attributes) {
                    if (ownLinks && name.endsWith("href") && value.startsWith("https://evil.invalid/x")) continue;
                    if (name.startsWith("on") || (/href|src$|action|data$/.test(name) && !/^(#|data:,|plotly.min.js)/.test(value)))
                        bad.push(`${one.tagName} ${name}=${value}`.slice(0, 200));
                }
            }
            return bad;
        }""",
        own_links,
    )
    assert found == []


def shown(text: str) -> str:
    """A text as HTML shows it: white space and what is no letter aside."""
    return re.sub(r"[\s\x00-\x1f\ufffd\ufeff\u200b]+", "", text)


def test_nothing_runs_on_the_page_and_texts_are_texts(report: Path, opened):
    tab = opened(report)
    scrolled(tab)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    tab.wait_for_selector("details.rows td")
    tab.locator("#fact-choice").select_option("3")
    # an own figure may have a link, which leads out by a click only; plotly gives it no javascript:
    is_harmless(tab, own_links=True)
    assert tab.evaluate("document.querySelectorAll('[id^=plot-found] a').length") == 0
    assert shown(tab.locator("h1").inner_text()) == shown(ALL)
    cells = tab.locator("details.rows[data-file$='own-texts'] tbody tr td:first-child").all_inner_texts()
    assert [shown(cell) for cell in cells] == [shown(payload) for payload in PAYLOADS[: len(cells)]]
    for place in ("#settings", "#fact-table", "#own .more", "#failed .error", "header .state"):
        assert shown(PAYLOADS[7]) in shown(" ".join(tab.locator(place).all_text_contents())), place
    labels = tab.evaluate(
        "[...document.querySelectorAll('#plot-found-points .textpoint text')].map((one) => one.textContent)"
    )
    assert shown(PAYLOADS[7]) in {shown(label) for label in labels}
    saved_tables_hold_no_formulas(tab)


def saved_tables_hold_no_formulas(tab: Page) -> None:
    def saved(name: str) -> list[list[str]]:
        with tab.expect_download() as download:
            tab.locator(f"details.rows[data-file$='own-{name}'] button", has_text="save as CSV").click()
        return list(csv.reader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"), newline="")))

    names, *rows = saved("formulas")
    assert names == ["'=name", "n"]
    assert [row[0] for row in rows] == [f"'{text}" for text in FORMULAS]
    assert [row[1] for row in rows] == [str(-n) for n in range(len(FORMULAS))]
    assert saved("numbers") == [
        ["number", "count", "text"],
        ["-1.5", "-1", "a"],
        ["-2", "0", "b;c"],
        ["1e-9", "7", 'd"e,'],
    ]


def test_nothing_runs_in_a_comparison(trained: Run, hostile: Hostile, answered, opened):
    answered("phases")
    found = compare([hostile, Run(trained.path)])
    tables = {name: rows.replace("all runs", ALL) for name, rows in found.tables.items()}
    notes = found.notes | {"groups": [ALL], "equal": PAYLOADS}
    comparison = Finding("comparison", PAYLOADS, tables | {ALL: tables["runs"]}, notes)
    out = hostile.path.parent / "comparison.html"
    tab = opened(write_page(render_comparison(comparison, ALL, inline=False), out, "beside"))
    scrolled(tab)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    is_harmless(tab)
    assert shown(tab.locator("h1").inner_text()) == shown(ALL)


def test_nothing_runs_on_a_studys_page(tmp_path: Path, opened):
    texts = [escape(payload, quote=False) for payload in PAYLOADS]
    panels = [Panel(name, ALL, ALL, figure) for name, figure in texts_figures(texts).items()]
    title = " ".join(PAYLOADS[:9])
    out = write_study(tmp_path / "study.html", title, PAYLOADS, panels, own_finding().tables)
    tab = opened(out)
    scrolled(tab)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    is_harmless(tab)
    assert PAGE.match(out.read_bytes())
    assert write_study(out, "again", PAYLOADS, [], {}) == out  # it is known as a page, and replaced


def test_nothing_runs_in_a_notebook(hostile: Hostile, tmp_path: Path, opened):
    """What notebooks show stands under no policy."""
    few, n = PAYLOADS[:80], 40
    texts = Renderings(np.tile(np.arange(n), 2), np.repeat([0, 1], n), few, np.eye(2 * n, 2), 0.5, np.eye(2 * n), n)
    names = [ALL, PAYLOADS[0]]
    grid = pd.DataFrame([few[:5]] * 2)
    answers = Patched((0, 0), (1, 1), ALL, grid, grid.map(lambda _: 0), grid.map(lambda _: 0.0))
    attention = pd.DataFrame(np.eye(3), index=pd.MultiIndex.from_product([[0], range(3)]))
    figures = [
        drawn.map_figure(names),
        drawn.board_figure(),
        drawn.attention_figure(),
        drawn.patch_figure([0, 1], few[:5]),
    ]
    drawn.draw_map(figures[0], texts, names, (0, 0))
    drawn.draw_board(figures[1], texts, names, (0, 0))
    drawn.draw_attention(figures[2], [(attention, few[:3]), (attention, few[3:6])], 1, names)
    drawn.draw_patch(figures[3], answers)
    shown_html = [hostile._repr_html_(), own_finding()._repr_html_(), error_html(Path(ALL), ValueError(ALL))]
    specs = [figure.to_json().replace("<", "\\u003c") for figure in figures]
    plots = "".join(f"<script>draw({spec})</script>" for spec in specs)
    draw = "function draw(spec) { const one = document.createElement('div'); one.className = 'plot'; document.body.append(one); Plotly.newPlot(one, spec.data, spec.layout); }"
    (tmp_path / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    (tmp_path / "notebook.html").write_text(
        f"<!doctype html><meta charset=utf-8><body>{''.join(shown_html)}<script src=plotly.min.js></script>"
        f"<script>{draw}</script>{plots}</body>",
        encoding="utf-8",
    )
    tab = opened(tmp_path / "notebook.html")
    tab.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 4")
    is_harmless(tab)


def test_the_walls_are_needed_and_hold_alone(chromium: Browser, tmp_path: Path):
    """Raw payloads run and fetch where there is no policy, and do neither under the page's own."""
    page = write_study(tmp_path / "study.html", "raw", ["RAW"], [], {}).read_text(encoding="utf-8")
    (tmp_path / "empty.html").touch()
    page = page.replace(
        "RAW", "".join(text for text in PAYLOADS if "http-equiv" not in text and "noscript" not in text)
    )
    for name, text in (("with", page), ("without", re.sub(r"<meta http-equiv.*?>", "", page, count=1))):
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
        tabs, failures = Opened(chromium), set[str | None]()
        tab = tabs(tmp_path / "empty.html", anchor="#")
        tab.on("requestfailed", lambda request, failures=failures: failures.add(request.failure))
        tab.goto((tmp_path / f"{name}.html").as_uri())
        tab.wait_for_timeout(200)
        ran = tab.evaluate("window.pwned")
        tabs.close()
        if name == "with":  # what is asked for is stopped in the browser
            assert (ran, failures) == (None, {"csp"})
        else:
            assert ran == 1
            assert "net::ERR_INTERNET_DISCONNECTED" in failures
