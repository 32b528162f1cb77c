"""Questions answered in processes of their own: the same answers as here; what fails there is left to be done again."""

import os
from functools import partial
from pathlib import Path

import pandas as pd

from mechxl import ask
from mechxl.questions.ahead import answer_ahead
from tests.runs import copied


def test_answers_are_those_of_ask_and_work_beside_them_may_fail(trained, answered, tmp_path):
    run = copied(trained, tmp_path / "run")
    for kept in (run.path / "findings").glob("*.json"):
        kept.unlink()
    beside = {"done": partial(Path.touch, tmp_path / "touched"), "fails": partial(os.rmdir, tmp_path / "missing")}
    assert sorted(answer_ahead(run, ["learning", "own.question"], False, 2, beside)) == ["done", "fails", "learning"]
    assert (tmp_path / "touched").exists()
    assert (run.path / "findings" / "learning.json").exists()
    here, there = answered("learning"), ask(run, "learning")
    assert here.summary == there.summary
    for name, table in here.tables.items():
        pd.testing.assert_frame_equal(table, there.tables[name], rtol=1e-6)  # fewer threads, another rounding
    assert list(answer_ahead(run, ["learning"], False, 2)) == []  # kept
    assert list(answer_ahead(run, ["learning"], True, 1, beside)) == []  # one process: here, one by one
