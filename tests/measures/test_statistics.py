"""Bootstrap over entities and permutation p-values, against closed forms and simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from mechxl.measures.statistics import EntityBootstrap, entity_weights, interval, permutation_p, scan_p


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
