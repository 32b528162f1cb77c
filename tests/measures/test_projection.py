"""The map's plane against scikit-free linear algebra, planted planes, and turns that must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechxl.measures.projection import aligned, principal_plane

SEEDS = st.integers(0, 10**6)


def turn(rng: np.random.Generator, d: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_a_planted_plane_is_found_whole(seed):
    rng = np.random.default_rng(seed)
    flat = rng.normal(size=(40, 2)) * [3, 1]
    h = np.pad(flat, ((0, 0), (0, 5))) @ turn(rng, 7) + rng.normal(size=7)
    found, share = principal_plane(h, h[:9])
    assert share == pytest.approx(1)
    np.testing.assert_allclose(distances(found), distances(flat[:9]), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_the_share_is_that_of_the_two_largest_singular_values(seed):
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(30, 6)) * np.arange(1, 7)
    found, share = principal_plane(h, h)
    squares = np.linalg.svd(h - h.mean(axis=0), compute_uv=False) ** 2
    assert share == pytest.approx(squares[:2].sum() / squares.sum())
    np.testing.assert_allclose((found**2).sum(axis=0), squares[:2])
    turned, again = principal_plane(h @ turn(rng, 6), h @ turn(np.random.default_rng(seed), 6))
    assert again == pytest.approx(share)
    assert turned.shape == found.shape


def test_what_can_not_be_mapped_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        principal_plane(np.full((4, 3), np.nan), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="all vectors are the same"):
        principal_plane(np.ones((4, 3)), np.ones((1, 3)))


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_maps_that_differ_by_turns_and_mirrors_become_the_last_one(seed):
    rng = np.random.default_rng(seed)
    last = rng.normal(size=(8, 2))
    found = aligned([last @ turn(rng, 2) for _ in range(4)] + [last])
    for points in found:
        np.testing.assert_allclose(points, last, atol=1e-9)


def test_aligning_keeps_distances():
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(8, 2)) for _ in range(3)]
    for before, after in zip(maps, aligned(maps), strict=True):
        np.testing.assert_allclose(distances(after), distances(before))
