"""Two logistics in ln(step) with AR(1) residuals, fitted to one curve: a rise in two stages.

The model is that of `logistics.py` with a second logistic. Heights are never negative.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from mechxl.measures.logistics import (
    RHOS,
    UNSEEN,
    Grid,
    aicc,
    leverage,
    likelihood_scale,
    logistic,
    noise_shape,
    profile_likelihood,
    white_lengths,
    whiten,
    whiten_back,
    without_constant,
)

FEW_MIDPOINTS, FEW_WIDTHS = 40, 5  # of the grid of pairs, from which two rises are then improved
# two rises so many times higher than the noise at rest, of which one has so few points within two widths of its
# midpoint: noise may grow there unseen
HIGH, FEW_INSIDE = 32.0, 4
# a rise so much narrower than the other may be a jump of the noise within a wider one: the standard error of its
# midpoint is at least this share of the other's width
NARROW = 0.5
SMALL = 1e-7  # a step for slopes
INDEPENDENT = 1e-6  # least determinant of scaled columns whose weights are found by the normal equations
APART = 1.317  # (m2 - m1) / (w1 + w2) above which the sum of two equal logistics rises fastest at two places


@dataclass(frozen=True)
class Pair:
    """Two rises fitted to one curve; the first is the earlier one.

    Attributes:
        c, A, m, w, rho, sd, g: as in Fits; A, m and w of both rises.
        aicc: of the sum of both logistics.
        se: standard errors of both midpoints, which let noise be larger where the curve moves.
    """

    c: float
    A: tuple[float, float]
    m: tuple[float, float]
    w: tuple[float, float]
    rho: float
    sd: float
    g: Float[np.ndarray, " point"]
    aicc: float
    se: tuple[float, float]


def fit_pair(
    x: Float[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    g: Float[np.ndarray, " point"],
) -> Pair | None:
    """The most likely two rises that stand apart (APART); None where no two such rises fit better than one.

    All pairs of a coarse grid are tried for every rho; the best is then improved continuously.

    Args:
        x: ln(step).
        y: the curve.
        g: how large noise is at each point, relatively.
    """
    start = _coarse_pair(x, y, g)
    if start is None:
        return None
    narrow, wide = np.log(Grid.of(x, 2, 2).w)
    # the second midpoint by its distance, beyond what keeps both apart
    bounds = [(x[0], x[-1]), (narrow, wide), (0.0, float(x[-1] - x[0])), (narrow, wide), (0.0, 0.99)]
    best = minimize(
        _losses_and_slopes, start, (x, y, g, np.array(bounds)[:, 1]), "L-BFGS-B", True,
        bounds=bounds, options={"maxiter": 60},
    )  # fmt: skip
    v = best.x if best.fun < _pair_losses(start[None], x, y, g)[0] else start
    (m,), (w,), (rho,) = _unpacked(v[None])
    design = whiten(np.stack([np.ones(len(x)), *logistic(x, m, w)]) / g, rho).T
    c, first, second = map(float, _heights(design, whiten(y / g, rho)))
    if min(first, second) <= 0:
        return None
    rest = whiten(y / g, rho) - design @ np.array([c, first, second])
    like = -_pair_losses(v[None], x, y, g)
    se = _midpoint_errors(x, np.array([first, second]), m, w, rho, rest, g)
    middle, width = (float(m[0]), float(m[1])), (float(w[0]), float(w[1]))
    sd = float(np.sqrt((rest**2).mean()))
    return Pair(c, (first, second), middle, width, float(rho), sd, g, float(aicc(like, 10, len(x))[0]), se)


def _unpacked(v: Float[np.ndarray, "try 5"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Midpoints and widths of both rises, and rho."""
    w = np.exp(v[:, [1, 3]])
    return np.stack([v[:, 0], v[:, 0] + APART * w.sum(axis=1) + v[:, 2]], axis=1), w, v[:, 4]


def _losses_and_slopes(
    v: np.ndarray, x: np.ndarray, y: np.ndarray, g: np.ndarray, highest: np.ndarray
) -> tuple[float, np.ndarray]:
    """The loss of two rises and its slopes by finite differences, all computed together."""
    moves = np.where(v + SMALL > highest, -SMALL, SMALL)
    losses = _pair_losses(np.vstack([v, v + np.diag(moves)]), x, y, g)
    return float(losses[0]), (losses[1:] - losses[0]) / moves


def _pair_losses(
    v: Float[np.ndarray, "try 5"], x: np.ndarray, y: np.ndarray, g: np.ndarray
) -> Float[np.ndarray, " try"]:
    """Negative profile log likelihood of two rises, less its constants."""
    m, w, rho = _unpacked(v)
    rows = np.empty((len(v), 4, len(x)))
    rows[:, 0], rows[:, 3] = 1, y - y.mean()
    rows[:, 1:3] = logistic(x, m.ravel(), w.ravel()).reshape(len(v), 2, len(x))
    rows /= g
    white = rows.copy()
    white[..., 1:] -= rho[:, None, None] * rows[..., :-1]
    white[..., 0] *= np.sqrt(1 - rho**2)[:, None]
    squares = _least_squares(white) * (1 - rho**2) ** (-1 / len(x))
    return -profile_likelihood(squares, y[None], g)


