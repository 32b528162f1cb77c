"""The table of measures: rows fit their functions, say truly what they see, and are listed in the docs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ortho_group

from mechxl.measures.planted import Plant
from mechxl.measures.sample import Sample, draw_split
from mechxl.measures.score import score
from mechxl.measures.table import HEADLINE, MEASURES, Measure, listing, take
from mechxl.measures.vectors import CENTRINGS
from tests.measures.brute import planted, sample_of, units


def taken(h: np.ndarray, sample: Sample):
    return {name: one.pooled for name, one in take(MEASURES, h, units(h), sample).items()}


@pytest.fixture(scope="module")
def apart():
    """Measures of languages that coincide, of one that lies far away, and of one that is turned; and their sample."""
    data = planted(80, plant=Plant(d=8, language=0, own_entity=0, noise=0.1))
    sample = sample_of(data, draws=50, permutations=99)
    sample = replace(sample, split=draw_split(sample, np.random.default_rng(0)))
    offset, turned = data.h.copy(), data.h.copy()
    offset[:, 1] += 4
    turned[:, 1] = turned[:, 1] @ ortho_group.rvs(8, random_state=1)
    return {name: taken(h, sample) for name, h in (("same", data.h), ("offset", offset), ("turned", turned))}


def test_names_are_unique_and_the_headline_is_one_of_them():
    names = [row.name for row in MEASURES]
    assert len(set(names)) == len(names)
    assert HEADLINE in names
    assert all(set(row.centrings) <= set(CENTRINGS) for row in MEASURES)


@pytest.mark.parametrize("row", [row for row in MEASURES if row.in_words], ids=lambda row: row.name)
def test_a_measure_in_words_clears_its_null_under_an_offset_or_sees_it(apart, row):
    """The score is negative: a sentence says then that the others can clear their nulls."""
    assert apart["offset"][HEADLINE].high < 0
    assert (apart["offset"][row.name].p <= 0.01) == (not row.sees_offset)


@pytest.mark.parametrize("row", [row for row in MEASURES if row.kind == "measure"], ids=lambda row: row.name)
def test_a_turn_of_one_language_changes_a_measure_or_it_does_not_see_it(apart, row):
    same, offset, turned = (apart[name][row.name].value for name in ("same", "offset", "turned"))
    unmoved = (offset == pytest.approx(same, abs=1e-9)) and (turned == pytest.approx(same, abs=1e-9))
    assert unmoved == (not row.sees_turn)


def test_small_is_close_says_which_way_a_measure_goes(apart):
    for row in (row for row in MEASURES if row.in_words):
        estimate = apart["same"][row.name]
        assert estimate.p <= 0.01
        assert (estimate.value < estimate.null) == row.small_is_close, row.name


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
