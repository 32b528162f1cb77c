"""Checkerboard correlation against scipy's ranks, brute-force deletion, and what it cannot see."""

import numpy as np
import pytest
from scipy.stats import rankdata

from mechxl.measures.checkerboard import checkerboard, permuted_rho, ranked, rho_without
from mechxl.measures.planted import Plant
from mechxl.measures.retrieval import retrieval
from mechxl.measures.sample import draw_sample
from tests.measures.brute import cosine, planted, sample_of, units


def brute(u, a=0, b=1):
    """Of one relation, by loops and scipy's ranks."""
    pairs = [(f, g) for f in range(len(u)) for g in range(f)]
    within = [cosine(u[f, a], u[g, a]) for f, g in pairs]
    across = [(cosine(u[f, a], u[g, b]) + cosine(u[g, a], u[f, b])) / 2 for f, g in pairs]
    return float(np.corrcoef(rankdata(np.round(within, 9)), rankdata(np.round(across, 9)))[0, 1])


@pytest.mark.parametrize("ties", [False, True])
def test_pooled_and_each_pair_equal_brute_force(ties):
    data = planted(entities=9)
    h = np.concatenate([data.h, data.h[:, :1] + 0.3 * data.h[:, 1:]], axis=1)
    if ties:
        h = np.sign(h)
    sample = draw_sample(data.relation, data.entity, 3, np.random.default_rng(0), draws=0, permutations=0)
    u = units(h, "none")
    found = checkerboard(u, sample)
    cells = {(a, b): [brute(u[data.relation == r], a, b) for r in range(4)] for a, b in sample.pairs}
    for pair, values in cells.items():
        assert found.pairs[pair].value == pytest.approx(np.mean(values), abs=1e-9)
    assert found.pooled.value == pytest.approx(np.mean(list(cells.values())), abs=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_without_each_member_is_near_leaving_it_out(ties):
    """To first order: the values without a member lie on those of brute force, and their spread is the same."""
    data = planted(entities=40, plant=Plant(relations=1, own_entity=0.2, noise=0.3))
    u = units(np.sign(data.h) if ties else data.h)
    upper = np.triu_indices(40, 1)
    cross = u[:, 0] @ u[:, 1].T
    rho, without = rho_without(ranked((u[:, 0] @ u[:, 0].T)[upper]), ranked((cross + cross.T)[upper]), upper)
    left_out = np.array([brute(np.delete(u, i, axis=0)) for i in range(40)])
    assert rho == pytest.approx(brute(u), abs=1e-9)
    assert np.corrcoef(left_out, without)[0, 1] > 0.99
    assert without.std() == pytest.approx(left_out.std(), rel=0.05)


def test_shares_and_means_beyond_equal_loops_with_ties():
    x, weight = np.array([3.0, 1.0, 3.0, 2.0, 1.0, 3.0]), np.arange(6.0)
    found = ranked(x)
    assert found.share == pytest.approx(np.array([np.mean((x < p) + (x == p) / 2) for p in x]))
    assert found.beyond(weight) == pytest.approx(np.array([np.mean(weight * ((x > p) + (x == p) / 2)) for p in x]))


@pytest.mark.parametrize("clusters", [False, True])
def test_permuted_rho_is_near_that_of_exact_ranks(clusters):
    rng = np.random.default_rng(0)
    data = planted(entities=60, plant=Plant(relations=1, value=5 if clusters else 0.5))
    u = units(data.h)
    upper = np.triu_indices(60, 1)
    partner = np.array([np.arange(60), *(rng.permutation(60) for _ in range(5))])
    within, beyond = (ranked((u[:, a] @ u[:, a].T)[upper]) for a in (0, 1))
    there, back = permuted_rho(within, beyond, u[:, 0] @ u[:, 1].T, upper, partner)
    for k, row in enumerate(partner):
        moved = np.stack([u[:, 0], u[row, 1]], axis=1)
        assert (there[k], back[k]) == pytest.approx((brute(moved), brute(moved, 1, 0)), abs=1e-3)


def test_unrelated_vectors_fall_inside_the_null_and_shared_ones_outside():
    rng = np.random.default_rng(1)
    sample = draw_sample(np.zeros(80, dtype=int), np.arange(80), 2, rng, draws=0, permutations=199)
    noise = checkerboard(units(rng.normal(size=(80, 2, 16))), sample).pooled
    assert noise.low < noise.null < noise.high
    assert noise.p > 0.05
    data = planted()
    shared = checkerboard(units(data.h), sample_of(data, draws=0, permutations=99)).pooled
    assert shared.p == 0.01
    assert shared.low > 0.5


def test_facts_near_everything_correlate_without_sharing_anything():
    """Why the null's mean is not 0: a direction that some facts have more of than others, whoever is beside whom."""
    rng = np.random.default_rng(0)
    sample = draw_sample(np.zeros(80, dtype=int), np.arange(80), 2, rng, draws=0, permutations=199)
    common = 1 + rng.exponential(size=(80, 2, 1))
    h = common * np.ones(16) / 2 + rng.normal(size=(80, 2, 16))
    found = checkerboard(units(h, "none"), sample).pooled
    assert found.null > 0.2
    assert found.p > 0.05
    assert found.value > 0.2


def test_the_checkerboard_does_not_ask_whether_a_fact_finds_itself():
    """Two facts of like surroundings are exchanged in every pair: nothing is found, and the boards still look alike."""
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(30, 16)).repeat(2, axis=0)
    h = np.stack([groups + 0.05 * rng.normal(size=(60, 16)) for _ in range(2)], axis=1)
    sample = draw_sample(np.zeros(60, dtype=int), np.arange(60), 2, rng, draws=0, permutations=1)
    assert checkerboard(units(h), sample).pooled.value > 0.95
    assert retrieval(units(h), sample)["retrieval"].pooled.value < 0.7


def test_no_differences_no_correlation():
    rng = np.random.default_rng(0)
    sample = draw_sample(np.zeros(4, dtype=int), np.arange(4), 2, rng, draws=0, permutations=2)
    corners = np.repeat(np.eye(4)[:, None], 2, axis=1)
    assert "do not differ" in checkerboard(corners, sample).pooled.reason
    two = draw_sample(np.zeros(2, dtype=int), np.arange(2), 2, rng)
    assert "3 facts" in checkerboard(corners[:2], two).pooled.reason
