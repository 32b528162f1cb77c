"""Linear CKA against Song's estimator by sums over distinct facts, the biased form, and what it cannot see."""

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import ortho_group

from mechxl.measures.cka import cka, hollow, hsic, permuted_hsic
from mechxl.measures.planted import Plant, fixed, population_cka
from mechxl.measures.sample import draw_sample
from tests.measures.brute import brute_score, planted, sample_of, units, without


def brute_hsic(k, l):  # noqa: E741
    """Song et al. 2012, the U-statistic: means over distinct facts of K_ij L_ij + K_ij L_qr - 2 K_ij L_iq."""
    n = len(k)
    two = [k[i, j] * l[i, j] for i, j in permutations(range(n), 2)]
    three = [k[i, j] * l[i, q] for i, j, q in permutations(range(n), 3)]
    four = [k[i, j] * l[q, r] for i, j, q, r in permutations(range(n), 4)]
    return np.mean(two) + np.mean(four) - 2 * np.mean(three)


def biased_cka(x, y):
    """The usual form: HSIC with centred Gram matrices, diagonals included."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.sum((x.T @ y) ** 2) / np.sqrt(np.sum((x.T @ x) ** 2) * np.sum((y.T @ y) ** 2))


def one_relation(h, permutations=1):
    n = len(h)
    rng = np.random.default_rng(0)
    return draw_sample(np.zeros(n, dtype=int), np.arange(n), h.shape[1], rng, draws=0, permutations=permutations)


@pytest.mark.parametrize("n", [4, 5, 8])
def test_hsic_is_songs_u_statistic_and_does_not_see_a_shift(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 2)) + 1
    value, _ = hsic(hollow(x), hollow(y))
    assert value == pytest.approx(brute_hsic(x @ x.T, y @ y.T), abs=1e-10)
    assert hsic(hollow(x + 5), hollow(y - 2))[0] == pytest.approx(value, abs=1e-9)


def test_hsic_without_each_member_equals_leaving_it_out():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 3))
    left_out = [hsic(*(hollow(np.delete(z, i, axis=0)) for z in (x, y)))[0] for i in range(9)]
    assert hsic(hollow(x), hollow(y))[1] == pytest.approx(np.array(left_out), abs=1e-12)
    assert np.isnan(hsic(hollow(x[:4]), hollow(y[:4]))[1]).all()


def test_permuted_hsic_equals_hsic_of_permuted_vectors():
    rng = np.random.default_rng(1)
    x, y = (z - z.mean(axis=0) for z in rng.normal(size=(2, 20, 6)))
    partner = np.array([rng.permutation(20) for _ in range(130)])
    expected = [hsic(hollow(x), hollow(y[row]))[0] for row in partner]
    assert permuted_hsic(x, y, partner) == pytest.approx(np.array(expected), abs=1e-5)


def test_pooled_cka_and_its_jackknife_equal_brute_force():
    data = planted(entities=8)

    def brute(some):
        cells = []
        for r in range(4):
            x, y = (some.h[some.relation == r, a] for a in (0, 1))
            terms = [hsic(hollow(p), hollow(q))[0] for p, q in ((x, y), (x, x), (y, y))]
            cells.append(terms[0] / np.sqrt(terms[1] * terms[2]))
        return np.mean(cells)

    left_out = np.array([brute(without(data, entity)) for entity in range(8)])
    half = 2.364624 * np.sqrt(7 / 8 * ((left_out - left_out.mean()) ** 2).sum())  # t of 7 degrees of freedom
    found = cka(data.h, sample_of(data, draws=0, permutations=3)).pooled
    value = brute(data)
    assert (found.value, found.low, found.high) == pytest.approx((value, value - half, value + half), abs=1e-6)


def test_cka_comes_to_the_population_value_in_closed_form():
    plant = Plant()
    found = cka(planted(entities=2000, plant=plant).h, sample_of(planted(2000), draws=0, permutations=0)).pooled
    assert found.value == pytest.approx(population_cka(plant, fixed(plant)), abs=0.01)
    assert found.low < population_cka(plant, fixed(plant)) < found.high


def test_an_orthogonal_map_of_one_language_leaves_cka_at_1_while_the_score_falls():
    data = planted(entities=60, plant=Plant(language=0))
    one = data.h[:, 0]
    same = np.stack([one, one], axis=1)
    turned = np.stack([one, 3 * one @ ortho_group.rvs(16, random_state=0) + 1], axis=1)
    sample = sample_of(data, draws=0, permutations=1)
    assert cka(same, sample).pooled.value == pytest.approx(1, abs=1e-12)
    assert cka(turned, sample).pooled.value == pytest.approx(1, abs=1e-12)
    scores = [brute_score(units(h), data.relation) for h in (same, turned)]
    assert scores[0] > 0.5
    assert scores[1] < -0.2


def test_biased_cka_is_high_on_noise_and_unbiased_is_not():
    noises = np.random.default_rng(0).normal(size=(20, 60, 2, 32))
    found = [cka(h, one_relation(h, 99)).pooled for h in noises]
    # the biased one of noise with n facts in d dimensions is near d / (d + n) = .35
    assert np.mean([biased_cka(h[:, 0], h[:, 1]) for h in noises]) == pytest.approx(32 / 92, abs=0.02)
    assert np.mean([one.value for one in found]) == pytest.approx(0, abs=0.015)
    assert np.mean([one.null for one in found]) == pytest.approx(0, abs=0.005)
    assert sum(one.low < 0 < one.high for one in found) >= 18
    assert sum(one.p <= 0.05 for one in found) <= 4  # of 20: more have a chance of .003


def test_permutations_are_of_vectors_put_beside_each_other():
    data = planted(entities=12)
    h = np.concatenate([data.h, data.h[:, :1] + data.h[:, 1:]], axis=1)
    sample = draw_sample(data.relation, data.entity, 3, np.random.default_rng(0), draws=0, permutations=4)
    null = cka(h, sample).null
    for k in range(4):
        moved = h.copy()
        for (place, _), partner in zip(sample.by_relation(), sample.partners, strict=True):
            moved[place] = np.stack([h[place[partner[a, k]], a] for a in range(3)], axis=1)
        assert null[k] == pytest.approx(cka(moved, sample).pooled.value, abs=1e-5)


def test_too_few_facts():
    h = np.random.default_rng(0).normal(size=(4, 2, 3))
    four = cka(h, one_relation(h)).pooled
    assert np.isfinite(four.value)
    assert np.isnan(four.low)
    assert "no interval" in four.reason
    assert "4 facts" in cka(h[:3], one_relation(h[:3])).pooled.reason
    # facts of two vectors only: a self-term that is not positive
    two = np.repeat(np.eye(4)[:, None], 2, axis=1)
    assert "self-term" in cka(two, one_relation(two)).pooled.reason
    with pytest.raises(ValueError, match="NaN"):
        cka(np.full((5, 2, 3), np.nan), one_relation(np.zeros((5, 2, 3))))