def _least_squares(white: Float[np.ndarray, "try 4 point"]) -> Float[np.ndarray, " try"]:
    """The sums of squares that c and both heights leave of the last row, as `_heights` has them."""
    products = white @ white.transpose(0, 2, 1)
    gram, target = products[:, :3, :3], products[:, :3, 3]
    apart = np.linalg.det(gram) > INDEPENDENT * np.prod(np.diagonal(gram, axis1=1, axis2=2), axis=1)
    weights = np.full((len(white), 3), -1.0)
    weights[apart] = np.linalg.solve(gram[apart], target[apart][..., None])[..., 0]
    for number in np.flatnonzero(weights[:, 1:].min(axis=1) < 0):
        weights[number] = _heights(white[number, :3].T, white[number, 3])
    rest = white[:, 3] - np.einsum("ij,ijk->ik", weights, white[:, :3])
    return (rest**2).sum(axis=1)


def _heights(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    """c and both heights by least squares; a height that would be negative is 0."""
    weights = np.linalg.lstsq(design, target, rcond=1e-10)[0]
    if weights[1:].min() < 0:
        keep = [0, 1 + int(weights[1:].argmax())]
        weights = np.zeros(3)
        weights[keep] = np.linalg.lstsq(design[:, keep], target, rcond=1e-10)[0]
        weights[1:] = np.maximum(weights[1:], 0)
    return weights


def _coarse_pair(x: np.ndarray, y: np.ndarray, g: np.ndarray) -> np.ndarray | None:
    """Where the search for two rises begins: the best pair of the coarse grid, in the terms of `_unpacked`."""
    grid, one = Grid.of(x, FEW_MIDPOINTS, FEW_WIDTHS), 1 / g
    m, w, shapes = np.repeat(grid.m, FEW_WIDTHS), np.tile(grid.w, FEW_MIDPOINTS), grid.shapes() / g
    first, second = np.nonzero((m[None, :] - m[:, None]) > APART * (w[:, None] + w[None, :]))
    if not len(first):
        return None
    best, start = np.inf, None
    for rho in RHOS:
        constant = whiten(one, rho)
        rest = without_constant(whiten(y[None] / g, rho), constant)[0]
        scaled = shapes / white_lengths(shapes, one, rho)[:, None]
        gain = scaled @ whiten_back(rest, rho)
        white = without_constant(whiten(scaled, rho), constant)
        overlap = (white @ white.T)[first, second]
        gains, free = (gain[first], gain[second]), 1 - overlap**2
        weights = gains[0] - overlap * gains[1], gains[1] - overlap * gains[0]
        possible = (free > 1e-3) & (weights[0] > 0) & (weights[1] > 0)
        both = np.full(len(first), -np.inf)
        np.divide(weights[0] * gains[0] + weights[1] * gains[1], free, out=both, where=possible)
        top = int(both.argmax())
        squares = likelihood_scale(rho, len(x)) * (rest @ rest - both[top])
        if squares < best:
            i, j = first[top], second[top]
            apart = m[j] - m[i] - APART * (w[i] + w[j])
            best, start = squares, np.array([m[i], np.log(w[i]), apart, np.log(w[j]), rho])
    return start


def _midpoint_errors(
    x: np.ndarray, a: np.ndarray, m: np.ndarray, w: np.ndarray, rho: float, rest: np.ndarray, g: np.ndarray
) -> tuple[float, float]:
    """Standard errors of m by a sandwich (HC3, MacKinnon and White 1985), at most the whole range.

    Few residuals are small by chance: each counts at least as much as their mean square, and more where noise may grow
    unseen (HIGH, FEW_INSIDE). A rise that is much narrower than the other has no small error (NARROW).
    """
    sd = float(np.sqrt((rest**2).mean()))
    inside = (np.abs(x - m[:, None]) < 2 * w[:, None]).sum(axis=1).min()
    unseen = np.ptp(g) < 1e-12 and a.sum() > HIGH * sd and inside <= FEW_INSIDE
    least = sd * noise_shape(logistic(x, m, w), UNSEEN if unseen else 0.0)
    jacobian, hat = leverage(x, a, m, w, rho, g)
    bread = np.linalg.pinv(jacobian.T @ jacobian)
    covariance = bread @ (jacobian * np.maximum(np.abs(rest) / (1 - hat), least)[:, None] ** 2).T @ jacobian @ bread
    errors, other = np.sqrt(np.maximum(np.diag(covariance)[[2, 5]], 0)), w[::-1]
    errors = np.where(w < NARROW * other, np.maximum(errors, NARROW * other), errors)
    first, second = np.minimum(errors, x[-1] - x[0])
    return float(first), float(second)
