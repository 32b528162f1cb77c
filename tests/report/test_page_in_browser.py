"""The page as a reader meets it: in a browser, from a file, with the network off."""

import csv
import io
import json

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from mechxl import ask
from mechxl.check import accept
from mechxl.comparison.compute import compare
from mechxl.findings import Finding
from mechxl.questions.find import find_question
from mechxl.questions.table import QUESTIONS
from mechxl.report.comparison import render_comparison
from mechxl.report.page import render
from mechxl.report.sections import section
from mechxl.run import Run
from tests.report.conftest import scrolled, unfolded
from tests.runs import copied, write_environment

HOSTILE = "<img src=x onerror='window.pwned=1'><b data-hostile>&lt;i</b>"


def layout(tab, figure, path):
    return tab.evaluate(f"document.getElementById('plot-{figure}').layout{path}")


def put_checkpoint(tab, place):
    tab.evaluate(
        "(at) => { const bar = document.getElementById('checkpoint'); bar.value = at;"
        " bar.dispatchEvent(new Event('input')); }",
        place,
    )


def pixel(tab, figure, x, y):
    """Where a point in data units is on the screen."""
    tab.locator(f"#plot-{figure}").scroll_into_view_if_needed()
    tab.wait_for_function(f"() => document.getElementById('plot-{figure}').ready")
    return tab.evaluate(
        """([figure, x, y]) => {
            const plot = document.getElementById('plot-' + figure), full = plot._fullLayout;
            const box = plot.getBoundingClientRect();
            const place = (axis, value) => axis._offset + axis.d2p(value);
            return [box.left + place(full.xaxis, x), box.top + place(full.yaxis, y)];
        }""",
        [figure, x, y],
    )


def opened_fits(tab, width):
    """With every table open, nothing is wider than the screen."""
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    tab.wait_for_selector("details.rows td")
    return tab.evaluate("document.documentElement.scrollWidth") <= width


def complaints(tab):
    """What axe finds that is serious, with all but a few of what repeats taken out and put back.

    Those are rows of tables (and tables of rows), and in figures marks, tick labels and what only the mouse meets.
    """
    tab.evaluate("[...document.querySelectorAll('details.rows')].slice(2).forEach((one) => { one.open = false; })")
    tab.evaluate(
        """() => {
            const repeated = "tbody tr, svg :is(.point, .points > *, .trace, .xtick, .ytick, .drag, clipPath)";
            const many = [...document.querySelectorAll(`:is(${repeated}):nth-child(n + 5)`)];
            window.takenOut = many.map((one) => [one, one.parentNode, one.nextSibling]);
            many.forEach((one) => one.remove());
        }"""
    )
    found = Axe().run(tab, options={"resultTypes": ["violations"]}).response["violations"]
    tab.evaluate("takenOut.reverse().forEach(([one, parent, next]) => parent.insertBefore(one, next))")
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def test_a_narrow_light_page_asks_for_nothing_cuts_nothing_off_and_axe_has_no_serious_complaint(page, looked_at):
    tab = looked_at(page, width=390)
    scrolled(tab)
    assert tab.evaluate("document.documentElement.dataset.theme") == "light"
    assert opened_fits(tab, 390)
    assert complaints(tab) == []


def test_a_wide_dark_page_asks_for_nothing_cuts_nothing_off_and_axe_has_no_serious_complaint(read_tab):
    assert read_tab.evaluate("document.documentElement.dataset.theme") == "dark"
    assert opened_fits(read_tab, 1440)
    assert complaints(read_tab) == []


