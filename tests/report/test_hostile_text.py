"""Other people's text on the page: nothing runs, nothing is asked for, and it is shown as it is.

Escaping is the first wall and the page's policy the second; each is tested with the other one off.
"""

import csv
import io
import json
import os
import re
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
from tests.report.conftest import Opened
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
    """An own question that draws what it found."""
    module = ModuleType("own")
    module.__file__ = "own.py"
    own: dict[str, object] = {"TITLE": ALL, "DEFINITION": PAYLOADS, "CAVEATS": PAYLOADS, "compute": lambda run: None}

    def figures(finding: Finding) -> list[Panel]:
        found = finding.tables["texts"]["text"].tolist()
        figures = texts_figures(found)
        del figures["slider"]  # the page takes it for one of checkpoints
        return [Panel(f"found-{name}", ALL, ALL, figure) for name, figure in figures.items()]

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
    with pytest.raises(ValueError) as raised:  # noqa: PT011  its text is hostile
        raise ValueError(ALL)
    sections.append(failed("failed", None, raised.value))
    out = hostile.path.parent / "report.html"
    return write_page(render(hostile, sections, thorough=False, inline=True), out, "inline")


def draw_all(tab: Page) -> None:
    """Unfolds all, tables among them, and brings every figure near the screen."""
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for place in range(tab.locator(".plot").count()):
        tab.evaluate("(at) => document.querySelectorAll('.plot')[at].scrollIntoView()", place)
        tab.wait_for_function("(at) => document.querySelectorAll('.plot')[at].ready", arg=place)
    tab.wait_for_selector("details.rows td", state="attached")


def is_harmless(tab: Page, outside: str = "none") -> None:
    """Nothing ran, and no payload is an element, a handler or an address."""
    assert tab.evaluate("window.pwned") is None
    found = tab.evaluate(
        """(outside) => {
            const bad = [...document.querySelectorAll(
                "img, iframe, object, embed, base, form, video, audio, portal, math, marquee, input:not(#checkpoint),"
                + "link:not([rel=icon]), style:not(head *), meta[http-equiv=refresh]"
            )].filter((one) => !one.closest(outside)).map((one) => one.outerHTML.slice(0, 200));
            for (const one of document.querySelectorAll("*")) {
                for (const { name, value } of one.closest(outside) ? [] : one.attributes) {
                    const address = /href|src$|action|data$/.test(name);
                    const own = /^(#|data:(,|image.png)|plotly.min.js)/.test(value);
                    if (name.startsWith("on") || (address && !own))
                        bad.push(`${one.tagName} ${name}=${value}`.slice(0, 200));
                }
            }
            return bad;
        }""",
        outside,
    )
    assert found == []


def shown(text: str) -> str:
    """A text as HTML shows it: white space and what is no letter aside."""
    return re.sub(r"[\s\x00-\x1f\ufffd\ufeff\u200b]+", "", text)


def test_nothing_runs_on_the_page_and_texts_are_texts(report: Path, opened):
    tab = opened(report, anchor="#main")
    draw_all(tab)
    tab.locator("#fact-choice").select_option("3")
    is_harmless(tab)
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
        return list(csv.reader(io.StringIO(download.value.path().read_bytes().decode("utf-8-sig"), newline="")))

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
    tab = opened(write_page(render_comparison(comparison, ALL, inline=False), out, "beside"), anchor="#main")
    draw_all(tab)
    is_harmless(tab)
    assert shown(tab.locator("h1").inner_text()) == shown(ALL)


def test_own_figures_on_a_studys_page_run_and_fetch_nothing(chromium: Browser, tmp_path: Path, monkeypatch):
    """Texts that a question itself gives plotly are plotly's markup (links, styles): the policy stops what they ask."""
    monkeypatch.setattr("mechxl.report.sections._refuse_fetching", lambda panel: None)  # the wall before the policy
    address = "https://evil.invalid/image.png"
    panels = [Panel(f'{name}"{ALL}', ALL, ALL, figure) for name, figure in texts_figures(PAYLOADS).items()]
    panels.append(Panel("image", "t", "c", go.Figure(layout={"images": [{"source": address}]})))
    out = write_study(tmp_path / "own.html", " ".join(PAYLOADS[:9]), PAYLOADS, panels, own_finding().tables)
    page = out.read_text(encoding="utf-8")
    assert PAGE.match(page.encode())  # known as one of mechxl's, whatever its title
    assert page == write_study(out, " ".join(PAYLOADS[:9]), PAYLOADS, panels, own_finding().tables).read_text("utf-8")
    tabs, asked = Opened(chromium), dict[str, str | None]()
    tab = tabs(out, anchor="#main")
    tab.on("requestfailed", lambda request: asked.update({request.url: request.failure}))
    draw_all(tab)
    tab.wait_for_timeout(200)
    is_harmless(tab, outside=".plot")
    tabs.close()
    assert address in asked
    assert set(asked.values()) == {"csp"}
    assert {said for said in tabs.said if said.startswith("http")} <= set(asked)


def test_nothing_runs_in_a_notebook(hostile: Hostile, tmp_path: Path, opened):
    """What notebooks show stands under no policy."""
    few, n = PAYLOADS[:80], 40
    texts = Renderings(np.tile(np.arange(n), 2), np.repeat([0, 1], n), few, np.eye(2 * n, 2), 0.5, np.eye(2 * n), n)
    names = [ALL, PAYLOADS[0]]
    grid = pd.DataFrame([few[:5]] * 2)
    answers = Patched((0, 0), (1, 1), ALL, grid, grid.map(lambda _: 0), grid.map(lambda _: 0.0))
    attention = pd.DataFrame(np.eye(3), index=pd.MultiIndex.from_product([[0], range(3)]))
    figures = [
        drawn.draw_map(texts, names, (0, 0)),
        drawn.draw_board(texts, names, (0, 0)),
        drawn.draw_attention([(attention, few[:3]), (attention, few[3:6])], 1, names),
        drawn.draw_patch(answers, [0, 1], few[:5], ""),
    ]
    shown_html = [
        hostile._repr_html_(),
        own_finding()._repr_html_(),
        error_html(Path(ALL.replace("\0", "")), ValueError(ALL)),
    ]
    specs = [str(figure.to_json()).replace("<", "\\u003c") for figure in figures]
    plots = "".join(f"<script>draw({spec})</script>" for spec in specs)
    draw = (
        "function draw(spec) { const one = document.createElement('div'); one.className = 'plot';"
        " document.body.append(one); Plotly.newPlot(one, spec.data, spec.layout, { displayModeBar: false }); }"
    )
    (tmp_path / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    (tmp_path / "notebook.html").write_text(
        f"<!doctype html><meta charset=utf-8><body>{''.join(shown_html)}<script src=plotly.min.js></script>"
        f"<script>{draw}</script>{plots}</body>",
        encoding="utf-8",
    )
    tab = opened(tmp_path / "notebook.html", anchor="#")
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
