"""Bootstrap over entities and permutation p-values, against closed forms and simulation."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, t

from mechxl.measures.statistics import (
    EntityBootstrap,
    entity_weights,
    interval,
    jackknife_ends,
    jackknife_variance,
    percentile_ends,
    permutation_p,
    scan_p,
    wilson_ends,
)


def test_interval_takes_the_middle_95_percent():
    low, high = interval(np.arange(1001.0))
    assert (low, high) == pytest.approx((25.0, 975.0))
    assert np.isnan(interval(np.array([np.nan]))).all()


def test_weights_draw_whole_entities():
    entity = np.array([3, 3, 8, 8, 8, 5])
    weights = entity_weights(entity, 500, np.random.default_rng(0))
    assert (weights[:, :2] == weights[:, :1]).all()
    assert (weights[:, 2:5] == weights[:, 2:3]).all()
    assert (weights[:, [0, 2, 5]].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.15)


def test_the_interval_of_a_mean_covers_when_items_of_an_entity_are_alike():
    """Four equal items an entity: an interval over items would be half as wide and cover about .67."""
    covered, replications, n = 0, 400, 100
    for seed in range(replications):
        rng = np.random.default_rng(seed)
        entity = np.repeat(np.arange(n), 4)
        values = np.repeat(rng.random(n) < 0.3, 4)
        _, low, high = EntityBootstrap(entity, 500, rng).mean(values, entity)
        covered += low <= 0.3 <= high
    # percentile intervals of 100 entities cover a little less than they say; 99.9 % binomial bounds around .94
    assert binom.ppf(0.0005, replications, 0.94) <= covered <= binom.ppf(0.9995, replications, 0.95)


def test_a_mean_over_some_entities_only():
    boot = EntityBootstrap(np.arange(10), 200, np.random.default_rng(0))
    mean, low, high = boot.mean(np.array([1.0, 1.0, 1.0]), np.array([2, 2, 7]))
    assert (mean, low, high) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="no items"):
        boot.mean(np.zeros(0), np.zeros(0, dtype=int))


def test_permutation_p_counts_the_observed_one():
    null = np.arange(99.0)
    assert permutation_p(1000.0, null) == 1 / 100
    assert permutation_p(98.0, null) == 2 / 100
    assert permutation_p(-1.0, null) == 1.0


def test_scan_p_keeps_its_level_over_the_scan_and_finds_what_is_there():
    rejected, replications, places, draws = 0, 600, 20, 99
    rng = np.random.default_rng(0)
    for _ in range(replications):
        shared = rng.normal(size=draws + 1)
        field = 0.5 * shared + rng.normal(size=(places, draws + 1)) * rng.uniform(0.5, 2, size=(places, 1))
        rejected += scan_p(field[:, 0], field[:, 1:]).min() <= 0.05
    assert binom.ppf(0.0005, replications, 0.05) <= rejected <= binom.ppf(0.9995, replications, 0.05)
    field = rng.normal(size=(places, draws + 1))
    field[3, 0] = 100.0
    p = scan_p(field[:, 0], field[:, 1:])
    assert p[3] == 1 / 100
    assert p.argmin() == 3


def test_expanded_percentiles_are_as_wide_as_the_t_interval_of_a_mean():
    """Hesterberg 2015: 10 values, whose bootstrap means are near normal with sqrt(9 / 10) of the standard error."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=10)
    drawn = rng.normal(values.mean(), values.std(ddof=1) / np.sqrt(10) * np.sqrt(0.9), size=(1, 400_000))
    (low,), (high,) = percentile_ends(drawn, 10)
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, 9) * values.std(ddof=1) / np.sqrt(10), rel=0.01)
    plain = interval(drawn[0])
    assert high - low > 1.15 * (plain[1] - plain[0])


def test_the_jackknife_of_a_mean_is_its_t_interval():
    values = np.random.default_rng(0).normal(size=12)
    without = np.array([[np.delete(values, i).mean() for i in range(12)]])
    assert jackknife_variance(without)[0] == pytest.approx(values.var(ddof=1) / 12)
    (low,), (high,) = jackknife_ends(np.array([values.mean()]), without)
    half = t.ppf(0.975, 11) * values.std(ddof=1) / np.sqrt(12)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half))
    without[0, 3] = np.nan
    assert np.isnan(jackknife_ends(np.array([1.0]), without)).all()


def test_wilsons_interval_of_independent_items_is_scipys():
    """With the binomial variance its n is the number of items; with many entities t is the normal's quantile."""
    for k in (1, 30, 99):
        p = k / 100
        (low,), (high,) = wilson_ends(np.array([p]), np.array([p * (1 - p) / 100]), 100, 10**6)
        known = binomtest(k, 100).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((known.low, known.high), abs=1e-5)
    # twice the variance: half the items; never more than there are; at 0 as many as there are entities
    (wide,), _ = wilson_ends(np.array([0.3]), np.array([2 * 0.21 / 100]), 100, 10**6)
    assert wide == pytest.approx(binomtest(15, 50).proportion_ci(method="wilson").low, abs=1e-5)
    (most,), _ = wilson_ends(np.array([0.3]), np.array([0.21 / 1000]), 100, 10**6)
    assert most == pytest.approx(binomtest(30, 100).proportion_ci(method="wilson").low, abs=1e-5)
    (low,), (high,) = wilson_ends(np.array([0.0]), np.array([0.0]), 4000, 1000)
    assert low == 0
    assert high == pytest.approx(binomtest(0, 1000).proportion_ci(method="wilson").high, abs=1e-4)
    assert np.isnan(wilson_ends(np.array([0.5]), np.array([np.nan]), 10, 10)).all()
