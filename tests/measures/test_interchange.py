"""Interchange measures against closed forms, brute force and planted truth."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom

from mechxl.measures.interchange import LEAST_CEILING, best_place, interchange, mean_interval, permuted_accuracy


def rng():
    return np.random.default_rng(0)


def test_the_ratio_is_that_of_sums_with_both_terms_beside():
    across, within = np.array([[1.0, 1, 0, 0, 0, 0, 1, 0]]), np.array([[1.0, 1, 1, 0, 0, 0, 1, 1]])
    found = interchange(across, within, rng())
    assert found.accuracy[0, 0] == 3 / 8
    assert found.ceiling[0, 0] == 5 / 8
    assert found.unification[0, 0] == pytest.approx(3 / 5)
    assert found.n == 8


def test_it_is_not_clipped_and_equal_hits_give_exactly_one():
    within = np.arange(40)[None] % 2 == 0
    assert interchange(within, within, rng()).unification[:, 0].tolist() == [1, 1, 1]
    assert interchange(np.ones((1, 40)), within, rng()).unification[0, 0] == 2


def test_a_low_ceiling_leaves_it_undefined():
    within = np.arange(100)[None] < 12
    found = interchange(within, within, rng())
    assert found.ceiling[1, 0] < LEAST_CEILING
    assert np.isnan(found.unification).all()
    assert not np.isnan(found.accuracy).any()


def test_no_hit_at_all_has_an_upper_end_above_zero():
    found = interchange(np.zeros((1, 50)), np.ones((1, 50)), rng())
    value, low, high = found.unification[:, 0]
    assert (value, low) == (0, 0)
    assert 0.05 < high < 0.1  # Wilson's upper end at 0 of 50 is .0714 by the normal's quantile


def test_means_have_students_interval_and_shares_wilsons():
    values = rng().normal(size=40)
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert mean_interval(values, share=False) == pytest.approx((values.mean(), *expected))
    value, low, high = mean_interval(np.zeros(50), share=True)
    assert (value, low) == (0, 0)
    assert 0.05 < high < 0.1


@pytest.mark.parametrize("truth", [0.3, 0.9])
def test_intervals_cover_the_planted_ratio(truth):
    draw, covered = np.random.default_rng(1), 0
    for _ in range(400):
        within = draw.random(150) < 0.5
        across = within & (draw.random(150) < truth)
        low, high = interchange(across[None], within[None], draw, draws=300).unification[1:, 0]
        covered += low <= truth <= high
    assert binom.cdf(covered, 400, 0.95) > 0.0005  # a percentile interval may err low by chance alone


def test_permuted_accuracy_is_the_mean_over_all_permutations():
    draw = np.random.default_rng(2)
    word, sought = draw.integers(0, 3, (2, 7)), draw.integers(0, 3, 7)
    relation = np.array([0, 0, 0, 1, 1, 1, 2])
    expected = np.zeros(2)
    for one in (0, 1):
        here = np.flatnonzero(relation == one)
        moved = [p for p in permutations(range(3)) if all(a != b for a, b in enumerate(p))]
        rates = [(word[:, here] == sought[here][list(p)]).sum(axis=1) for p in moved]
        expected += np.mean(rates, axis=0)
    np.testing.assert_allclose(permuted_accuracy(word, sought, relation), expected / 6)
    assert np.isnan(permuted_accuracy(word[:, :1], sought[:1], relation[:1])).all()


def test_the_best_place_is_free_and_has_a_ceiling():
    across, ceiling = np.array([0.9, 0.5, 0.3, 0.6]), np.array([1.0, 0.9, 0.8, 0.05])
    assert best_place(across, ceiling, np.array([False, True, True, True])) == 1
    assert best_place(across, ceiling / 20, np.array([False, True, True, True])) == 1
    assert best_place(np.zeros(3), np.array([0.2, 0.9, 0.8]), np.ones(3, dtype=bool)) == 0
    with pytest.raises(ValueError, match="fixed by construction"):
        best_place(across, ceiling, np.zeros(4, dtype=bool))
