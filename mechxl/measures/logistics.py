"""Logistics in ln(step) with AR(1) residuals: one rise fitted to many curves, two rises fitted to one.

y = c + A / (1 + e^((m - x) / w)) + g u, x = ln(step), u a stationary AR(1) with correlation rho; for two rises a
second logistic is added. g = 1 + kappa 4 s (1 - s), with s the logistic from 0 to 1: noise may be larger where a curve
moves. The likelihood is the exact Gaussian one, profiled over (m, w, rho, kappa); c and the heights are in closed form.
Heights are never negative.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

MIDPOINTS, WIDTHS = 71, 10  # of the grid on which one rise is fitted
FEW_MIDPOINTS, FEW_WIDTHS = 40, 5  # of the grid of pairs, from which two rises are then improved
KAPPAS = (0.0, 1.0, 3.0, 9.0)  # by how much noise is larger where the curve moves fastest
RHOS = (0.0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.95, 0.99)
UNSEEN = 3.0  # the kappa of noise where too few points show it
# two rises so many times higher than the noise at rest, of which one has so few points within two widths of its
# midpoint: noise may grow there unseen
HIGH, FEW_INSIDE = 32.0, 4
MOST_LEVERAGE = 0.8  # that counts: beyond it a residual says nothing of the noise
SMALL = 1e-7  # a step for slopes
INDEPENDENT = 1e-6  # least determinant of scaled columns whose weights are found by the normal equations
HOPELESS = 15.0  # log likelihood below the best one
APART = 1.317  # (m2 - m1) / (w1 + w2) above which the sum of two equal logistics rises fastest at two places


@dataclass(frozen=True)
class Grid:
    """Where logistics are tried, for curves at given x; made once for many curves."""

    x: Float[np.ndarray, " point"]
    m: Float[np.ndarray, " midpoint"]
    w: Float[np.ndarray, " width"]

    @classmethod
    def of(cls, x: Float[np.ndarray, " point"], midpoints: int = MIDPOINTS, widths: int = WIDTHS) -> "Grid":
        """For a window: midpoints over its range, widths from half its smallest spacing to a third of its range."""
        span = x[-1] - x[0]
        narrow = max(np.diff(x).min() / 2, span / 200)
        return cls(x, np.linspace(x[0], x[-1], midpoints), np.geomspace(narrow, span / 3, widths))

    def between(self, low: float, high: float) -> "Grid":
        """The same widths, and the midpoints from low to high, with one more on both sides; at least three."""
        first, last = np.searchsorted(self.m, [low, high])
        begin = min(max(first - 1, 0), len(self.m) - 3)
        return Grid(self.x, self.m[begin : max(last + 2, begin + 3)], self.w)

    def shapes(self) -> Float[np.ndarray, "shape point"]:
        """Logistics from 0 to 1, midpoint by midpoint."""
        m, w = np.repeat(self.m, len(self.w)), np.tile(self.w, len(self.m))
        return logistic(self.x, m, w)


@dataclass(frozen=True)
class Fits:
    """One rise fitted to each of several curves on one window, beside its rivals without a rise at any one step.

    Attributes:
        c, A, m, w, rho, sd: of each curve; sd: of the innovations where g is 1 (maximum likelihood).
        g: how large noise is at each point, relatively.
        aicc: of the logistic (Hurvich and Tsai 1989).
        constant, lines: AICc of a constant, and the smaller one of a line in ln(step) and a line in step.
        line_rises: whether that line rises.
        profile: largest log likelihood at each midpoint of the grid.
    """

    c: Float[np.ndarray, " curve"]
    A: Float[np.ndarray, " curve"]
    m: Float[np.ndarray, " curve"]
    w: Float[np.ndarray, " curve"]
    rho: Float[np.ndarray, " curve"]
    sd: Float[np.ndarray, " curve"]
    g: Float[np.ndarray, " point"]
    aicc: Float[np.ndarray, " curve"]
    constant: Float[np.ndarray, " curve"]
    lines: Float[np.ndarray, " curve"]
    line_rises: np.ndarray
    profile: Float[np.ndarray, "midpoint curve"]


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


def logistic(
    x: Float[np.ndarray, " point"], m: Float[np.ndarray, " curve"], w: Float[np.ndarray, " curve"]
) -> Float[np.ndarray, "curve point"]:
    """1 / (1 + e^((m - x) / w)), a curve for each (m, w)."""
    return 1 / (1 + np.exp(-np.clip((x - m[:, None]) / w[:, None], -60, 60)))


def whiten(values: Float[np.ndarray, "*some point"], rho: float) -> Float[np.ndarray, "*some point"]:
    """Innovations of a stationary AR(1): sqrt(1 - rho^2) u_1, then u_t - rho u_(t-1)."""
    out = values.copy()
    out[..., 1:] -= rho * values[..., :-1]
    out[..., 0] *= np.sqrt(1 - rho**2)
    return out


def aicc(log_likelihood: np.ndarray, parameters: int, points: int) -> np.ndarray:
    """Akaike's criterion, corrected for few points; the variance and rho are among the parameters."""
    return -2 * log_likelihood + 2 * parameters * points / max(points - parameters - 1, 0.5)


