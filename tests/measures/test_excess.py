"""The excess over a null: brute force over pairs, bootstraps of both runs, the closed form, and what has no number."""

import numpy as np
import pytest

from mechxl.findings import Estimate
from mechxl.measures.excess import excess
from mechxl.measures.measurement import by_place
from mechxl.measures.sample import draw_sample
from mechxl.measures.score import cell_parts, score
from mechxl.measures.statistics import interval
from mechxl.measures.vectors import unit
from tests.measures.brute import brute_parts


def of_run(seed, shared):
    """60 facts in two languages, about as alike across languages as `shared` says."""
    rng = np.random.default_rng(seed)
    fact, own = rng.normal(size=(60, 1, 12)), rng.normal(size=(60, 2, 12))
    h, relation = shared * fact + own, np.arange(60) % 2
    return h, relation, draw_sample(relation, np.arange(60), 2, rng, draws=2000, permutations=0)


def test_it_is_the_difference_of_brute_force_and_its_interval_that_of_independent_draws():
    runs = [of_run(0, 1.5), of_run(1, 0.7)]
    own, null = (score(unit(h), sample)["alignment"].pooled for h, _, sample in runs)
    found = excess(own, null)
    brute = [brute_parts(h, relation) for h, relation, _ in runs]
    expected = [parts["S"] - parts["X"] for parts in brute]
    assert found.value == pytest.approx(expected[0] - expected[1])
    assert (found.run, found.null) == pytest.approx(tuple(expected))
    draws = []
    for h, _, sample in runs:
        parts = cell_parts(unit(h), sample, sample.weights)
        draws.append((by_place(parts.S) - by_place(parts.X))[0])
    ends = interval(draws[0] - np.random.default_rng(2).permutation(draws[1]))
    assert (found.low, found.high) == pytest.approx(ends, abs=0.15 * (ends[1] - ends[0]))


def number(value, half, n=10):
    return Estimate(value, value - half, value + half, 0.0, 1.0, n, n)


def test_even_intervals_add_as_squares_and_several_places_need_wider_ones():
    found = excess(number(0.6, 0.3), number(0.1, 0.4))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.0, 1.0))
    four = excess(number(0.6, 0.3), number(0.1, 0.4), scanned=4)
    assert (four.high - four.low) / (found.high - found.low) == pytest.approx(2.4977 / 1.9600, abs=1e-4)


def test_the_ends_that_face_each_other_count():
    """An interval that is wide on one side alone makes the excess wide on one side alone."""
    run, null = Estimate(0.9, 0.5, 0.9, 0.0, 1.0, 5, 5), number(0.0, 0.0)
    assert excess(run, null).low == pytest.approx(0.5)
    assert excess(run, null).high == pytest.approx(0.9)
    assert excess(null, run).high == pytest.approx(-0.5)


def test_what_is_not_defined_says_where():
    nothing = Estimate.undefined("one fact", 1, 1)
    assert excess(nothing, number(0.0, 1.0)).reason == "in the run: one fact"
    assert excess(number(0.0, 1.0), nothing).reason == "in the null: one fact"
    assert np.isnan(excess(nothing, nothing).value)
