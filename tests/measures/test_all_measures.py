"""What holds for every measure: what it may not depend on, what it refuses, and that NaN has its reason."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from mechxl.findings import Estimate
from mechxl.measures.cka import cka
from mechxl.measures.controls import controls
from mechxl.measures.planted import Plant, Planted
from mechxl.measures.sample import Sample, Split, draw_sample, draw_split
from mechxl.measures.score import score
from mechxl.measures.table import MEASURES, take
from tests.measures.brute import planted, sample_of, units

SMALL = Plant(d=6, relations=2, languages=3, values=4)


def every(data: Planted, sample: Sample, how: str = "whole"):
    """All measures, pooled and by pair, as numbers by name."""
    u = units(data.h, how)
    measurements = take(MEASURES, data.h, u, sample) | controls(u, sample)
    values = {name: (one.pooled.value, one.pooled.low, one.pooled.high) for name, one in measurements.items()}
    by_pair = [(name, *item) for name, one in measurements.items() for item in one.pairs.items()]
    return values | {f"{name} {pair}": (one.value,) for name, pair, one in by_pair}


def drawn(data: Planted) -> Sample:
    sample = sample_of(data, draws=30, permutations=3)
    return replace(sample, split=draw_split(sample, np.random.default_rng(0)))


def alike(one, two, tolerance=1e-5):
    assert one.keys() == two.keys()
    for name in one:
        assert one[name] == pytest.approx(two[name], abs=tolerance), name


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.sampled_from(["none", "whole", "per_language"]))
def test_a_rotation_and_a_scale_of_all_languages_together_change_nothing(seed, scale, how):
    data = planted(16, seed, SMALL)
    sample = drawn(data)
    turned = scale * data.h @ ortho_group.rvs(6, random_state=seed)
    moved = Planted(turned, data.relation, data.entity, data.value)
    alike(every(data, sample, how), every(moved, sample, how))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_and_the_names_of_facts_change_nothing(seed):
    data = planted(16, seed, SMALL)
    sample = drawn(data)
    order = np.random.default_rng(seed).permutation(len(data.h))
    moved = Planted(data.h[order], 5 + 3 * data.relation[order], 100 - data.entity[order], data.value[order])
    again = draw_sample(
        moved.relation, moved.entity, 3, np.random.default_rng(0), draws=1, permutations=3, value=moved.value
    )
    # permutations are of facts in their order, and differ: only the value and its interval are compared
    split = sample.split
    assert split is not None
    halves = Split(split.fitted[order], [5 + 3 * r for r in split.relations], split.partners)
    again = replace(again, weights=sample.weights[:, order], split=halves)
    alike(every(data, sample), every(moved, again))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.permutations([0, 1, 2]))
def test_languages_in_another_order_are_the_same_pairs(seed, order):
    data = planted(16, seed, SMALL)
    sample = drawn(data)
    moved = Planted(data.h[:, order], data.relation, data.entity, data.value[:, order])
    one, two = every(data, sample), every(moved, sample)
    renamed = {}
    for name, values in two.items():
        kind, _, pair = name.partition(" (")
        if pair:
            a, b = (order[int(language)] for language in pair.rstrip(")").split(", "))
            renamed[f"{kind} ({a}, {b})"] = values
        else:
            renamed[name] = values
    alike(one, renamed)


def test_a_shift_of_one_language_moves_the_score_and_neither_cka_nor_procrustes():
    data = planted(30, plant=SMALL)
    sample = drawn(data)
    h = data.h.copy()
    h[:, 1] += 3
    one, two = (every(Planted(x, data.relation, data.entity, data.value), sample) for x in (data.h, h))
    for name in ("cka", "procrustes"):
        assert two[name] == pytest.approx(one[name], abs=1e-9)
    assert two["score"][0] < one["score"][0] - 0.3
    assert two["separation"][0] > one["separation"][0] + 0.3


@pytest.mark.parametrize(
    ("h", "relation", "reason"),
    [
        (np.random.default_rng(0).normal(size=(8, 1, 3)), np.zeros(8, dtype=int), "one language"),
        (np.random.default_rng(0).normal(size=(3, 2, 3)), np.arange(3), "no relation has two facts"),
        (np.ones((8, 2, 3)), np.repeat([0, 1], 4), "one vector"),
    ],
)
def test_what_is_not_defined_is_nan_with_its_reason_in_every_measure(h, relation, reason):
    value = np.zeros((len(h), h.shape[1]), dtype=int)
    rng = np.random.default_rng(0)
    sample = draw_sample(relation, np.arange(len(h)), h.shape[1], rng, draws=4, permutations=5, value=value)
    sample = replace(sample, split=draw_split(sample, rng))
    u = units(h, "none")
    measurements = take([row for row in MEASURES if row.kind != "context"], h, u, sample) | controls(u, sample)
    for one in measurements.values():
        for estimate in (one.pooled, *one.pairs.values()):
            assert reason in estimate.reason
            assert np.isnan([estimate.value, estimate.low, estimate.high, estimate.null, estimate.p]).all()
        assert np.isnan(one.null).all()
        assert one.null.shape == (5,)


def test_no_draws_leave_the_value_and_say_what_is_missing():
    data = planted(30, plant=SMALL)
    sample = sample_of(data, draws=0, permutations=0)
    found = score(units(data.h), sample)["S"].pooled
    assert np.isfinite(found.value)
    assert found.reason == "no bootstrap draws; no permutations"
    jackknifed = cka(data.h, sample).pooled
    assert np.isfinite([jackknifed.low, jackknifed.high]).all()
    assert jackknifed.reason == "no permutations"


def test_a_nan_without_a_reason_is_refused():
    with pytest.raises(ValueError, match="high"):
        Estimate(1.0, 0.5, np.nan, 0.0, 0.5, 10, 5)
    assert np.isnan(Estimate.undefined("why", 10, 5).p)