def test_a_checkpoint_chosen_in_one_figure_is_chosen_in_all(trained, read_tab):
    boards = ask(trained, "unification").arrays["checkerboard"]
    tab = read_tab
    for place, step in ((0, 0), (2, trained.steps[2])):
        put_checkpoint(tab, place)
        tab.wait_for_function(f"() => document.getElementById('step').textContent === 'step {step:,}'")
        tab.locator("#plot-checkerboard").scroll_into_view_if_needed()
        tab.wait_for_function(
            f"() => document.getElementById('plot-checkerboard').layout.sliders[0].active === {place}"
        )
        shown = tab.evaluate("document.getElementById('plot-checkerboard').calcdata[0][0].z.map((row) => [...row])")
        assert np.array_equal(shown, boards[place])
        tab.locator("#plot-loss").scroll_into_view_if_needed()
        tab.wait_for_function(
            f"() => document.getElementById('plot-loss').layout.shapes.some((one) => one.x0 === {step or 0.4})"
        )
    # by a click on a curve
    curves = ask(trained, "learning").tables["curves"]
    row = curves[curves["step"] == trained.steps[-2]].iloc[0] if trained.steps[-2] in set(curves["step"]) else None
    assert row is not None
    tab.mouse.click(*pixel(tab, "loss", int(row["step"]), float(row["loss"])))
    tab.wait_for_function(f"() => document.getElementById('step').textContent === 'step {int(row['step']):,}'")
    # by a figure's own slider
    tab.locator("#plot-map").scroll_into_view_if_needed()
    rail = tab.locator("#plot-map .slider-rail-touch-rect")
    rail.click(position={"x": 8, "y": 8})
    tab.wait_for_function("() => document.getElementById('step').textContent === 'step 0'")
    assert tab.locator("#checkpoint").input_value() == "0"


def test_a_fact_is_told_in_every_language_with_its_answers(trained, read_tab):
    notes = ask(trained, "unification").notes
    told, answers, steps = notes["shown_facts"], notes["shown_answers"], notes["steps"]
    tab = read_tab
    tab.locator("#fact-choice").select_option("3")
    put_checkpoint(tab, 1)
    tab.wait_for_function(f"() => document.getElementById('fact-step').textContent.endsWith('step {steps[1]:,}')")
    rows = tab.locator("#fact-table tbody tr")
    assert rows.count() == 2
    for a in range(2):
        cells = rows.nth(a).locator("td")
        assert cells.nth(2).inner_text() == told[a][3]
        assert cells.nth(1).inner_text().strip() == ("✓" if answers["told"][a][3] else "")
        kinds = [f"kind{answers['kind'][place][a][3]}" for place in range(len(steps))]
        bars = cells.nth(3).locator("button")
        assert [bars.nth(place).get_attribute("class").split()[0] for place in range(len(steps))] == kinds
        word = answers["words"][answers["word"][1][a][3]] or "no value"
        assert cells.nth(4).inner_text().startswith(f"{word} (")
    marks = [
        (
            fact,
            pixel(
                tab, "map", *(tab.evaluate(f"document.getElementById('plot-map').data[{t}].{k}[{fact}]") for k in "xy")
            ),
        )
        for t in (1, 2)
        for fact in range(len(told[0]))
    ]
    at = marks[5][1]
    tab.mouse.click(*at)
    tab.wait_for_function("() => document.getElementById('fact-choice').value !== '3'")
    chosen = int(tab.locator("#fact-choice").input_value())
    # marks may cover each other: it is one of those at the place clicked
    assert chosen in [fact for fact, place in marks if np.hypot(*np.subtract(place, at)) < 10]
    assert rows.first.locator("td").nth(2).inner_text() == told[0][chosen]


def test_tables_sort_and_are_saved(trained, read_tab):
    table = ask(trained, "learning").tables["rates"]
    tab = read_tab
    details = tab.locator("details.rows[data-file$='learning-rates']")
    details.locator("summary").click()
    if (more := details.get_by_role("button", name="show all rows")).is_visible():
        more.click()
    assert details.locator("tbody tr").count() == len(table)
    at = list(table.columns).index("accuracy")
    for direction in ("ascending", "descending"):
        details.locator("th button").nth(at).click()
        assert details.locator("th").nth(at).get_attribute("aria-sort") == direction
        cells = details.locator(f"tbody tr td:nth-child({at + 1})").all_inner_texts()
        numbers = [float(cell) for cell in cells if cell != "–"]
        assert numbers == sorted(numbers, reverse=direction == "descending")
        assert cells[len(numbers) :] == ["–"] * (len(cells) - len(numbers))
    with tab.expect_download() as download:
        details.get_by_role("button", name="save as CSV").click()
    assert download.value.suggested_filename == "trained-learning-rates.csv"
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8-sig"))))
    assert list(rows[0]) == list(table.columns)
    assert [row["group"] for row in rows] == table["group"].tolist()
    kept = [float(row["accuracy"]) if row["accuracy"] else np.nan for row in rows]
    assert np.allclose(kept, table["accuracy"], rtol=0, atol=1e-6, equal_nan=True)


