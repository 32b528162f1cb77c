"""The score of single facts, and AUC, against loops and other implementations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from mechxl.measures.auc import auc, auc_without
from mechxl.measures.by_fact import score_by_fact
from mechxl.measures.vectors import unit
from tests.measures.brute import brute_score, cosine, noise, planted, units


def test_the_score_of_a_fact_equals_loops_and_averages_to_the_score():
    h, relation, _ = noise(0, facts=10)
    relation[:5] = [0, 0, 1, 1, 2]
    found = score_by_fact(unit(h), relation)
    for f in range(10):
        others = [g for g in range(10) if g != f and relation[g] == relation[f]]
        for a in range(3):
            across = np.mean([cosine(h[f, a], h[f, b]) for b in range(3) if b != a])
            within = np.mean([cosine(h[f, a], h[g, a]) for g in others]) if others else np.nan
            assert found[f, a] == pytest.approx(across - within, abs=1e-12, nan_ok=True)
    data = planted()
    u = units(data.h)
    assert score_by_fact(u, data.relation).mean() == pytest.approx(brute_score(u, data.relation), abs=1e-12)
    with pytest.raises(ValueError, match="one language"):
        score_by_fact(u[:, :1], data.relation)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans())
def test_auc_equals_mann_whitney_and_leaving_entities_out(seed, n_entities, ties):
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 4, size=20) if ties else rng.permutation(20)
    right, entity = rng.random(20) < 0.5, rng.integers(0, n_entities, size=20)
    right[:2] = [True, False]
    _, index = np.unique(entity, return_inverse=True)
    value, without = auc_without(np.unique(score, return_inverse=True)[1], right, index)

    def brute(kept):
        won, lost = score[kept & right], score[kept & ~right]
        pairs = (won[:, None] > lost) + (won[:, None] == lost) / 2
        return pairs.mean() if pairs.size else np.nan

    assert value == pytest.approx(mannwhitneyu(score[right], score[~right]).statistic / right.sum() / (~right).sum())
    expected = [brute(index != i) for i in range(len(without))]
    assert without == pytest.approx(np.array(expected), abs=1e-12, nan_ok=True)


def test_the_variance_for_one_item_an_entity_is_delongs():
    """DeLong et al. 1988, by placements; the jackknife differs by n / (n - 1) and the like."""
    rng = np.random.default_rng(0)
    n = 400
    right = rng.random(n) < 0.4
    score = rng.normal(size=n) + right
    won = (score[right][:, None] > score[~right]).astype(float)
    delong = won.mean(axis=1).var(ddof=1) / right.sum() + won.mean(axis=0).var(ddof=1) / (~right).sum()
    found = auc(score, right, np.arange(n), np.zeros(n, dtype=int), rng, permutations=9).pooled
    assert found.value == pytest.approx(won.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.975 * np.sqrt(delong), rel=0.03)


def test_permutations_keep_what_differs_between_strata():
    """Relations that differ both in score and in how many are right: AUC is high, and no item matters."""
    rng = np.random.default_rng(0)
    relation, entity = np.repeat([0, 1], 200), np.tile(np.arange(200), 2)
    score = relation + 0.2 * rng.normal(size=400)
    right = rng.random(400) < np.where(relation, 0.9, 0.1)
    found = auc(score, right, entity, relation, rng).pooled
    assert found.value > 0.85
    assert found.null == pytest.approx(found.value, abs=0.04)
    assert found.p > 0.05
    matters = auc(score + 0.5 * right, right, entity, relation, rng).pooled
    assert matters.p < 0.002


def test_the_null_is_auc_with_entities_permuted():
    rng = np.random.default_rng(0)
    score, right = rng.normal(size=12).round(1), rng.random(12) < 0.5
    found = auc(score, right, np.tile(np.arange(6), 2), np.repeat([0, 1], 6), np.random.default_rng(7), permutations=4)
    # the permutations that are drawn, found by the values that they give
    seen = set()
    shuffle = np.random.default_rng(1)
    for _ in range(4000):
        order = shuffle.permutation(6)
        moved = right.reshape(2, 6)[:, order].ravel()
        u = mannwhitneyu(score[moved], score[~moved]).statistic
        seen.add(round(float(u / right.sum() / (~right).sum()), 9))
    assert {round(float(value), 9) for value in found.null} <= seen


def test_auc_without_both_kinds_says_so():
    rng = np.random.default_rng(0)
    entity, stratum = np.arange(4), np.zeros(4, dtype=int)
    for right, reason in (([True] * 4, "every item"), ([False] * 4, "no item")):
        assert reason in auc(np.arange(4.0), np.array(right), entity, stratum, rng).pooled.reason
    assert "no items" in auc(np.zeros(0), np.zeros(0, dtype=bool), entity[:0], stratum[:0], rng).pooled.reason
    one = auc(np.arange(4.0), np.array([False, False, False, True]), entity, stratum, rng).pooled
    assert one.value == 1
    assert "no interval" in one.reason
    with pytest.raises(ValueError, match="NaN"):
        auc(np.array([1.0, np.nan]), np.array([True, False]), entity[:2], stratum[:2], rng)
    with pytest.raises(ValueError, match="two items"):
        auc(np.arange(2.0), np.array([True, False]), np.zeros(2, dtype=int), stratum[:2], rng)


def test_perfect_separation_is_not_certain():
    rng = np.random.default_rng(0)
    right = np.arange(40) >= 20
    found = auc(np.arange(40.0), right, np.arange(40), np.zeros(40, dtype=int), rng, permutations=9).pooled
    assert (found.value, found.high) == (1, 1)
    assert 0.75 < found.low < 0.9