def _lengths(
    rows: Float[np.ndarray, "row point"], one: Float[np.ndarray, " point"], rho: float
) -> Float[np.ndarray, " row"]:
    """Of each row's innovations, without their constant part (that of `one`); the innovations are never computed."""
    squares = np.einsum("ij,ij->i", rows, rows)
    lagged = np.einsum("ij,ij->i", rows[:, 1:], rows[:, :-1])
    whole = squares * (1 + rho**2) - 2 * rho * lagged - rho**2 * (rows[:, 0] ** 2 + rows[:, -1] ** 2)
    constant = whiten(one, rho)
    return np.sqrt(np.maximum(whole - (rows @ _back(constant, rho)) ** 2 / (constant @ constant), 1e-12))


def _back(innovations: Float[np.ndarray, "*some point"], rho: float) -> Float[np.ndarray, "*some point"]:
    """The transpose of `whiten`: rows times this are the rows' innovations times these."""
    out = innovations.copy()
    out[..., 0] *= np.sqrt(1 - rho**2)
    out[..., :-1] -= rho * innovations[..., 1:]
    return out


def _without(rows: Float[np.ndarray, "row point"], one: Float[np.ndarray, " point"]) -> Float[np.ndarray, "row point"]:
    return rows - np.outer(rows @ one, one) / (one @ one)


def _scale(rho: float, points: int) -> float:
    """By what a sum of squares is multiplied so that the likelier of two rhos has the smaller one."""
    return (1 - rho**2) ** (-1 / points)