def test_keyboard_theme_and_print(trained, small_page, looked_at):
    """The keyboard reaches the checkpoint; the theme is kept, and figures follow it; print is light and shows all."""
    tab = looked_at(small_page)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    unfolded(tab)
    tab.locator("#checkpoint").focus()
    tab.keyboard.press("ArrowLeft")
    step = f"step {trained.steps[-2]:,}"
    tab.wait_for_function(f"() => document.getElementById('step').textContent === '{step}'")
    assert tab.locator("#checkpoint").get_attribute("aria-valuetext") == step

    ink = "getComputedStyle(document.querySelector('#plot-loss .xtick text')).fill"
    tab.locator("#plot-loss").scroll_into_view_if_needed()
    tab.wait_for_selector("#plot-loss .xtick text")
    light = tab.evaluate(ink)
    tab.get_by_role("button", name="Use the dark theme").click()
    tab.wait_for_function(f"() => {ink} !== '{light}'")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(27, 31, 39)"
    tab.reload()
    tab.wait_for_selector(".plot .main-svg")
    unfolded(tab)
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"

    put_checkpoint(tab, 1)
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate("document.documentElement.dataset.theme") == "light"
    tab.wait_for_function("() => [...document.querySelectorAll('.plot')].every((plot) => plot.ready)")
    boards = ask(trained, "unification").arrays["checkerboard"]
    shown = "document.getElementById('plot-checkerboard').calcdata[0][0].z.map((row) => [...row])"
    tab.wait_for_function(f"() => document.getElementById('plot-checkerboard').shown === {trained.steps[1]}")
    assert np.array_equal(tab.evaluate(shown), boards[1])
    assert tab.evaluate("document.getElementById('plot-loss').layout.font.color") == "#1F2430"
    assert tab.evaluate("document.getElementById('plot-overview').layout.font.color") == "#1F2430"
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    tab.wait_for_function("() => document.getElementById('plot-loss').layout.font.color === '#E6E8EC'")


def test_what_is_folded_is_printed(small_page, looked_at):
    tab = looked_at(small_page)
    closed = "[...document.querySelectorAll('details')].filter((one) => !one.open).length"
    before = tab.evaluate(closed)
    assert before > 5
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(closed) == 0
    assert tab.locator("details.rows td").count() > 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate(closed) == before


def test_the_run_plays_by_keyboard_and_is_short_as_opened(trained, small_page, looked_at):
    tab = looked_at(small_page)
    assert tab.evaluate("document.documentElement.scrollHeight") < 9000
    assert "recall" in tab.locator("#playing").inner_text()
    tab.locator("#back").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function(f"() => document.getElementById('step').textContent === 'step {trained.steps[-2]:,}'")
    assert tab.locator("#playing").inner_text().startswith(f"Step {trained.steps[-2]:,}")
    tab.locator("#forward").click()
    tab.locator("#speed").select_option("fast")
    tab.locator("#play").focus()
    tab.keyboard.press("Space")  # at the end: from the first checkpoint again
    assert tab.locator("#play").get_attribute("aria-pressed") == "true"
    tab.wait_for_function(f"() => document.getElementById('step').textContent === 'step {trained.steps[1]:,}'")
    tab.keyboard.press("Space")
    assert tab.locator("#play").get_attribute("aria-pressed") == "false"
    tab.set_viewport_size({"width": 390, "height": 900})
    assert tab.evaluate("document.documentElement.scrollHeight") < 14000
    tab.wait_for_function("() => document.documentElement.scrollWidth <= 390")  # once the figures are drawn anew


