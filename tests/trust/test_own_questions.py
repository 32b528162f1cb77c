"""Own questions that are wrong leave their error in their section; all else is right, and the status is 1."""

import re
from pathlib import Path

import pytest

from mechxl.findings import Finding
from mechxl.report.__main__ import main as report
from tests.trust.conftest import OWN

HEAD = """
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mechxl.findings import Finding
from mechxl.plots import Panel

GOOD = Finding("wrong", ["One sentence."], {})


class Mute(Exception):
    def __str__(self):
        raise ValueError


class Leave(BaseException):
    pass


def panel(figure, title="A title"):
    return [Panel("wrong", title, "A caption.", figure)]

"""
COMPUTE, FIGURES = "def compute(run):\n    return GOOD\n", "def figures(finding):\n    return []\n"


def answer(body: str) -> str:
    return f"def compute(run):\n    {body}\n\n\n{FIGURES}"


def drawing(body: str) -> str:
    return f"{COMPUTE}\n\ndef figures(finding):\n    {body}\n"


CHECKED = "TypeCheckError"  # in tests jaxtyping looks at the types before mechxl does

WRONG = {
    "a title that is a number": ("TITLE = 5\n" + COMPUTE + FIGURES, "TITLE = 5: must be text"),
    "a title that UTF-8 can't hold": ('TITLE = "\\ud800"\n' + COMPUTE + FIGURES, "UnicodeEncodeError"),
    "caveats that are a number": ("CAVEATS = 5\n" + COMPUTE + FIGURES, "CAVEATS = 5: must be text"),
    "a summary that is a number": (answer('return Finding("w", 5, {})'), CHECKED),
    "a summary of numbers": (answer('return Finding("w", [5], {})'), CHECKED),
    "a summary that UTF-8 can't hold": (answer('return Finding("w", ["\\ud800"], {})'), "UnicodeEncodeError"),
    "a message that UTF-8 can't hold": (answer('raise ValueError("\\ud800")'), "ValueError: \\ud800"),
    "an error without text": (answer("raise Mute"), "Mute: (without text)"),
    "SystemExit": (answer("raise SystemExit"), "SystemExit"),
    "SystemExit 0": (answer("import sys; sys.exit(0)"), "SystemExit"),
    "another BaseException": (answer("raise Leave"), "Leave"),
    "SystemExit on import": ("raise SystemExit(0)\n", "SystemExit"),
    "no finding": (answer("return None"), "compute gave a NoneType"),
    "tables that are a list": (answer('return Finding("w", ["s"], [])'), CHECKED),
    "a table that is a list": (answer('return Finding("w", ["s"], {"t": []})'), CHECKED),
    "notes that are a list": (answer('return Finding("w", ["s"], {}, [])'), CHECKED),
    "notes that JSON can't hold": (answer('return Finding("w", ["s"], {}, {"a": {1, 2}})'), "TypeError"),
    "NaN without a reason": (
        answer('return Finding("w", ["s"], {"t": pd.DataFrame({"a": [np.nan]})})'),
        "without a reason",
    ),
    "infinity": (answer('return Finding("w", ["s"], {"t": pd.DataFrame({"a": [np.inf]})})'), "ValueError"),
    "a number of 5,000 digits": (answer('return Finding("w", ["s"], {}, {"a": 10**5000})'), "ValueError"),
    "a table of 10^6 rows": (
        answer('return Finding("w", ["s"], {"t": pd.DataFrame({"a": np.zeros(10**6)})})').replace("10**6", "200_001"),
        "has 200,001 rows; a page shows at most",
    ),
    "recursion without end": (answer("return compute(run)"), "RecursionError"),
    "figures that are a number": (drawing("return 5"), "TypeError"),
    "figures that are no panels": (drawing("return [go.Figure()]"), CHECKED),
    "a panel's title that is a number": (drawing("return panel(go.Figure(), 5)"), CHECKED),
    "a panel's title that UTF-8 can't hold": (drawing('return panel(go.Figure(), "\\ud800")'), "UnicodeEncodeError"),
    "a panel without a figure": (drawing("return panel(5)"), CHECKED),
    "a map": (drawing("return panel(go.Figure(go.Scattergeo()))"), "has a map, for which the page would fetch"),
    "a map of areas": (
        drawing("return panel(go.Figure(go.Choropleth()))"),
        "has a map, for which the page would fetch",
    ),
    "an image from the net": (
        drawing('return panel(go.Figure(layout={"images": [{"source": "https://example.org/a.png"}]}))'),
        "has an image with an address",
    ),
    "an overview that is a number": (COMPUTE + FIGURES + "\n\ndef overview(finding):\n    return 5\n", CHECKED),
}


def test_wrong_questions_leave_their_errors_in_their_sections(run: Path, own, capsys):
    """All in one report, a right question among them, and prints on stdout."""
    out = run.parent / "page.html"
    names = {kind: own(HEAD + body) for kind, (body, _) in WRONG.items()}
    right, prints = own(), own(OWN.replace("    return Finding", '    print("a print")\n    return Finding'))
    arguments = [str(run), "--quiet", "--out", str(out), "--only", *names.values(), right, prints]
    assert report(arguments) == 1
    printed = capsys.readouterr()
    assert "a print" in printed.out
    last = printed.err.splitlines()[-1]
    assert last.startswith(f"mechxl: {out}: the page is written, but these questions raised an error: ")
    assert last.count("own_") == len(names)
    page = out.read_text(encoding="utf-8")
    for kind, name in names.items():
        section = page.split(f'<section id="{name}"')[1].split("</section>")[0]
        error = re.search(r'<p class="error">(.*?)</p>', section, re.DOTALL)
        assert error, kind
        assert WRONG[kind][1] in error[1].replace("&#39;", "'"), (kind, error[1])
    for name in (right, prints):
        section = page.split(f'<section id="{name}"')[1].split("</section>")[0]
        assert 'class="error"' not in section
        assert "One sentence." in section
        assert "1e-09" in section


def test_a_question_that_hangs_is_the_users_to_stop(run: Path, own, capsys):
    name = own(HEAD + answer("raise KeyboardInterrupt"))
    assert report([str(run), "--quiet", "--out", str(run.parent / "page.html"), "--only", name]) == 130
    assert capsys.readouterr().err == "mechxl: interrupted\n"
    assert not (run.parent / "page.html").exists()


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("summary", 5, "list of sentences, not 5"),
        ("summary", [5], r"list of sentences, not \[5\]"),
        ("tables", [], "tables is a dictionary by name"),
        ("tables", {"t": []}, "tables has a list where a DataFrame belongs"),
        ("arrays", {"t": []}, "arrays has a list where a ndarray belongs"),
        ("notes", [], "notes has a list where a dict belongs"),
        ("question", 5, "question has a int where a str belongs"),
    ],
)
def test_findings_of_other_things(part: str, value: object, said: str):
    finding = Finding("q", ["s"], {})
    finding.check()
    object.__setattr__(finding, part, value)
    with pytest.raises(TypeError, match=said):
        finding.check()


@pytest.mark.parametrize("kind", ["a message that UTF-8 can't hold", "an error without text"])
def test_alone(run: Path, own, kind: str):
    name = own(HEAD + WRONG[kind][0])
    assert report([str(run), "--quiet", "--out", str(run.parent / "page.html"), "--only", name]) == 1
