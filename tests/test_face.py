"""The notebook face: what tab completion offers, and that the examples in docstrings work as they stand."""

import doctest
import inspect
import re
from pathlib import Path

import pytest

import mechxl
from mechxl import findings
from mechxl.run import Run
from mechxl.runfiles import RunFiles
from tests.runs import copied

VERBS = {name: getattr(mechxl, name) for name in mechxl.__all__}
EXAMPLES = VERBS | {"mechxl": mechxl, "Finding": findings.Finding, "Run.model": Run.model}


def test_tab_completion_offers_the_face_and_nothing_of_its_own_needs():
    offered = {name for name in dir(mechxl) if not name.startswith("_")}
    assert set(mechxl.__all__) <= offered
    assert not offered & {"Any", "import_module", "TYPE_CHECKING", "ModuleType"}
    assert all(getattr(mechxl, name) is not None for name in offered)


def test_tab_completion_of_a_run(trained: Run):
    offered = {name for name in dir(trained) if not name.startswith("_")}
    assert {"metrics", "facts", "model", "steps", "config", "corpus", "complete", "name", "path"} <= offered
    attributes = str(inspect.getdoc(RunFiles))
    assert all(inspect.getdoc(getattr(Run, name, None)) or f"{name}:" in attributes for name in offered - {"path"})


def test_names_that_are_not_there_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'patching'"):
        _ = mechxl.patching


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_examples_work(name: str, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With `run` a complete run, as it is at runs/default."""
    copied(trained, tmp_path / "runs" / "default")
    monkeypatch.chdir(tmp_path)
    owner, documented = inspect.getmodule(EXAMPLES[name]), inspect.getdoc(EXAMPLES[name]) or ""
    names = vars(owner) | {"run": Run("runs/default")} | {at: getattr(mechxl, at) for at in mechxl.__all__}
    if name == "mechxl":
        names["ask"] = lambda run, question: findings.Finding(question, [], {})  # tested in its own place
    # a word of the default run's is none of this one's
    text = re.sub(r"vahgal baf", " ".join(trained.corpus.text(0, 0).split()[:2]), documented)
    examples = doctest.DocTestParser().get_examples(text)
    assert examples, f"{name} has no example"
    for example in examples:
        exec(compile(example.source, f"example of {name}", "single"), names)
