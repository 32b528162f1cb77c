"""The explorer as a reader meets it: JupyterLab, a kernel, and Debian's chromium, which reaches only that server."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from mechxl import patch
from mechxl.explorer.drawn import HEIGHT
from mechxl.explorer.figures import NAMES
from mechxl.plots import steps_shown
from mechxl.run import Run
from tests.runs import copied

CELLS = ("from mechxl import Run, explore", 'run = Run("run")\nexplore(run)', "explore(run)")
PATIENCE = 240_000  # milliseconds: for a slow machine
OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--ServerApp.token=",
    "--ServerApp.port_retries=0",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)


@pytest.fixture(scope="module")
def lab(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """JupyterLab on a folder with the small run and a notebook: the folder, and the notebook's address."""
    folder = tmp_path_factory.mktemp("lab")
    copied(trained, folder / "run", without=["findings"])
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": cell, "outputs": [], "execution_count": None}
        for n, cell in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "look.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: str(folder / "jupyter" / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    paths = {"PYTHONPATH": str(Path(__file__).parents[2]), "JUPYTERLAB_SETTINGS_DIR": str(folder / "jupyter")}
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}", f"--ServerApp.root_dir={folder}", *OPTIONS]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=os.environ | own | paths, stdout=log, stderr=log)
    try:
        until = time.monotonic() + PATIENCE / 1000
        while server.poll() is None and time.monotonic() < until:
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield folder, f"http://127.0.0.1:{port}/lab/tree/look.ipynb?reset"
    finally:
        server.terminate()  # and with it the kernels
        server.wait(PATIENCE / 1000)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        outside = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", outside])
        yield browser
        browser.close()