def _like(squares: np.ndarray, y: Float[np.ndarray, "curve point"], g: Float[np.ndarray, " point"]) -> np.ndarray:
    """Profile log likelihood of scaled sums of squares, less its constants."""
    points = y.shape[1]
    floor = 1e-12 * np.maximum(((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1), 1e-300)
    return -points / 2 * np.log(np.maximum(squares, floor) / points) - np.log(g).sum()


def noise_shape(s: Float[np.ndarray, "rise point"], kappa: float) -> Float[np.ndarray, " point"]:
    """g: 1 where the curve rests, 1 + kappa where one of its rises is half done."""
    return 1 + kappa * (4 * s * (1 - s)).max(axis=0)


def fit_rises(grid: Grid, y: Float[np.ndarray, "curve point"], g: Float[np.ndarray, " point"] | None = None) -> Fits:
    """The most likely rising logistic of each curve, its AR(1) residuals and its AICc beside its rivals'.

    Args:
        grid: where logistics are tried.
        y: the curves.
        g: how large noise is at each point, relatively; None: equally large.
    """
    n, points = y.shape
    g = np.ones(points) if g is None else g
    one = 1 / g
    shapes, straight_lines = grid.shapes() / g, np.stack([grid.x, np.exp(grid.x - grid.x[-1])]) / g
    best, by_rho = np.full((len(shapes), n), np.inf), list[tuple[np.ndarray, ...]]()
    constant, lines, slopes = np.full(n, np.inf), np.full((2, n), np.inf), np.zeros((2, n))
    for rho in RHOS:
        root = np.sqrt(_scale(rho, points))
        rest = root * _without(whiten(y / g, rho), whiten(one, rho))
        total, taken_back = np.maximum((rest**2).sum(axis=1), 1e-300), _back(rest, rho).T
        scaled = shapes / _lengths(shapes, one, rho)[:, None]
        by_rho.append((total, taken_back, scaled))
        left = scaled @ taken_back
        np.maximum(left, 0, out=left)
        np.square(left, out=left)
        np.minimum(best, np.subtract(total, left, out=left), out=best)
        gains = straight_lines @ taken_back / _lengths(straight_lines, one, rho)[:, None]
        straight = total - gains**2
        slopes = np.where(straight < lines, gains, slopes)
        lines, constant = np.minimum(lines, straight), np.minimum(constant, total)
    which = best.argmin(axis=0)
    profile = _like(best.reshape(len(grid.m), len(grid.w), n).min(axis=1), y, g)
    m, w = _refined(grid.m, profile), grid.w[which % len(grid.w)]
    there = [total - np.maximum((scaled[which] * back.T).sum(axis=1), 0) ** 2 for total, back, scaled in by_rho]
    rho = np.array(RHOS)[np.argmin(there, axis=0)]
    c, a, sd = _linear(grid.x, y, m, w, rho, g)
    straightest = lines.argmin(axis=0)
    return Fits(
        c, a, m, w, rho, sd, g,
        aicc(profile.max(axis=0), 7, points),
        aicc(_like(constant, y, g), 4, points),
        aicc(_like(lines.min(axis=0), y, g), 5, points),
        slopes[straightest, np.arange(n)] > 0,
        profile,
    )  # fmt: skip


def _refined(m: Float[np.ndarray, " midpoint"], profile: Float[np.ndarray, "midpoint curve"]) -> np.ndarray:
    """The top of a parabola through the best midpoint and its neighbours."""
    peak = np.clip(profile.argmax(axis=0), 1, len(m) - 2)
    curve = np.arange(profile.shape[1])
    left, middle, right = (profile[peak + move, curve] for move in (-1, 0, 1))
    curvature = left - 2 * middle + right
    with np.errstate(divide="ignore", invalid="ignore"):
        move = np.where(curvature < -1e-9, 0.5 * (left - right) / curvature, 0.0)
    edge = profile.argmax(axis=0) != peak
    return np.where(edge, m[profile.argmax(axis=0)], m[peak] + np.clip(move, -1, 1) * (m[1] - m[0]))


def _linear(
    x: np.ndarray, y: np.ndarray, m: np.ndarray, w: np.ndarray, rho: np.ndarray, g: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c, A and the innovations' standard deviation, given the rest."""
    s = logistic(x, m, w)
    first = np.sqrt(1 - rho**2)[:, None]

    def white(v: np.ndarray) -> np.ndarray:
        return np.concatenate([first * v[:, :1], v[:, 1:] - rho[:, None] * v[:, :-1]], axis=1)

    one, shape, target = white(np.ones_like(y) / g), white(s / g), white(y / g)
    oo, os, ss = ((a * b).sum(axis=1) for a, b in ((one, one), (one, shape), (shape, shape)))
    oy, sy = (one * target).sum(axis=1), (shape * target).sum(axis=1)
    det = np.maximum(oo * ss - os**2, 1e-12)
    a = np.maximum((oo * sy - os * oy) / det, 0)
    c = (oy - a * os) / oo
    rest = target - c[:, None] * one - a[:, None] * shape
    return c, a, np.sqrt((rest**2).mean(axis=1))


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
    return -_like(squares, y[None], g)


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
        rest = _without(whiten(y[None] / g, rho), constant)[0]
        scaled = shapes / _lengths(shapes, one, rho)[:, None]
        gain = scaled @ _back(rest, rho)
        white = _without(whiten(scaled, rho), constant)
        overlap = (white @ white.T)[first, second]
        gains, free = (gain[first], gain[second]), 1 - overlap**2
        weights = gains[0] - overlap * gains[1], gains[1] - overlap * gains[0]
        possible = (free > 1e-3) & (weights[0] > 0) & (weights[1] > 0)
        both = np.full(len(first), -np.inf)
        np.divide(weights[0] * gains[0] + weights[1] * gains[1], free, out=both, where=possible)
        top = int(both.argmax())
        squares = _scale(rho, len(x)) * (rest @ rest - both[top])
        if squares < best:
            i, j = first[top], second[top]
            apart = m[j] - m[i] - APART * (w[i] + w[j])
            best, start = squares, np.array([m[i], np.log(w[i]), apart, np.log(w[j]), rho])
    return start


def leverage(
    x: Float[np.ndarray, " point"],
    a: Float[np.ndarray, " rise"],
    m: Float[np.ndarray, " rise"],
    w: Float[np.ndarray, " rise"],
    rho: float,
    g: Float[np.ndarray, " point"],
) -> tuple[Float[np.ndarray, "point parameter"], Float[np.ndarray, " point"]]:
    """The whitened Jacobian of c, A, m, w, and how much each innovation determines its own fit (0 to 1).

    A residual is smaller than the noise was by a factor of 1 - leverage, above all where a narrow rise has few points.
    """
    columns = [np.ones(len(x))]
    for height, middle, width in zip(a, m, w, strict=True):
        s = logistic(x, np.array([middle]), np.array([width]))[0]
        slope = height * s * (1 - s) / width
        columns += [s, -slope, -slope * (x - middle) / width]
    jacobian = whiten(np.stack(columns) / g, rho).T
    hat = np.einsum("ij,jk,ik->i", jacobian, np.linalg.pinv(jacobian.T @ jacobian), jacobian)
    return jacobian, np.clip(hat, 0, MOST_LEVERAGE)


def _midpoint_errors(
    x: np.ndarray, a: np.ndarray, m: np.ndarray, w: np.ndarray, rho: float, rest: np.ndarray, g: np.ndarray
) -> tuple[float, float]:
    """Standard errors of m by a sandwich (HC3, MacKinnon and White 1985), at most the whole range.

    Few residuals are small by chance: each counts at least as much as their mean square, and more where noise may grow
    unseen (HIGH, FEW_INSIDE).
    """
    sd = float(np.sqrt((rest**2).mean()))
    inside = (np.abs(x - m[:, None]) < 2 * w[:, None]).sum(axis=1).min()
    unseen = np.ptp(g) < 1e-12 and a.sum() > HIGH * sd and inside <= FEW_INSIDE
    least = sd * noise_shape(logistic(x, m, w), UNSEEN if unseen else 0.0)
    jacobian, hat = leverage(x, a, m, w, rho, g)
    bread = np.linalg.pinv(jacobian.T @ jacobian)
    covariance = bread @ (jacobian * np.maximum(np.abs(rest) / (1 - hat), least)[:, None] ** 2).T @ jacobian @ bread
    first, second = np.minimum(np.sqrt(np.maximum(np.diag(covariance)[[2, 5]], 0)), x[-1] - x[0])
    return float(first), float(second)
