"""The table of measures: rows fit their functions, say truly what they see, and are listed in the docs."""

from pathlib import Path

import numpy as np
import pytest

from analyses.calibration.readings import CLEAR, ENTITIES, IDENTICAL, PLANTED, UNCHANGED, read
from analyses.study import read_results
from mechxl.measures.score import score
from mechxl.measures.table import HEADLINE, MEASURES, Measure, listing, take
from mechxl.measures.vectors import CENTRINGS
from tests.measures.brute import planted, sample_of, units

SEEN = [row for row in MEASURES if row.kind != "context"]


@pytest.fixture(scope="module")
def readings():
    """What each measure reads in each planted change, as docs/measures.md has it."""
    return {name: read(name) for name in PLANTED}


def test_names_are_unique_and_the_headline_is_one_of_them():
    names = [row.name for row in MEASURES]
    assert len(set(names)) == len(names)
    assert HEADLINE in names
    assert all(set(row.centrings) <= set(CENTRINGS) for row in MEASURES)


@pytest.mark.parametrize("row", SEEN, ids=lambda row: row.name)
def test_a_measure_sees_an_offset_and_a_turn_or_does_not_as_its_row_says(readings, row):
    before = readings[IDENTICAL][row.name].value
    for change, sees in (("offset", row.sees_offset), ("turn", row.sees_turn)):
        assert (abs(readings[change][row.name].value - before) > UNCHANGED) == sees, change


def test_only_cka_and_procrustes_are_blind_to_an_offset_and_a_turn(readings):
    """Half of what S - X, retrieval, MEXA and the checkerboard read of identical vectors is gone under a turn."""
    assert {row.name for row in SEEN if not (row.sees_offset and row.sees_turn)} == {"cka", "procrustes"}
    for name in ("alignment", "retrieval", "mexa", "checkerboard"):
        assert readings["turn"][name].value < readings[IDENTICAL][name].value / 2
        assert readings["offset"][name].value < readings[IDENTICAL][name].value


def test_measures_in_words_can_clear_their_nulls_while_the_score_is_negative(readings):
    """What the summary says where both happen; p counts only what lies beyond the null."""
    assert readings["offset"][HEADLINE].value < -0.3
    assert all(readings["offset"][row.name].p <= CLEAR for row in MEASURES if row.in_words)


def test_the_ceiling_of_the_score_is_one_minus_w(readings):
    same = readings[IDENTICAL]
    assert same["S"].value == pytest.approx(1)
    assert same["score"].value == pytest.approx(1 - same["W"].value)
    assert same["W"].value > 0.1  # so that identical vectors do not score 1
    assert same["normalised"].value == pytest.approx(1)


def test_what_shares_nothing_clears_no_null_and_a_shared_value_is_no_fact_beyond_it(readings):
    assert all(readings["noise"][row.name].p > CLEAR for row in MEASURES if row.null != "none" and row.tested)
    assert readings["shared entity"]["alignment"].p <= CLEAR  # a name is enough
    assert readings["shared value"]["alignment"].p <= CLEAR  # and so is an answer
    assert readings["shared value"]["beyond_value"].p > CLEAR


def test_small_is_close_says_which_way_a_measure_goes(readings):
    for row in (row for row in MEASURES if row.in_words):
        estimate = readings[IDENTICAL][row.name]
        assert estimate.p <= CLEAR
        assert (estimate.value < estimate.null) == row.small_is_close, row.name


def test_the_docs_hold_what_is_read_today(readings):
    """The kept results, from which docs/measures.md is filled (`python -m analyses --check` compares the page)."""
    kept = {(row["measure"], row["planted"]): row["value"] for row in read_results("readings")}
    assert kept.keys() == {(row.name, name) for row in MEASURES for name in PLANTED}
    for (measure, name), value in kept.items():
        assert readings[name][measure].value == pytest.approx(np.nan if value is None else value, abs=2e-3, nan_ok=True)
    assert readings[IDENTICAL]["S"].entities == ENTITIES


def test_a_function_that_several_rows_name_is_called_once():
    calls = []

    def both(h, sample):
        calls.append(len(h))
        return {"one": score(h, sample)["S"], "two": score(h, sample)["W"]}

    data = planted(10)
    rows = [Measure(name, name, both, name) for name in ("one", "two")]
    measurements = take(rows, data.h, units(data.h), sample_of(data, draws=2, permutations=2))
    assert calls == [40]
    assert list(measurements) == ["one", "two"]
    assert measurements["one"].pooled.value != measurements["two"].pooled.value


def test_the_page_lists_the_table():
    page = (Path(__file__).parents[2] / "docs" / "measures.md").read_text(encoding="utf-8")
    assert listing() in page
