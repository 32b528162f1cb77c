"""A rise in a curve: a logistic in ln(step) with AR(1) residuals, its rivals, and its residual bootstrap.

x = ln(step), and from the minimum of the 3-point running median on y = c + A / (1 + e^((m - x) / w)) plus AR(1)
residuals. Fits are profile likelihoods on a grid of (m, w, rho) with c and A in closed form, many curves at once; m is
refined by a parabola.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Num

LEAST_RISE = 0.1  # in the units of accuracies and scores
LEAST_SDS = 4.0  # of the innovations; 5 finds .63 of the rises that are 5 of them high, in white noise, and 4 finds .99
# by how much the AICc must be better, set on planted curves (docs/phases.md)
LEAST_AICC = 3.0
SEARCHED = 10.0  # times ln(all evaluations / those from the minimum on): a late minimum of noise looks like a rise
WANDERING, WANDERS = 0.7, 10.0  # residuals of a higher rho wander, and a wandering curve looks like a rise too
FEWEST_POINTS = 12  # with fewer the AICc prices a logistic so dearly that clean rises are refused
DRAWS = 200
MIDPOINTS, WIDTHS, RHOS = 71, 10, (0.0, 0.2, 0.4, 0.6, 0.75, 0.87, 0.95, 0.99)
Outcome = Literal["transition", "not finished", "no transition"]


@dataclass(frozen=True)
class Grid:
    """Where logistics are tried, for curves at given x; made once for many curves."""

    x: Float[np.ndarray, " point"]
    m: Float[np.ndarray, " midpoint"]
    w: Float[np.ndarray, " width"]

    @classmethod
    def of(cls, x: Float[np.ndarray, " point"]) -> "Grid":
        """For a window: midpoints over its range, widths from half its smallest spacing to a third of its range."""
        span = x[-1] - x[0]
        narrow = max(np.diff(x).min() / 2, span / 200)
        return cls(x, np.linspace(x[0], x[-1], MIDPOINTS), np.geomspace(narrow, span / 3, WIDTHS))

    def shapes(self) -> Float[np.ndarray, "shape point"]:
        """Logistics from 0 to 1, midpoint by midpoint."""
        z = (self.x - self.m[:, None, None]) / self.w[:, None]
        return (1 / (1 + np.exp(-np.clip(z, -60, 60)))).reshape(-1, len(self.x))


@dataclass(frozen=True)
class Fits:
    """Logistics fitted to curves on one window.

    Attributes:
        c, A, m, w, rho, sd: of each curve; sd: of the innovations (maximum likelihood).
        aicc: of the logistic less the smallest of constant's and lines' (Hurvich and Tsai 1989); negative: the logistic
            is better.
        profile: largest log likelihood at each midpoint of the grid.
    """

    c: Float[np.ndarray, " curve"]
    A: Float[np.ndarray, " curve"]
    m: Float[np.ndarray, " curve"]
    w: Float[np.ndarray, " curve"]
    rho: Float[np.ndarray, " curve"]
    sd: Float[np.ndarray, " curve"]
    aicc: Float[np.ndarray, " curve"]
    profile: Float[np.ndarray, "midpoint curve"]


def whiten(values: Float[np.ndarray, "*some point"], rho: float) -> Float[np.ndarray, "*some point"]:
    """Innovations of a stationary AR(1): sqrt(1 - rho^2) u_1, then u_t - rho u_(t-1)."""
    out = values.copy()
    out[..., 1:] -= rho * values[..., :-1]
    out[..., 0] *= np.sqrt(1 - rho**2)
    return out


def fit_rises(grid: Grid, y: Float[np.ndarray, "curve point"]) -> Fits:
    """The most likely rising logistic of each curve, its AR(1) residuals and its AICc against constant and line."""
    n, points = y.shape
    shapes, ones = grid.shapes(), np.ones(points)
    best = np.full(
        (len(shapes), n), np.inf
    )  # residual sums of squares, each so scaled that the likelier is the smaller
    best_rho = np.zeros((len(shapes), n), dtype=np.int8)
    flat = np.full((3, n), np.inf)  # constant, line in ln(step), line in step
    for number, rho in enumerate(RHOS):
        scale = (1 - rho**2) ** (-1 / points)
        white_y, white_one = whiten(y, rho), whiten(ones, rho)
        rest = _without(white_y, white_one)
        total = np.maximum((rest**2).sum(axis=1), 1e-300)
        s = _without(whiten(shapes, rho), white_one)
        s /= np.sqrt(np.maximum((s**2).sum(axis=1, keepdims=True), 1e-12))
        gain = s @ rest.T
        np.maximum(gain, 0, out=gain)
        np.square(gain, out=gain)
        left = np.subtract(total, gain, out=gain)
        left *= scale
        better = left < best
        best_rho[better] = number
        np.copyto(best, left, where=better)
        lines = _without(whiten(np.stack([grid.x, np.exp(grid.x)]), rho), white_one)
        gains = (lines @ rest.T) ** 2 / (lines**2).sum(axis=1, keepdims=True)
        flat = np.minimum(flat, scale * np.vstack([total, total - gains]))
    floor = 1e-12 * np.maximum(((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1), 1e-300)
    like, flat = (-points / 2 * np.log(np.maximum(rss, floor) / points) for rss in (best, flat))
    profile = like.reshape(len(grid.m), len(grid.w), n).max(axis=1)
    which = like.argmax(axis=0)
    m = _refined(grid.m, profile)
    w = grid.w[which % len(grid.w)]
    rho = np.array(RHOS)[best_rho[which, np.arange(n)]]
    c, a, sd = _linear(grid.x, y, m, w, rho)
    parameters = np.array([6, 3, 4, 4])  # of the logistic, constant and lines: rho and the variance among them
    price, *prices = 2 * parameters * points / (points - parameters - 1)
    others = -2 * flat + np.array(prices)[:, None]
    return Fits(c, a, m, w, rho, sd, -2 * like.max(axis=0) + price - others.min(axis=0), profile)


def _without(rows: Float[np.ndarray, "row point"], one: Float[np.ndarray, " point"]) -> Float[np.ndarray, "row point"]:
    return rows - np.outer(rows @ one, one) / (one @ one)


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
    x: np.ndarray, y: np.ndarray, m: np.ndarray, w: np.ndarray, rho: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c, A and the innovations' standard deviation, given the rest."""
    s = logistic(x, m, w)
    first = np.sqrt(1 - rho**2)[:, None]

    def white(v: np.ndarray) -> np.ndarray:
        return np.concatenate([first * v[:, :1], v[:, 1:] - rho[:, None] * v[:, :-1]], axis=1)

    one, shape, target = white(np.ones_like(y)), white(s), white(y)
    oo, os, ss = ((a * b).sum(axis=1) for a, b in ((one, one), (one, shape), (shape, shape)))
    oy, sy = (one * target).sum(axis=1), (shape * target).sum(axis=1)
    det = np.maximum(oo * ss - os**2, 1e-12)
    a = np.maximum((oo * sy - os * oy) / det, 0)
    c = (oy - a * os) / oo
    rest = target - c[:, None] * one - a[:, None] * shape
    return c, a, np.sqrt((rest**2).mean(axis=1))


