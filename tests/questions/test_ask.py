"""Questions are computed once and kept."""

import pytest

from mechxl.errors import InputError
from mechxl.questions.ask import ask
from tests.runs import copied


def test_asking_twice_reads_the_kept_finding_and_a_damaged_one_is_made_anew(trained, tmp_path):
    run = copied(trained, tmp_path / "run", without=["findings"])  # other workers read the findings of the shared run
    path = run.file("findings") / "learning.json"
    first = ask(run, "learning")
    kept = path.stat().st_mtime_ns
    assert ask(run, "learning").summary == first.summary
    assert path.stat().st_mtime_ns == kept
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    assert ask(run, "learning").summary == first.summary
    assert path.read_text(encoding="utf-8") == text


def test_an_unknown_question_names_those_there_are(trained):
    with pytest.raises(InputError, match="learning, unification"):
        ask(trained, "nonsense")
