"""Questions by name: mechxl's and one's own are declared in the same way."""

import sys
from types import ModuleType

import pytest

from mechxl.errors import InputError
from mechxl.questions.find import find_question
from mechxl.questions.question import declared
from mechxl.questions.table import QUESTIONS


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_question_declares_all_of_its_interface(name):
    question = find_question(name)
    assert question.name == name
    assert question.title != name
    assert len(question.definition) >= 1
    assert len(question.caveats) >= 1
    assert all(name in QUESTIONS for name in question.reads)


def test_the_working_directory_is_importable_last_and_only_for_the_import(tmp_path, monkeypatch):
    (tmp_path / "own_for_path.py").write_text(
        "import sys\nSEEN = list(sys.path)\ndef compute(run): ...\ndef figures(finding): ...\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = list(sys.path)
    find_question("own_for_path")
    assert sys.path == before
    assert [*before, str(tmp_path)] == sys.modules["own_for_path"].SEEN


def test_a_question_that_is_not_found_leaves_the_path_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    with pytest.raises(InputError, match="there is no such question; there are: learning, unification"):
        find_question("nothing_of_this_name")
    assert sys.path == before


def test_an_own_module_may_leave_all_but_two_functions_out():
    module = ModuleType("small")
    module.__file__ = "small.py"
    module.compute = lambda run: ("answer", run)  # type: ignore[attr-defined]
    module.figures = lambda finding: []  # type: ignore[attr-defined]
    module.DEFINITION = "one paragraph"  # type: ignore[attr-defined]
    question = declared("small", module)
    assert (question.title, question.definition) == ("small", ("one paragraph",))
    assert (question.caveats, question.reads) == ((), ())
    assert question.overview is None
    assert question.compute("run", True) == ("answer", "run")  # type: ignore[arg-type, comparison-overlap]