def logistic(
    x: Float[np.ndarray, " point"], m: Float[np.ndarray, " curve"], w: Float[np.ndarray, " curve"]
) -> Float[np.ndarray, "curve point"]:
    """1 / (1 + e^((m - x) / w)), a curve for each (m, w)."""
    return 1 / (1 + np.exp(-np.clip((x - m[:, None]) / w[:, None], -60, 60)))


def window_start(y: Float[np.ndarray, " point"]) -> int:
    """Where a rise begins: the first point whose 3-point running median is at the minimum, but for noise.

    Noise alone would pick any point of a flat beginning as its minimum, and throw what comes before away. So the first
    within twice the noise counts; noise is the median absolute second difference over that of a unit normal's (1.65).
    """
    padded = np.concatenate([y[:1], y, y[-1:]])
    median = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    noise = float(np.median(np.abs(np.diff(y, 2)))) / 1.65 if len(y) > 2 else 0.0
    return int(np.argmax(median <= median.min() + 2 * noise))


@dataclass(frozen=True)
class Rise:
    """A curve's fitted rise, before it is judged: what onsets, lags and their bootstraps share."""

    grid: Grid
    y: Float[np.ndarray, " point"]
    fits: Fits
    evaluations: int  # from step 1 on, those before the minimum included

    @classmethod
    def of(cls, step: Num[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> "Rise | str":
        """A rise; or in words why none can be fitted."""
        known = np.isfinite(y) & (step >= 1)
        step, y = step[known], y[known].astype(float)
        if len(y) < FEWEST_POINTS:
            return f"{len(y)} evaluations from step 1 on, fewer than {FEWEST_POINTS}"
        start = window_start(y)
        if len(y) - start < FEWEST_POINTS:
            return f"its minimum lies {len(y) - start} evaluations before the end, fewer than {FEWEST_POINTS}: no rise"
        x = np.log(step[start:].astype(float))
        grid = Grid.of(x)
        return cls(grid, y[start:], fit_rises(grid, y[None, start:]), len(y))

    def margin(self) -> float:
        """By how much the AICc must be better than those of constant and lines."""
        searched = SEARCHED * float(np.log(self.evaluations / len(self.y)))
        return LEAST_AICC + searched + (WANDERS if self.fits.rho[0] > WANDERING else 0.0)

    def outcome(self) -> tuple[Outcome, str]:
        """The judgement, and its reason."""
        f, x = self.fits, self.grid.x
        if -f.aicc[0] <= self.margin():
            return (
                "no transition",
                f"AICc: {-f.aicc[0]:.1f} better than constant and lines, needs more than {self.margin():.1f}",
            )
        if f.A[0] <= LEAST_RISE:
            return "no transition", f"it rises by {f.A[0]:.3f}, needs more than {LEAST_RISE:g}"
        if f.A[0] <= LEAST_SDS * f.sd[0]:
            return (
                "no transition",
                f"it rises by {f.A[0] / f.sd[0]:.1f} residual standard deviations, needs more than {LEAST_SDS:g}",
            )
        ends = logistic(x[[0, -1]], f.m, f.w)[0]
        if ends[1] <= 0.9:
            return "not finished", f"at the last step it has risen by {ends[1]:.0%} of its height, needs more than 90%"
        if ends[0] >= 0.1:
            return "not finished", f"at its first step it has risen by {ends[0]:.0%} already, needs less than 10%"
        return "transition", ""

    def bootstrap(self, rng: np.random.Generator, draws: int = DRAWS, m: float | None = None) -> np.ndarray:
        """Midpoints of refitted curves: the fit plus AR(1) residuals of resampled innovations.

        Args:
            rng: a generator.
            draws: how many.
            m: simulate around another midpoint; None: the fitted one.
        """
        f, x, points = self.fits, self.grid.x, len(self.grid.x)
        fitted = f.c + f.A * logistic(x, f.m, f.w)[0]
        curve = fitted if m is None else f.c + f.A * logistic(x, np.array([m]), f.w)[0]
        # innovations of the fit's own residuals, with the degrees of freedom that it took; rho's small-sample bias is
        # mended (Kendall 1954)
        own = whiten(self.y - fitted, float(f.rho[0]))
        own = (own - own.mean()) * np.sqrt(points / max(points - 6, 1))
        rho = float(min(f.rho[0] + (1 + 3 * f.rho[0]) / points, 0.97))
        steps = rng.choice(own, (draws, points))
        noise = np.empty((draws, points))
        noise[:, 0] = steps[:, 0] / np.sqrt(1 - rho**2)
        for at in range(1, points):
            noise[:, at] = rho * noise[:, at - 1] + steps[:, at]
        return fit_rises(self.grid, curve + noise).m
