"""Effective dimension and mean cosine against eigenvalues and loops."""

from itertools import permutations, product

import numpy as np
import pytest

from mechxl.measures.anisotropy import anisotropy
from mechxl.measures.sample import draw_sample
from tests.measures.brute import cosine, planted, sample_of, without


def dimension(h):
    values = np.linalg.eigvalsh(np.cov(h.reshape(-1, h.shape[2]).T))
    return values.sum() ** 2 / (values**2).sum()


def mean_cosine(h):
    languages = range(h.shape[1])
    pairs = product(permutations(range(len(h)), 2), languages, languages)
    return np.mean([cosine(h[f, a], h[g, b]) for (f, g), a, b in pairs])


def ends(value, left_out):
    m = len(left_out)
    half = 2.364624 * np.sqrt((m - 1) / m * ((left_out - left_out.mean()) ** 2).sum())  # t of 7 degrees of freedom
    return value, value - half, value + half


def test_both_and_their_jackknives_equal_brute_force_with_entities_of_unequal_size():
    data = planted(entities=8)
    kept = np.ones(32, dtype=bool)
    kept[[3, 11, 12]] = False
    data = type(data)(data.h[kept], data.relation[kept], data.entity[kept], data.value[kept])
    found = anisotropy(data.h, sample_of(data, draws=0, permutations=0))
    for name, brute in (("effective_dimension", dimension), ("mean_cosine", mean_cosine)):
        left_out = np.array([brute(without(data, entity).h) for entity in range(8)])
        estimate = found[name].pooled
        expected = ends(brute(data.h), left_out)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(expected, abs=1e-6)
        assert "no null" in estimate.reason


def test_as_many_dimensions_as_there_are_directions():
    rng = np.random.default_rng(0)
    sample = draw_sample(np.zeros(3000, dtype=int), np.arange(3000), 2, rng, draws=0, permutations=0)
    ball = rng.normal(size=(3000, 2, 8))
    assert anisotropy(ball, sample)["effective_dimension"].pooled.value == pytest.approx(8, abs=0.1)
    line = ball[..., :1] * np.ones(8) + 5
    assert anisotropy(line, sample)["effective_dimension"].pooled.value == pytest.approx(1)
    assert anisotropy(ball, sample)["mean_cosine"].pooled.value == pytest.approx(0, abs=0.01)
    assert anisotropy(ball + 20, sample)["mean_cosine"].pooled.value > 0.95


def test_one_vector_or_one_entity_says_so():
    rng = np.random.default_rng(0)
    of = draw_sample(np.arange(3), np.arange(3), 2, rng)
    assert anisotropy(np.ones((3, 2, 4)), of)["effective_dimension"].pooled.reason == "all vectors are one"
    one = draw_sample(np.arange(3), np.zeros(3, dtype=int), 2, rng)
    assert anisotropy(rng.normal(size=(3, 2, 4)), one)["mean_cosine"].pooled.reason == "one entity"
    two = draw_sample(np.arange(2), np.arange(2), 2, rng)
    assert "no interval" in anisotropy(rng.normal(size=(2, 2, 4)), two)["mean_cosine"].pooled.reason
