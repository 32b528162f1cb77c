"""Logistics in ln(step) with AR(1) residuals: one rise fitted to many curves, two rises fitted to one.

y = c + A / (1 + e^((m - x) / w)) + g u, x = ln(step), u a stationary AR(1) with correlation rho; for two rises a
second logistic is added. g = 1 + kappa 4 s (1 - s), with s the logistic from 0 to 1: noise may be larger where a curve
moves. The likelihood is the exact Gaussian one, profiled over (m, w, rho, kappa); c and the heights are in closed form.
Heights are never negative.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

MIDPOINTS, WIDTHS = 71, 10  # of the grid on which one rise is fitted
FEW_MIDPOINTS, FEW_WIDTHS = 40, 5  # of the grid of pairs, from which two rises are then improved
KAPPAS = (0.0, 1.0, 3.0, 9.0)  # by how much noise is larger where the curve moves fastest
RHOS = (0.0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.95, 0.99)
MOST_LEVERAGE = 0.8  # that counts: beyond it a residual says nothing of the noise
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


@dataclass(frozen=True)
class _White:
    """What one rho makes of a grid: innovations without their constant part, each scaled to length 1."""

    one: Float[np.ndarray, " point"]
    shapes: Float[np.ndarray, "shape point"]
    lines: Float[np.ndarray, "2 point"]

    @classmethod
    def of(cls, grid: Grid, rho: float, g: Float[np.ndarray, " point"]) -> "_White":
        one = whiten(1 / g, rho)
        straight = np.stack([grid.x, np.exp(grid.x - grid.x[-1])])
        rows = [_without(whiten(kind / g, rho), one) for kind in (grid.shapes(), straight)]
        lengths = [np.sqrt(np.maximum((kind**2).sum(axis=1, keepdims=True), 1e-12)) for kind in rows]
        return cls(one, rows[0] / lengths[0], rows[1] / lengths[1])


@lru_cache(maxsize=64)
def _whitened(x: bytes, midpoints: int, widths: int) -> tuple[_White, ...]:
    """For even noise, of each rho; kept, since many curves are evaluated at the same steps."""
    grid = Grid.of(np.frombuffer(x), midpoints, widths)
    return tuple(_White.of(grid, rho, np.ones(len(grid.x))) for rho in RHOS)


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
    whites = (_whitened(grid.x.tobytes(), len(grid.m), len(grid.w)) if g is None
              else [_White.of(grid, rho, g) for rho in RHOS])  # fmt: skip
    g = np.ones(points) if g is None else g
    best = np.full((len(grid.m) * len(grid.w), n), np.inf)
    best_rho = np.zeros(best.shape, dtype=np.int8)
    constant, lines, slopes = np.full(n, np.inf), np.full((2, n), np.inf), np.zeros((2, n))
    for number, (rho, white) in enumerate(zip(RHOS, whites, strict=True)):
        scale = _scale(rho, points)
        rest = _without(whiten(y / g, rho), white.one)
        total = np.maximum((rest**2).sum(axis=1), 1e-300)
        left = white.shapes @ rest.T
        np.maximum(left, 0, out=left)
        np.square(left, out=left)
        np.subtract(total, left, out=left)
        left *= scale
        better = left < best
        best_rho[better] = number
        np.copyto(best, left, where=better)
        gains = white.lines @ rest.T
        straight = scale * (total - gains**2)
        slopes = np.where(straight < lines, gains, slopes)
        lines, constant = np.minimum(lines, straight), np.minimum(constant, scale * total)
    like = _like(best, y, g)
    profile = like.reshape(len(grid.m), len(grid.w), n).max(axis=1)
    which = like.argmax(axis=0)
    m, w = _refined(grid.m, profile), grid.w[which % len(grid.w)]
    rho = np.array(RHOS)[best_rho[which, np.arange(n)]]
    c, a, sd = _linear(grid.x, y, m, w, rho, g)
    straightest = lines.argmin(axis=0)
    return Fits(
        c, a, m, w, rho, sd, g,
        aicc(like.max(axis=0), 7, points),
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
    x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], g: Float[np.ndarray, " point"]
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
    best = minimize(lambda v: _pair_loss(x, y, g, v), start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    v = best.x if best.fun < _pair_loss(x, y, g, start) else start
    m, w, rho = _unpacked(v)
    design = whiten(np.stack([np.ones(len(x)), *logistic(x, m, w)]) / g, rho).T
    c, first, second = map(float, _heights(design, whiten(y / g, rho)))
    if min(first, second) <= 0:
        return None
    rest = whiten(y / g, rho) - design @ np.array([c, first, second])
    like = np.array([-_pair_loss(x, y, g, v)])
    se = _midpoint_errors(x, np.array([first, second]), m, w, rho, rest, g)
    middle, width = (float(m[0]), float(m[1])), (float(w[0]), float(w[1]))
    sd = float(np.sqrt((rest**2).mean()))
    return Pair(c, (first, second), middle, width, rho, sd, g, float(aicc(like, 10, len(x))[0]), se)


def _unpacked(v: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    w = np.exp(v[[1, 3]])
    return np.array([v[0], v[0] + APART * w.sum() + v[2]]), w, float(v[4])


def _pair_loss(x: np.ndarray, y: np.ndarray, g: np.ndarray, v: np.ndarray) -> float:
    """Negative profile log likelihood of two rises, less its constants."""
    m, w, rho = _unpacked(v)
    *columns, target = whiten(np.stack([np.ones(len(x)), *logistic(x, m, w), y]) / g, rho)
    design = np.stack(columns).T
    rest = target - design @ _heights(design, target)
    squares = _scale(rho, len(x)) * float(rest @ rest)
    return -float(_like(np.array([squares]), y[None], g)[0])


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
    grid, even = Grid.of(x, FEW_MIDPOINTS, FEW_WIDTHS), bool(np.ptp(g) < 1e-12)
    m, w = np.repeat(grid.m, FEW_WIDTHS), np.tile(grid.w, FEW_MIDPOINTS)
    apart = (m[None, :] - m[:, None]) - APART * (w[:, None] + w[None, :])
    best, start = np.inf, None
    for number, rho in enumerate(RHOS):
        white = _whitened(x.tobytes(), FEW_MIDPOINTS, FEW_WIDTHS)[number] if even else _White.of(grid, rho, g)
        overlap = _overlaps(x.tobytes())[number] if even else white.shapes @ white.shapes.T
        rest = _without(whiten(y[None] / g, rho), white.one)[0]
        gain = white.shapes @ rest
        free = 1 - overlap**2
        with np.errstate(divide="ignore", invalid="ignore"):
            first = (gain[:, None] - overlap * gain[None, :]) / free
            second = (gain[None, :] - overlap * gain[:, None]) / free
            both = first * gain[:, None] + second * gain[None, :]
        both[(apart <= 0) | (free < 1e-3) | (first <= 0) | (second <= 0)] = -np.inf
        i, j = np.unravel_index(int(both.argmax()), both.shape)
        squares = _scale(rho, len(x)) * (rest @ rest - both[i, j])
        if squares < best:
            best, start = squares, np.array([m[i], np.log(w[i]), apart[i, j], np.log(w[j]), rho])
    return start


@lru_cache(maxsize=64)
def _overlaps(x: bytes) -> tuple[np.ndarray, ...]:
    return tuple(white.shapes @ white.shapes.T for white in _whitened(x, FEW_MIDPOINTS, FEW_WIDTHS))


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
    """Standard errors of m by a sandwich (HC3, MacKinnon and White 1985), at most the whole range."""
    jacobian, hat = leverage(x, a, m, w, rho, g)
    bread = np.linalg.pinv(jacobian.T @ jacobian)
    covariance = bread @ (jacobian * (rest / (1 - hat))[:, None] ** 2).T @ jacobian @ bread
    first, second = np.minimum(np.sqrt(np.maximum(np.diag(covariance)[[2, 5]], 0)), x[-1] - x[0])
    return float(first), float(second)
