"""The report as a user makes it: one file that asks nobody for anything, and refusals in one sentence."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from filelock import FileLock

from mechxl.report.__main__ import main, run_directories
from tests.runs import copied, unfinished


class Page(HTMLParser):
    """What a page holds and what it would fetch."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.fetched, self.text = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        self.ids.add(held.get("id"))
        if tag in ("script", "img", "iframe", "source"):
            self.fetched.append(held.get("src"))
        if tag == "link":
            self.fetched.append(held.get("href"))

    def handle_data(self, data):
        self.text.append(data)


def test_one_self_contained_file_with_every_part(trained, page):
    assert [path.name for path in page.parent.iterdir()] == ["page.html"]
    parsed = Page(page.read_text(encoding="utf-8"))
    assert {"loss", "rates", "kinds", "prior", "score", "parts", "groups", "checkerboard"} <= parsed.ids
    assert {"learning", "unification", "data", "settings"} <= parsed.ids
    assert all(source is None or source.startswith("data:") for source in parsed.fetched)
    text = " ".join(parsed.text)
    row = trained.facts[trained.facts["group"] == "parallel"].iloc[0]
    for name in "AB":
        assert f"{row[f'entity_word_{name}']} {row[f'relation_word_{name}']} {row[f'value_word_{name}']}" in text
    assert "H(A | R, S)" in text
    assert "training.steps" in text
    assert trained.environment["versions"]["torch"] in text
    assert (trained.path / "findings" / "learning.json").is_file()
    assert (trained.path / "findings" / "unification.json").is_file()


def test_captions_say_n_interval_and_null(page):
    captions = re.findall(r'<p class="caption">(.*?)</p>', page.read_text(encoding="utf-8"), re.DOTALL)
    score = next(caption for caption in captions if caption.startswith("The unification score"))
    for part in ("n =", "95 % interval", "permut", "one run", "seed"):
        assert part.lower() in score.lower()


