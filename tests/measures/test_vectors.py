"""Centring, unit vectors, the checkerboard, and what is not defined."""

from itertools import combinations

import numpy as np
import pytest

from mechxl.measures.vectors import centre, cosine_matrix, finite, undefined, unit
from tests.measures.brute import cosine, noise


@pytest.mark.parametrize(
    ("h", "relation", "reason"),
    [
        (np.random.default_rng(0).normal(size=(4, 1, 3)), [0, 0, 0, 0], "one language"),
        (np.random.default_rng(0).normal(size=(3, 2, 3)), [0, 1, 2], "no relation has two facts"),
        (np.ones((4, 2, 3)), [0, 0, 1, 1], "one vector"),
        (np.full((4, 2, 3), 0.1, dtype=np.float32) * (1 + 1e-7 * np.arange(4)[:, None, None]), [0, 0, 0, 0], "vector"),
    ],
)
def test_what_is_not_defined_says_why(h, relation, reason):
    assert reason in undefined(h, np.array(relation))


def test_one_constant_language_is_enough_not_to_be_defined():
    h = np.random.default_rng(0).normal(size=(4, 2, 3))
    assert undefined(h, np.zeros(4, dtype=int)) == ""
    h[:, 1] = 1.0
    assert "one vector" in undefined(h, np.zeros(4, dtype=int))


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (np.inf, "infinite"), (0.0, "length 0")])
def test_vectors_without_a_direction_are_refused(value, message):
    h = np.ones((3, 2, 4))
    h[1, 0] = value
    with pytest.raises(ValueError, match=message):
        unit(h)
    if value != 0:
        with pytest.raises(ValueError, match=message):
            finite(h)


def test_centring_takes_off_one_mean_or_one_a_language():
    h, _, _ = noise(0)
    assert centre(h, "none") is h
    assert centre(h, "whole").mean(axis=(0, 1)) == pytest.approx(np.zeros(5), abs=1e-12)
    assert (centre(h, "whole") - h).std(axis=(0, 1)) == pytest.approx(np.zeros(5), abs=1e-12)
    assert centre(h, "per_language").mean(axis=0) == pytest.approx(np.zeros((3, 5)), abs=1e-12)


def test_unknown_centring_is_refused():
    with pytest.raises(ValueError, match="per_language"):
        centre(np.ones((2, 2, 2)), "mean")


def test_the_checkerboard_lists_languages_one_after_the_other():
    h, _, _ = noise(8, facts=3, languages=2)
    board = cosine_matrix(h)
    for (f, a), (g, b) in combinations([(f, a) for a in range(2) for f in range(3)], 2):
        assert board[a * 3 + f, b * 3 + g] == pytest.approx(cosine(h[f, a], h[g, b]), abs=1e-12)
