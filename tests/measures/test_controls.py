"""Controls for the answer against loops, and what they tell apart."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechxl.measures.controls import NAMES, controls, dependent, value_cells
from mechxl.measures.planted import Plant
from mechxl.measures.sample import draw_sample
from mechxl.measures.score import score
from mechxl.measures.vectors import unit
from tests.measures.brute import cosine, noise, planted, relations, sample_of, units


def brute(h, relation, value, weight):
    """W and X of another value, V of the same, by loops over pairs; a relation without such pairs is left out."""
    cells = {"W_other_value": [], "X_other_value": [], "V_same_language": [], "V_cross": []}
    for facts in relations(relation):
        for a, b in permutations(range(h.shape[1]), 2):
            for language, other, same in ((a, "W_other_value", "V_same_language"), (b, "X_other_value", "V_cross")):
                found = {other: [], same: []}
                for f, g in permutations(facts, 2):
                    name = same if value[f, a] == value[g, language] else other
                    found[name].append((cosine(h[f, a], h[g, language]), weight[f] * weight[g]))
                for name, pairs in found.items():
                    cos, w = np.array(pairs).T if pairs else ([], np.zeros(1))
                    if w.sum() > 0:
                        cells[name].append(np.average(cos, weights=w))
    return {name: np.mean(values) if values else np.nan for name, values in cells.items()}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 3), st.booleans())
def test_controls_equal_brute_force_also_where_values_differ_between_languages(seed, languages, shared):
    h, relation, rng = noise(seed, facts=12, languages=languages)
    value = rng.integers(0, 3, size=(12, 1 if shared else languages)).repeat(languages if shared else 1, axis=1)
    sample = draw_sample(relation, np.arange(12), languages, rng, draws=3, permutations=2, value=value)
    found, expected = controls(unit(h), sample), brute(h, relation, value, np.ones(12))
    assert {name: found[name].pooled.value for name in expected} == pytest.approx(expected, abs=1e-12, nan_ok=True)
    cells = value_cells(unit(h), value, sample, sample.weights.astype(float))
    for k, weight in enumerate(sample.weights):
        expected = brute(h, relation, value, weight)
        drawn = {name: np.nanmean(cells[name][..., k]) for name in expected if not np.isnan(expected[name])}
        assert drawn == pytest.approx({name: expected[name] for name in drawn}, abs=1e-12)


def test_differences_and_nulls_are_of_the_same_permutations_as_the_score():
    data = planted()
    sample = sample_of(data, draws=50, permutations=99)
    found, parts = controls(units(data.h), sample), score(units(data.h), sample)
    s = parts["S"].pooled.value
    for name, part in (("score_other_value", "W_other_value"), ("alignment_other_value", "X_other_value")):
        assert found[name].pooled.value == pytest.approx(s - found[part].pooled.value, abs=1e-12)
        assert found[name].null == pytest.approx(parts["S"].null - found[part].pooled.value, abs=1e-12)
        assert found[name].pooled.p == 0.01
    assert found["beyond_value"].pooled.value == pytest.approx(s - found["V_cross"].pooled.value, abs=1e-12)
    assert "no null" in found["V_cross"].pooled.reason
    assert np.isfinite([found["V_cross"].pooled.low, found["V_cross"].pooled.high]).all()


def test_shared_answers_are_no_shared_facts():
    """Vectors that tell the value: S is as high as V_cross, though the alignment is high and its test is passed."""
    answers = planted(entities=60, plant=Plant(shared_entity=0, shared_fact=0, own_entity=0, value=1.5))
    sample = sample_of(answers, draws=200, permutations=199)
    u = units(answers.h)
    found, parts = controls(u, sample), score(u, sample)
    assert parts["alignment"].pooled.value > 0.4
    assert parts["alignment"].pooled.p == 0.005
    beyond = found["beyond_value"].pooled
    assert beyond.low < 0 < beyond.high
    assert beyond.p > 0.05
    assert found["V_cross"].pooled.value > found["X_other_value"].pooled.value + 0.4
    facts = planted(entities=60)
    assert controls(units(facts.h), sample_of(facts, draws=1, permutations=199))["beyond_value"].pooled.p == 0.005


def test_a_shared_name_passes_all_controls():
    """What they cannot see: the facts of an entity share its name in both languages, and nothing else is shared."""
    names = planted(plant=Plant(shared_entity=1, own_entity=0, shared_fact=0, value=0.5))
    found = controls(units(names.h), sample_of(names, draws=200, permutations=199))
    for name in ("alignment_other_value", "beyond_value"):
        assert found[name].pooled.low > 0.3
        assert found[name].pooled.p == 0.005


def test_dependent_draws_are_spread_as_if_relations_rose_and_fell_together():
    rng = np.random.default_rng(0)
    apart = rng.normal(size=(4, 1, 5000)).repeat(2, axis=1)
    found = dependent(apart)
    assert found.std(axis=1) == pytest.approx(np.ones(3), abs=0.03)
    assert found.mean(axis=1) == pytest.approx(apart.mean() * np.ones(3), abs=1e-9)
    assert np.corrcoef(found[0], apart.mean(axis=(0, 1)))[0, 1] == pytest.approx(1)


def test_no_pairs_of_one_kind_say_so():
    h, rng = np.random.default_rng(0).normal(size=(5, 2, 4)), np.random.default_rng(0)
    of = np.zeros(5, dtype=int), np.arange(5), 2, rng
    all_differ = np.arange(5)[:, None].repeat(2, axis=1)
    for value, missing, reason in (
        (all_differ, ("V_same_language", "V_cross", "beyond_value"), "share a value"),
        (np.zeros((5, 2), dtype=int), [name for name in NAMES if "other" in name], "share their value"),
    ):
        found = controls(unit(h), draw_sample(*of, draws=5, permutations=5, value=value))
        for name in NAMES:
            assert np.isnan(found[name].pooled.value) == (name in missing)
            assert (reason in found[name].pooled.reason) == np.isnan(found[name].pooled.value)
    with pytest.raises(ValueError, match="values"):
        controls(unit(h), draw_sample(*of))
