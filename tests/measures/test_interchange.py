"""Interchange measures against closed forms, brute force and planted truth."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from scipy.stats import binom

from mechxl.measures.interchange import (
    LEAST_GAP,
    _restricted_variance,
    best_place,
    interchange,
    mean_interval,
    permuted_hits,
)


def chance(places: int, pairs: int, rate: float = 0.0) -> np.ndarray:
    return np.full((places, pairs), rate)


def test_the_ratio_is_that_of_sums_above_the_null_with_all_terms_beside():
    across = np.tile([[1, 1, 0, 0, 0, 0, 1, 0]], 5).astype(bool)
    within = np.tile([[1, 1, 1, 0, 0, 0, 1, 1]], 5).astype(bool)
    null = np.tile([[0.0, 0.0, 0.5, 0.0, 0.0, 0.5, 0.0, 0.0]], 5)
    found = interchange(across, within, null, np.arange(40))
    assert found.accuracy[0, 0] == 3 / 8
    assert found.ceiling[0, 0] == 5 / 8
    assert found.null[0, 0] == 1 / 8
    assert found.unification[0, 0] == pytest.approx((3 / 8 - 1 / 8) / (5 / 8 - 1 / 8))
    assert found.n == 40


def test_it_is_not_clipped_and_does_no_better_than_chance_at_0():
    within = np.arange(40)[None] % 2 == 0
    assert interchange(within, within, chance(1, 40), np.arange(40)).unification[0, 0] == 1
    assert interchange(np.ones((1, 40), dtype=bool), within, chance(1, 40), np.arange(40)).unification[0, 0] == 2
    below = interchange(np.zeros((1, 40), dtype=bool), within, chance(1, 40, 0.1), np.arange(40))
    assert below.unification[0, 0] == pytest.approx(-0.1 / 0.4)


@pytest.mark.parametrize(("hits", "rate"), [(12, 0.06), (53, 0.51), (47, 0.51)])
def test_a_ceiling_that_is_not_clearly_above_the_null_leaves_it_undefined(hits, rate):
    within = np.arange(100)[None] < hits
    found = interchange(within, within, chance(1, 100, rate), np.arange(100))
    assert found.gap[1, 0] < LEAST_GAP
    assert np.isnan(found.unification).all()
    assert np.isfinite([found.accuracy, found.ceiling, found.null]).all()


@pytest.mark.parametrize("hit", [True, False])
def test_an_interval_does_not_shrink_to_a_point(hit):
    found = interchange(np.full((1, 15), hit), np.ones((1, 15), dtype=bool), chance(1, 15, 0.05), np.arange(15))
    value, low, high = found.unification[:, 0]
    assert value == pytest.approx(1.0 if hit else -0.05 / 0.95)
    assert high - value > 0.15
    assert not hit or value - low > 0.15


def test_without_a_null_the_interval_is_nam_and_blackwelders():
    """Their score interval of a ratio of paired shares; the most likely cells under a ratio by a general optimizer."""
    across, within = np.zeros(60, dtype=bool), np.zeros(60, dtype=bool)
    across[:30], within[:24], within[30:38] = True, True, True  # 24 both, 6 across alone, 8 within alone, 22 neither
    _, low, high = interchange(across[None], within[None], chance(1, 60), np.arange(60)).unification[:, 0]
    for end in (low, high):

        def cells(free: np.ndarray, end: float = end) -> np.ndarray:
            both, across_alone = free
            within_alone = (both + across_alone) / end - both
            return np.array([both, across_alone, within_alone, 1 - both - across_alone - within_alone])

        def surprise(free: np.ndarray, cells=cells) -> float:
            p = cells(free)
            return -float(np.array([24, 6, 8, 22]) @ np.log(p)) if (p > 0).all() else 1e9

        best = cells(minimize(surprise, [0.35, 0.12], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9}).x)
        variance = best[0] * (1 - end) ** 2 + best[1] + best[2] * end**2
        z = (30 - end * 32) / 60
        assert z**2 * 60 / variance == pytest.approx(stats.t.ppf(0.975, 59) ** 2, rel=0.01)


def test_the_restricted_variance_gives_an_empty_cell_what_the_constraint_asks_for():
    """15 of 15 agree: at theta = .8 and no null the likeliest cells are 11 and 10, with p11 + p10 = .8 (p11 + p01)."""
    found = _restricted_variance(np.array([[15, 0, 0, 0]]), np.array([0.8]), np.zeros(1))[0]
    # only `within` alone can make up for agreement: p01 = .25 p11... .2 p11 = .8 p01, p11 + p01 = 1
    p01 = 0.2
    assert found == pytest.approx((0.8 * 0.2**2 + p01 * 0.8**2) / 15, rel=1e-3)


def test_pairs_in_two_directions_count_once():
    """Each pair given twice has the interval of the pairs themselves, up to the items' own variance."""
    draw = np.random.default_rng(3)
    within = draw.random((1, 80)) < 0.7
    across = within & (draw.random((1, 80)) < 0.6)
    once = interchange(across, within, chance(1, 80), np.arange(80))
    pair = np.tile(np.arange(80), 2)
    twice = interchange(np.tile(across, 2), np.tile(within, 2), chance(1, 160), pair)
    assert twice.n == once.n == 80
    np.testing.assert_allclose(twice.unification, once.unification, atol=0.02)
    np.testing.assert_allclose(twice.accuracy, once.accuracy, atol=0.01)


