"""A logistic in ln(step) with AR(1) residuals, fitted to many curves at once.

y = c + A / (1 + e^((m - x) / w)) + g u, x = ln(step), u a stationary AR(1) with correlation rho. g = 1 + kappa 4 s (1 -
s), with s the logistic from 0 to 1: noise may be larger where a curve moves. The likelihood is the exact Gaussian one,
profiled over (m, w, rho, kappa); c and A are in closed form. A is never negative.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MIDPOINTS, WIDTHS = 71, 10  # of the grid on which one rise is fitted
KAPPAS = (0.0, 1.0, 3.0, 9.0)  # by how much noise is larger where the curve moves fastest
RHOS = (0.0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.95, 0.99)
UNSEEN = 3.0  # the kappa of noise where too few points show it
MOST_LEVERAGE = 0.8  # that counts: beyond it a residual says nothing of the noise
HOPELESS = 15.0  # log likelihood below the best one


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


def white_lengths(
    rows: Float[np.ndarray, "row point"], one: Float[np.ndarray, " point"], rho: float
) -> Float[np.ndarray, " row"]:
    """Of each row's innovations, without their constant part (that of `one`); the innovations are never computed."""
    squares = np.einsum("ij,ij->i", rows, rows)
    lagged = np.einsum("ij,ij->i", rows[:, 1:], rows[:, :-1])
    whole = squares * (1 + rho**2) - 2 * rho * lagged - rho**2 * (rows[:, 0] ** 2 + rows[:, -1] ** 2)
    constant = whiten(one, rho)
    return np.sqrt(np.maximum(whole - (rows @ whiten_back(constant, rho)) ** 2 / (constant @ constant), 1e-12))


def whiten_back(innovations: Float[np.ndarray, "*some point"], rho: float) -> Float[np.ndarray, "*some point"]:
    """The transpose of `whiten`: rows times this are the rows' innovations times these."""
    out = innovations.copy()
    out[..., 0] *= np.sqrt(1 - rho**2)
    out[..., :-1] -= rho * innovations[..., 1:]
    return out


def without_constant(
    rows: Float[np.ndarray, "row point"], one: Float[np.ndarray, " point"]
) -> Float[np.ndarray, "row point"]:
    """Innovations of rows without those of a constant (`one`)."""
    return rows - np.outer(rows @ one, one) / (one @ one)


def likelihood_scale(rho: float, points: int) -> float:
    """By what a sum of squares is multiplied so that the likelier of two rhos has the smaller one."""
    return (1 - rho**2) ** (-1 / points)


def profile_likelihood(
    squares: np.ndarray, y: Float[np.ndarray, "curve point"], g: Float[np.ndarray, " point"]
) -> np.ndarray:
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
        root = np.sqrt(likelihood_scale(rho, points))
        rest = root * without_constant(whiten(y / g, rho), whiten(one, rho))
        total, taken_back = np.maximum((rest**2).sum(axis=1), 1e-300), whiten_back(rest, rho).T
        scaled = shapes / white_lengths(shapes, one, rho)[:, None]
        by_rho.append((total, taken_back, scaled))
        left = scaled @ taken_back
        np.maximum(left, 0, out=left)
        np.square(left, out=left)
        np.minimum(best, np.subtract(total, left, out=left), out=best)
        gains = straight_lines @ taken_back / white_lengths(straight_lines, one, rho)[:, None]
        straight = total - gains**2
        slopes = np.where(straight < lines, gains, slopes)
        lines, constant = np.minimum(lines, straight), np.minimum(constant, total)
    which = best.argmin(axis=0)
    profile = profile_likelihood(best.reshape(len(grid.m), len(grid.w), n).min(axis=1), y, g)
    m, w = _refined(grid.m, profile), grid.w[which % len(grid.w)]
    there = [total - np.maximum((scaled[which] * back.T).sum(axis=1), 0) ** 2 for total, back, scaled in by_rho]
    rho = np.array(RHOS)[np.argmin(there, axis=0)]
    c, a, sd = _linear(grid.x, y, m, w, rho, g)
    straightest = lines.argmin(axis=0)
    return Fits(
        c, a, m, w, rho, sd, g,
        aicc(profile.max(axis=0), 7, points),
        aicc(profile_likelihood(constant, y, g), 4, points),
        aicc(profile_likelihood(lines.min(axis=0), y, g), 5, points),
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