def test_plotly_beside_is_a_small_page_and_one_script(trained, tmp_path):
    out = tmp_path / "small.html"
    assert main([str(trained.path), "--out", str(out), "--plotly", "beside", "--only", "learning"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"small.html", "plotly.min.js"}
    assert Page(out.read_text(encoding="utf-8")).fetched.count("plotly.min.js") == 1
    assert out.stat().st_size < 1_500_000
    assert "checkerboard" not in Page(out.read_text(encoding="utf-8")).ids


@pytest.fixture
def bare(trained, tmp_path):
    copied(trained, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "checkpoints")
    (tmp_path / "bare" / "checkpoints").mkdir()
    unfinished(tmp_path / "bare", trained.steps[-2])
    return tmp_path / "bare"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["{tmp}/nothing"], "there is no such run"),
        (["{tmp}"], "is not a run directory"),
        (["{bare}"], "no checkpoints"),
        (["{run}", "--only", "nonsense", "--out", "{tmp}/page.html"], "learning, unification"),
        (["{run}", "--out", "{tmp}"], "is a directory"),
        (["{run}", "--out", "{bare}/config.toml/page.html"], "can't be written"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(arguments, named, trained, bare, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    filled = [argument.format(tmp=tmp_path, bare=bare, run=trained.path) for argument in arguments]
    assert main(filled) == 2
    said = capsys.readouterr().err
    assert named in said
    assert said.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_directory_of_runs_stands_for_its_runs_and_what_is_none_is_passed_over(trained, bare, tmp_path, capsys):
    sweep = tmp_path / "sweep"
    runs = [copied(trained, sweep / name, without=["activations.zarr", "findings"]).path for name in "ab"]
    shutil.move(bare, sweep / "bare")
    (sweep / "table.csv").touch()
    assert run_directories([sweep]) == runs
    assert capsys.readouterr().err.endswith(f"no run to compare: {sweep / 'bare'} (no checkpoints)\n")
    assert run_directories(sorted(sweep.iterdir())) == runs  # as runs/NAME/* gives them
    assert f"{sweep / 'table.csv'}, {sweep / 'bare'} (no checkpoints)" in capsys.readouterr().err
    assert run_directories([runs[0]]) == runs[:1]
    assert capsys.readouterr().err == ""


def test_an_unfinished_run_is_reported_as_such(trained, tmp_path):
    copied(trained, tmp_path / "cut")
    unfinished(tmp_path / "cut", trained.steps[-2])
    at = f"step {trained.steps[-2]:,} of {trained.config.training.steps:,}"
    asked = [str(tmp_path / "cut"), "--out", str(tmp_path / "cut.html"), "--only", "learning"]
    with FileLock(tmp_path / "cut" / "lock"):  # as a trainer holds it
        assert main(asked) == 0
    assert f"Not finished. Training is under way: {at}" in (tmp_path / "cut.html").read_text(encoding="utf-8")
    assert main(asked) == 0
    assert f"Not finished. Training was interrupted: {at}" in (tmp_path / "cut.html").read_text(encoding="utf-8")


OWN = """
'''How large are the embeddings of names?'''

import pandas as pd
import plotly.graph_objects as go

from mechxl import activations
from mechxl.findings import Finding
from mechxl.plots import Panel

TITLE = "How large names are"
DEFINITION = "The root mean square of the embedding of a name's first token."


def compute(run):
    size = float((activations(run, "resid_pre", layers=1, steps=-1, role="name_first") ** 2).mean() ** 0.5)
    table = pd.DataFrame({"step": [run.steps[-1]], "size": [size]})
    return Finding("size", [f"Names have size {size:.3f} <at the end>."], {"sizes": table})


def figures(finding):
    row = finding.tables["sizes"]
    return [Panel("sizes", "Sizes of names", "One run.", go.Figure(go.Bar(x=row["step"], y=row["size"])))]
"""


def test_an_own_question_from_anywhere(trained, tmp_path, monkeypatch, capfd):
    """Here in this process; test_extending.py asks one by `python -m`."""
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "my_question.py").write_text(OWN)
    (package / "wrong.py").write_text(OWN.replace("size = float", "size = 1 / 0 + float"))
    (package / "no_question.py").write_text("compute = None")
    arguments = [str(trained.path), "--out", "page.html", "--only"]
    monkeypatch.chdir(tmp_path)

    def reported(*names):
        """The status and what stands on stderr; own modules are imported anew, as in a new process."""
        for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        capfd.readouterr()
        return main([*arguments, *names]), capfd.readouterr().err

    status, error = reported("learning", "--also", "my_package.my_question")
    assert status == 0, error
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    parsed = Page(page)
    text = " ".join(parsed.text)
    assert {"learning", "my_package.my_question", "sizes"} <= parsed.ids
    assert '<a href="#my_package.my_question">How large names are</a>' in page  # the navigation
    assert "How large names are" in text
    assert "The root mean square of the embedding" in text
    kept = json.loads((trained.path / "findings" / "my_package.my_question.json").read_text(encoding="utf-8"))
    model = trained.model(-1)
    fact, language = np.meshgrid(np.arange(len(trained.facts)), np.arange(2))
    first = trained.corpus.sequences(fact.ravel(), language.ravel()).tokens[:, 1]
    vectors = (model.W_E[first] + model.W_pos[1]).detach()
    size = float((vectors**2).mean() ** 0.5)
    assert kept["tables"]["sizes"]["size"] == pytest.approx([size], abs=1e-4)
    assert f"Names have size {size:.3f} <at the end>." in text
    # another file, another answer: what is kept no longer fits
    (package / "my_question.py").write_text(OWN.replace("Names have", "Words have"))
    status, error = reported("my_package.wrong", "my_package.my_question")
    assert status == 1
    assert "my_package.wrong" in error.splitlines()[-1]
    assert "ZeroDivisionError" in error
    text = " ".join(Page((tmp_path / "page.html").read_text(encoding="utf-8")).text)
    assert "ZeroDivisionError: division by zero" in text
    assert "wrong.py, line" in text
    assert "Words have size" in text
    assert not list(package.glob("**/*.pyc"))  # compiled code of an edit ago may be taken for this one's
    # refused by an own question: told in its section too; one that there is not: before any is asked
    (package / "picky.py").write_text(OWN.replace('role="name_first"', 'role="nonsense"'))
    status, error = reported("my_package.picky")
    assert status == 1
    assert "InputError: role" in " ".join(Page((tmp_path / "page.html").read_text(encoding="utf-8")).text)
    (tmp_path / "page.html").unlink()
    status, error = reported("my_package.wrong", "my_package.nothing")
    assert status == 2
    assert "ZeroDivisionError" not in error
    assert not (tmp_path / "page.html").exists()
    assert "learning, unification" in error
    status, error = reported("my_package.no_question")
    assert status == 2
    assert "has no function compute" in error


def test_help_is_quick_to_import():
    code = (
        "import sys; from mechxl.report.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'transformer_lens', 'transformers', 'plotly', 'pandas', 'scipy', 'sklearn'}\n"
        "bad = slow & set(sys.modules)\n"
        "print('imported', sorted(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert "imported []" in done.stdout
    assert "--plotly" in done.stdout