def test_a_term_explains_itself_by_mouse_focus_and_tap(small_page, looked_at):
    tab = looked_at(small_page)
    term, tip = tab.locator(".story .term").first, tab.locator("#tip")
    for act in (term.hover, term.focus, term.click):
        act()
        meaning = tab.locator(f"[id='{term.get_attribute('aria-describedby')}']").text_content()
        assert tip.inner_text() == meaning
        tab.keyboard.press("Escape")
        assert tip.is_hidden()
        tab.mouse.move(0, 0)
        tab.evaluate("document.activeElement.blur()")


def test_a_link_brings_back_what_is_shown(trained, small_page, looked_at):
    tab = looked_at(small_page)
    put_checkpoint(tab, 1)
    tab.wait_for_function(f"() => document.getElementById('step').textContent === 'step {trained.steps[1]:,}'")
    tab.get_by_role("button", name="Use the dark theme").click()
    tab.locator("#numbers summary").click()
    unfolded(tab)
    tab.locator("#fact-choice").select_option("2")
    tab.locator("#copy").click()
    tab.wait_for_function("() => location.hash.includes('step=')")
    link = tab.evaluate("location.hash")
    other = looked_at(small_page, anchor=link)
    other.wait_for_function(f"() => document.getElementById('step').textContent === 'step {trained.steps[1]:,}'")
    assert other.evaluate("document.documentElement.dataset.theme") == "dark"
    assert other.locator("#fact-choice").input_value() == "2"
    assert other.locator("#numbers").evaluate("(one) => one.open")
    damaged = looked_at(small_page, anchor="#step=x&fact=999999&theme=%3Cb%3E&open=9999..a&at=nothing&ask=%3Cimg%3E")
    assert damaged.locator("#step").inner_text() == f"step {trained.steps[-1]:,}"


def test_figures_are_saved_with_their_data_and_what_is_said_of_them(trained, small_page, looked_at):
    tab = looked_at(small_page)
    tab.locator("#plot-course").scroll_into_view_if_needed()
    tab.wait_for_function("() => document.getElementById('plot-course').ready")
    saved = {}
    for kind in ("PNG", "SVG", "CSV"):
        with tab.expect_download() as download:
            tab.get_by_role("button", name=f"Save as {kind}: Recall and transfer").first.click()
        saved[kind] = download.value.path().read_bytes()
        assert download.value.suggested_filename == f"trained-course.{kind.lower()}"
    assert saved["PNG"].startswith(b"\x89PNG")
    assert b"95 % intervals over entities" in saved["SVG"]
    rows = list(csv.reader(io.StringIO(saved["CSV"].decode("utf-8-sig"))))
    assert "95 % intervals" in rows[1][0]
    assert rows[2] == ["trace", "x", "y", "z", "text"]
    table = ask(trained, "learning").tables["checkpoints"]
    shown = [float(row[2]) for row in rows[3:] if row[0] == "recall"]
    assert np.allclose(shown, table["recall"].dropna())


def test_a_deep_link_leads_to_its_figure(small_page, looked_at):
    tab = looked_at(small_page, anchor="#timeline")
    for anchor in ("timeline", "fact", "settings"):
        tab.evaluate("(anchor) => { location.hash = anchor; }", anchor)
        tab.wait_for_timeout(600)  # figures above are drawn meanwhile, and must not push it away
        top = tab.evaluate(f"document.getElementById('{anchor}').getBoundingClientRect().top")
        at_the_end = tab.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert -5 <= top <= 120 or at_the_end, anchor
        if anchor not in ("fact", "settings"):
            assert tab.locator(f"#{anchor} .anchor").get_attribute("href") == f"#{anchor}"