def test_means_have_students_interval_and_shares_wilsons():
    values = np.random.default_rng(0).normal(size=40)
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert mean_interval(values, np.arange(40), share=False) == pytest.approx((values.mean(), *expected))
    value, low, high = mean_interval(np.zeros(50), np.arange(50), share=True)
    assert (value, low) == (0, 0)
    assert 0.05 < high < 0.1  # Wilson's upper end at 0 of 50 is .0714 by the normal's quantile


def test_intervals_cover_the_planted_ratio_and_the_nulls_error_is_in_them():
    """A circuit that crosses in .6 of the pairs; what fails answers with a value at random, as does the null."""
    draw, covered, n, values = np.random.default_rng(1), 0, 40, 4
    for _ in range(80):
        receiver = draw.integers(0, values, n)
        other = [(receiver + draw.integers(1, values, n)) % values for _ in range(3)]
        works = draw.random(n) < 0.9
        crosses = works & (draw.random(n) < 0.6)
        word = np.where(crosses, other[0], other[1])
        within = np.where(works, other[0], other[2])
        relation = np.arange(n) % 2
        null = permuted_hits(word[None], other[0], relation, other[0][None] != receiver[:, None])
        hits = (word == other[0])[None], (within == other[0])[None]
        _, low, high = interchange(*hits, null, np.arange(n)).unification[:, 0]
        covered += low <= 0.6 <= high
    assert binom.cdf(covered, 80, 0.95) > 0.0005  # too wide is for analyses/calibration/causal.py to say


def permuted_by_hand(word, sought, cell, valid):
    """Mean over receivers of the share of valid other donors of the cell whose word is answered."""
    shares = []
    for i in range(len(cell)):
        donors = [j for j in range(len(cell)) if j != i and cell[j] == cell[i] and valid[i, j]]
        if donors:
            shares.append(np.mean([word[i] == sought[j] for j in donors]))
    return np.mean(shares)


def planted_pairs(seed, n=18, values=4):
    draw = np.random.default_rng(seed)
    receiver, cell = draw.integers(0, values, n), draw.integers(0, 3, n)
    sought = (receiver + draw.integers(1, values, n)) % values
    return draw.integers(0, values, (3, n)), sought, cell, sought[None] != receiver[:, None]


def test_the_null_is_the_mean_over_valid_permuted_donors():
    for seed in range(5):
        word, sought, cell, valid = planted_pairs(seed)
        found = permuted_hits(word, sought, cell, valid)
        assert found.mean(axis=1) == pytest.approx([permuted_by_hand(row, sought, cell, valid) for row in word])


def test_with_all_donors_valid_it_is_the_mean_over_all_derangements():
    word, sought = np.array([0, 1, 2, 0]), np.array([0, 1, 1, 2])
    moved = [p for p in permutations(range(4)) if all(a != b for a, b in enumerate(p))]
    expected = np.mean([(word == sought[list(p)]).mean() for p in moved])
    found = permuted_hits(word[None], sought, np.zeros(4, dtype=int), np.ones((4, 4), dtype=bool))
    assert found.mean() == pytest.approx(expected)


def test_the_nulls_sampling_error_is_the_jackknifes():
    word, sought, cell, valid = planted_pairs(7, n=120)
    rows = permuted_hits(word, sought, cell, valid)
    kept = [np.delete(np.arange(120), left_out) for left_out in range(120)]
    deleted = [permuted_by_hand(word[0][k], sought[k], cell[k], valid[np.ix_(k, k)]) for k in kept]
    jackknife = 119 / 120 * np.sum((np.array(deleted) - np.mean(deleted)) ** 2)
    assert rows[0].var(ddof=1) / 120 == pytest.approx(jackknife, rel=0.1)


def test_with_two_values_no_donor_can_be_told_from_any_other():
    """A valid donor of another pair has the pair's own value: the null would be the accuracy."""
    receiver = np.arange(12) % 2
    found = permuted_hits(np.zeros((2, 12), dtype=int), 1 - receiver, np.zeros(12, dtype=int),
                          (1 - receiver)[None] != receiver[:, None])  # fmt: skip
    assert np.isnan(found).all()
    hits = np.ones((2, 12), dtype=bool)
    assert np.isnan(interchange(hits, hits, found, np.arange(12)).unification).all()


def test_the_best_place_is_free_and_has_a_gap():
    above, gap = np.array([0.9, 0.5, 0.3, 0.6]), np.array([1.0, 0.9, 0.8, 0.04])
    assert best_place(above, gap, np.array([False, True, True, True])) == 1
    assert best_place(above, gap / 20, np.array([False, True, True, True])) == 1
    assert best_place(np.full(3, -0.1), np.array([0.2, 0.9, 0.8]), np.ones(3, dtype=bool)) == 0
    with pytest.raises(ValueError, match="fixed by construction"):
        best_place(above, gap, np.zeros(4, dtype=bool))