def opened(browser: Browser, address: str, said: list[str]) -> Page:
    """The notebook in a tab, its kernel ready."""
    tab = browser.new_page(viewport={"width": 1440, "height": 1000})
    tab.set_default_timeout(PATIENCE)
    ours = re.compile("widget|comm|state|plotly|undefined", re.IGNORECASE)  # not that a plugin of the server is slow
    tab.on("console", lambda m: said.append(m.text) if m.type == "error" and ours.search(m.text) else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(address)
    tab.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    return tab


def run_cell(tab: Page, number: int) -> None:
    cell = tab.locator(".jp-CodeCell").nth(number)
    cell.locator(".cm-content").click()
    tab.keyboard.press("Control+Enter")


def drawn(tab: Page, number: int) -> dict[str, dict[str, Any]]:
    """The figures of the explorer in a cell, when all are there: what plotly drew, and how it was given."""
    tab.wait_for_function(
        """(number) => {
            const cell = document.querySelectorAll(".jp-CodeCell")[number];
            const drawn = cell ? [...cell.querySelectorAll("[data-drawn]")] : [];
            return drawn.length === 5 && drawn.every((plot) => plot.clientWidth === plot._fullLayout.width);
        }""",
        arg=number,
    )
    figures = tab.locator(".jp-CodeCell").nth(number).locator("[data-figure]")
    look = """(all) => Object.fromEntries(all.map((plot) => [plot.dataset.figure, {
        title: plot.previousSibling.textContent,
        titleEnd: plot.previousSibling.getBoundingClientRect().bottom,
        barStart: plot.querySelector(".modebar").getBoundingClientRect().top,
        points: plot.querySelectorAll(".scatterlayer .point").length,
        images: plot.querySelectorAll(".heatmaplayer image").length,
        x: plot._fullData.map((trace) => trace.type === "scatter" ? [...trace.x] : []),
        steps: plot._fullData.map((trace) => [...(trace.customdata || [])]),
        text: plot._fullData[0].text,
        width: plot.clientWidth, svg: plot.querySelector(".main-svg").clientWidth, height: plot.clientHeight,
    }]))"""
    return figures.evaluate_all(look)


def not_empty(figures: dict[str, dict[str, Any]], run: Run) -> None:
    """All five are drawn; the curves' x are the steps (0 has a place on the logarithmic axis)."""
    assert list(figures) == list(NAMES)
    assert figures["map"]["points"] == 64
    assert figures["board"]["images"] == 1
    assert figures["attention"]["images"] == 2
    layers = run.config.model.n_layers + 1
    assert figures["curves"]["points"] == (layers - 1) * len(run.steps) + 1  # not defined at layer 0; and the mark
    assert figures["curves"]["x"] == [steps_shown(run.steps)] * layers + [[run.steps[-1]]]
    assert figures["curves"]["steps"][:-1] == [run.steps] * layers
    for figure in figures.values():
        assert figure["title"]
        assert figure["titleEnd"] <= figure["barStart"]  # the mode bar does not cover it
        assert figure["svg"] == figure["width"] > 440
        assert figure["height"] == HEIGHT


def test_the_explorer_lives_in_jupyterlab(lab: tuple[Path, str], trained: Run, chromium: Browser):
    (folder, address), said = lab, list[str]()
    tab = opened(chromium, address, said)
    run_cell(tab, 0)
    run_cell(tab, 1)
    first = drawn(tab, 1)
    not_empty(first, trained)
    assert first["patch"]["images"] == 0
    assert first["patch"]["title"] == "Patching: click a fact"
    shown = tab.locator(".jp-CodeCell").nth(1)
    menus = shown.locator("select").evaluate_all("(all) => all.map((menu) => menu.selectedOptions[0].label)")
    chosen = [label.replace("\xa0", " ") for label in menus]
    assert chosen == ["1 (block 0)", "prompt_last", "A and B", "whole", "mono", "all"]

    click(tab, shown.locator("[data-figure=map] .scatterlayer .trace").nth(1).locator(".point").nth(4))
    shown.locator("[data-figure=patch] .heatmaplayer image").wait_for(state="attached")
    patched, told = drawn(tab, 1)["patch"], shown.locator(".widget-html").last.inner_text()
    facts = [(fact, language) for fact in range(trained.corpus.world.n_facts) for language in (0, 1)]
    named = {f"{'AB'[language]}: {trained.corpus.text(fact, language)}": (fact, language) for fact, language in facts}
    (f, a), (g, b) = (named[sentence] for sentence in re.findall(r"(?:Donor|receiver) ([AB]: \w+ \w+ \w+)", told)[:2])
    assert patched["text"] == patch(trained, donor=a, receiver=b, pairs=[(f, g)]).squeeze()["answer"].values.tolist()

    run_cell(tab, 2)  # a second one beside the first
    not_empty(drawn(tab, 2), trained)
    run_cell(tab, 1)  # and the first again
    tab.wait_for_function(
        "document.querySelector('[data-figure=patch]').previousSibling.textContent.endsWith('a fact')"
    )
    not_empty(drawn(tab, 1), trained)
    assert tab.evaluate("[...document.scripts].filter((one) => one.src && !one.src.startsWith(location.origin))") == []
    assert said == []
    saved = reopened(tab, folder)
    assert "No such comm" not in json.dumps(saved["cells"])
    assert base64.b64decode(saved["cells"][1]["outputs"][-1]["data"]["image/png"]).startswith(b"\x89PNG")
    assert "Error displaying widget" not in tab.locator(".jp-Notebook").inner_text()
    tab.close()


def click(tab: Page, point: Locator) -> None:
    """Points with the mouse until plotly sees it, and clicks."""
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.wait_for_selector(".hoverlayer .hovertext")
    tab.mouse.down()
    tab.mouse.up()


def reopened(tab: Page, folder: Path) -> dict[str, Any]:
    """Saves the notebook once its pictures are there, ends its kernel, and opens it again: what was saved."""
    path = folder / "look.ipynb"
    tab.locator(".jp-CodeCell .jp-InputPrompt").first.click()
    until = time.monotonic() + PATIENCE / 1000
    while path.read_text(encoding="utf-8").count("image/png") < 2 and time.monotonic() < until:
        tab.keyboard.press("Control+s")
        tab.wait_for_timeout(500)
    tab.evaluate(
        """async () => {
            const sessions = await (await fetch("/api/sessions")).json();
            const token = document.cookie.match("_xsrf=([^;]*)")?.[1];
            for (const one of sessions)
                await fetch(`/api/sessions/${one.id}`, { method: "DELETE", headers: { "X-XSRFToken": token } });
        }"""
    )
    tab.reload()
    tab.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    tab.locator(".jp-RenderedImage img").nth(1).wait_for(state="visible")
    return json.loads(path.read_text(encoding="utf-8"))