def test_html_in_names_values_and_settings_is_text_everywhere(trained, tmp_path, looked_at):
    place = tmp_path / "<img src=x onerror=window.pwned=1>"
    copied(trained, place)
    environment = json.loads((place / "environment.json").read_text())
    environment |= {"platform": HOSTILE, "commit": HOSTILE, "command": [HOSTILE], "device": HOSTILE}
    environment["versions"]["torch"] = HOSTILE
    write_environment(place, environment)
    run = Run(place)
    findings: dict[str, Finding] = {}
    for name in QUESTIONS:
        found = ask(trained, name)
        tables = {
            key: rows.assign(reason=HOSTILE) for key, rows in found.tables.items() if "value" in rows or "n" in rows
        }
        findings[name] = Finding(
            name,
            [HOSTILE] * 2,
            found.tables | {"hostile": next(iter(tables.values()))},
            dict(found.notes),
            found.arrays,
        )
    notes = findings["unification"].notes
    notes["shown_facts"] = [[f"{HOSTILE} {text}" for text in texts] for texts in notes["shown_facts"]]
    notes["shown_answers"] = notes["shown_answers"] | {"words": [HOSTILE for _ in notes["shown_answers"]["words"]]}
    sections = [section(find_question(name), found) for name, found in findings.items()]
    out = tmp_path / "page.html"
    out.write_text(render(run, sections, thorough=False, inline=True), encoding="utf-8")

    tab = looked_at(out)
    scrolled(tab)
    tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    tab.wait_for_selector("details.rows td")
    assert tab.evaluate("window.pwned") is None
    assert tab.locator("[data-hostile], img").count() == 0
    assert tab.title().startswith("<img src=x onerror=window.pwned=1>")
    assert tab.locator("h1").inner_text() == place.name
    assert HOSTILE in tab.locator(".claim").first.inner_text()
    for shown in ("#settings", "#fact-table", "#fact-choice", "details.rows tbody"):
        assert any(HOSTILE in text for text in tab.locator(shown).all_text_contents()), shown
    # hover texts of figures
    x, y = (tab.evaluate(f"document.getElementById('plot-map').data[1].{axis}[2]") for axis in "xy")
    for figure, at in (("checkerboard", (4, 3)), ("map", (x, y))):
        tab.mouse.move(*pixel(tab, figure, *at))
        tab.wait_for_selector(f"#plot-{figure} .hoverlayer text")
        assert "<b data-hostile>&lt;i</b>" in tab.locator(f"#plot-{figure} .hoverlayer").text_content()


@pytest.fixture(scope="module")
def compared(trained, tmp_path_factory):
    """Two runs whose names hold HTML, as groups of a comparison."""
    folder = tmp_path_factory.mktemp("pair")
    runs = []
    for name in ("<b data-hostile>one", "<img src=x onerror=window.pwned=1>"):
        copied(trained, folder / name)
        runs.append(Run(folder / name))
    text = (runs[1].path / "config.toml").read_text()
    (runs[1].path / "config.toml").write_text(text.replace("learning_rate = 0.002", "learning_rate = 0.003"))
    accept(runs[1].path)
    assert Run(runs[1].path).config != runs[0].config
    out = folder / "comparison.html"
    found = compare([Run(run.path) for run in runs], False, quiet=True)
    found.tables["onsets"] = found.tables["onsets"].assign(outcome="rises", step=60.0)  # so short a run has none
    tested = {"n": 6, "ratio": 1.5, "low": 1.2, "high": 1.9, "p": 0.01, "p_holm": 0.04}  # one seed has no test to draw
    found.tables["differences"] = found.tables["differences"].assign(**tested)
    out.write_text(render_comparison(found, "<b data-hostile>title", inline=True), encoding="utf-8")
    return out


def test_the_comparison_is_the_same_kind_of_page(compared, looked_at):
    tab = looked_at(compared, width=390, theme="dark")
    scrolled(tab)
    for name in ("overview", "curves", "onsets", "differences"):
        assert tab.locator(f"#plot-{name} .main-svg").count(), name
    for width in (390, 1440):
        tab.set_viewport_size({"width": width, "height": 900})
        assert opened_fits(tab, width), width
        assert tab.evaluate("window.pwned") is None
        assert tab.locator("[data-hostile], img").count() == 0
        assert tab.locator("h1").inner_text() == "<b data-hostile>title"
        assert complaints(tab) == [], width
