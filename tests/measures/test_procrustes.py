"""Procrustes residual against another implementation, brute-force refits, and what it cannot see."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from mechxl.measures.planted import Plant
from mechxl.measures.procrustes import fit_cell, procrustes
from mechxl.measures.sample import draw_sample, draw_split
from tests.measures.brute import brute_score, planted, sample_of, units


def residual(a_fitted, b_fitted, a_held, b_held):
    """By scipy's Procrustes."""
    means = a_fitted.mean(axis=0), b_fitted.mean(axis=0)
    turn, _ = orthogonal_procrustes(b_fitted - means[1], a_fitted - means[0])
    left_over = (a_held - means[0]) - (b_held - means[1]) @ turn
    return (left_over**2).sum() / ((a_held - means[0]) ** 2).sum()


def brute(data, fitted, a, b, without=-1):
    cells = []
    for r in np.unique(data.relation):
        kept = (data.relation == r) & (data.entity != without)
        halves = [data.h[kept & half] for half in (fitted, ~fitted)]
        cells.append(residual(halves[0][:, a], halves[0][:, b], halves[1][:, a], halves[1][:, b]))
    return np.mean(cells)


def prepared(entities, d, permutations=0, **plant):
    data = planted(entities, plant=Plant(d=d, **plant))
    sample = sample_of(data, draws=0, permutations=permutations)
    split = draw_split(sample, np.random.default_rng(0))
    return data, replace(sample, split=split), split


def test_the_residual_equals_scipys_map_fitted_on_one_half_and_tried_on_the_other():
    data, sample, split = prepared(30, 4)
    found = procrustes(data.h, sample)
    both = [brute(data, split.fitted, a, b) for a, b in ((0, 1), (1, 0))]
    assert [found.pairs[0, 1].value, found.pairs[1, 0].value] == pytest.approx(both, abs=1e-12)
    assert found.pooled.value == pytest.approx(np.mean(both), abs=1e-12)
    assert both[0] != pytest.approx(both[1], abs=1e-3)
    assert set(data.entity[split.fitted]) & set(data.entity[~split.fitted]) == set()
    assert len(set(data.entity[split.fitted])) == 15


def test_the_interval_is_near_that_of_refits_without_each_entity():
    data, sample, split = prepared(120, 4)
    left_out = np.array([brute(data, split.fitted, 0, 1, entity) for entity in range(120)])
    half = 1.9801 * np.sqrt(119 / 120 * ((left_out - left_out.mean()) ** 2).sum())  # t of 119 degrees of freedom
    found = procrustes(data.h, sample).pairs[0, 1]
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_each_entity_is_left_out_as_by_a_refit(shift):
    """Held out: exactly. Fitted: to first order in what it does to the map, and with what it does to the means."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(160, 1, 3))
    a, b = (shared + 0.5 * rng.normal(size=(160, 2, 3)) * [3, 1, 1]).swapaxes(0, 1)
    a[100:] += shift  # held out: not about the means of the fitted, so that these matter
    means = a[:100].mean(axis=0), b[:100].mean(axis=0)
    none = np.empty((60, 0), dtype=int)
    fit = fit_cell(a[:100] - means[0], b[:100] - means[1], a[100:] - means[0], b[100:] - means[1], none)
    held = [residual(a[:100], b[:100], np.delete(a[100:], i, 0), np.delete(b[100:], i, 0)) for i in range(60)]
    assert fit.without_held == pytest.approx(np.array(held), abs=1e-12)
    refitted = [residual(np.delete(a[:100], i, 0), np.delete(b[:100], i, 0), a[100:], b[100:]) for i in range(100)]
    refitted = np.array(refitted)
    assert np.abs(fit.without_fitted - refitted).max() < 0.2 * np.abs(refitted - fit.value).max()
    assert fit.without_fitted.std() == pytest.approx(refitted.std(), rel=0.03)


def test_null_draws_permute_the_entities_held_out_under_the_map_that_was_fitted():
    data, sample, split = prepared(30, 4, permutations=5)
    found = procrustes(data.h, sample)
    for k in range(5):
        moved = data.h.copy()
        for r, partner in zip(split.relations, split.partners, strict=True):
            place = np.flatnonzero((data.relation == r) & ~split.fitted)
            moved[place, 1] = data.h[place[partner[1, k]], 1]
        cells = []
        for r in range(4):
            of = data.relation == r
            halves = [data.h[of & split.fitted], moved[of & ~split.fitted]]
            for a, b in ((0, 1), (1, 0)):
                cells.append(residual(halves[0][:, a], halves[0][:, b], halves[1][:, a], halves[1][:, b]))
        assert found.null[k] == pytest.approx(np.mean(cells), abs=1e-12)


def test_a_rotation_and_a_shift_leave_nothing_while_the_score_falls():
    data, sample, _ = prepared(60, 8, permutations=99, language=0)
    one = data.h[:, 0]
    turned = np.stack([one, one @ ortho_group.rvs(8, random_state=0) + 1], axis=1)
    found = procrustes(turned, sample).pooled
    assert found.value == pytest.approx(0, abs=1e-20)
    assert found.p == 0.01
    assert brute_score(units(turned), data.relation) < 0.2


def test_unrelated_vectors_leave_2_and_a_scale_is_not_undone():
    rng = np.random.default_rng(0)
    h = rng.normal(size=(2000, 2, 4))
    sample = draw_sample(np.zeros(2000, dtype=int), np.arange(2000), 2, rng, draws=0, permutations=199)
    sample = replace(sample, split=draw_split(sample, rng))
    noise = procrustes(h, sample).pooled
    assert noise.value == pytest.approx(2, abs=0.1)
    assert noise.null == pytest.approx(2, abs=0.1)
    assert noise.p > 0.05
    doubled = procrustes(np.stack([h[:, 0], 2 * h[:, 0]], axis=1), sample)
    assert doubled.pairs[0, 1].value == pytest.approx(1)
    assert doubled.pairs[1, 0].value == pytest.approx(1 / 4)


def test_too_few_facts_for_the_dimensions_say_so():
    data, sample, _ = prepared(32, 16, permutations=3)
    found = procrustes(data.h, sample)
    assert "dimensions (16)" in found.pooled.reason
    assert np.isnan(found.null).all()
    one = draw_sample(np.zeros(1, dtype=int), np.zeros(1, dtype=int), 2, np.random.default_rng(0))
    assert draw_split(one, np.random.default_rng(0)).partners == []
    with pytest.raises(ValueError, match="NaN"):
        procrustes(data.h * np.nan, sample)
    with pytest.raises(ValueError, match="split"):
        procrustes(data.h, replace(sample, split=None))
