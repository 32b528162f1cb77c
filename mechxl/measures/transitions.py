"""When does a curve rise, and does it rise at all? Half-rise steps with intervals; "no transition" is an answer.

Onset = half-rise: x = ln(step), and from the minimum of the 3-point running median on y = c + A / (1 + e^((m - x) / w))
plus AR(1) residuals; m is the onset. It counts as a transition if (a) its BIC beats those of a constant, a line in
ln(step) and a line in step, all with AR(1) residuals, by more than 6; (b) A is above 4 standard deviations of the
residuals' innovations, and above LEAST_RISE; (c) the logistic is below .1 of its rise at the first point and above .9
at the last. Failing (c) alone: not finished, and the onset is censored. A curve that falls is to be given with its sign
changed.

Fits are profile likelihoods on a grid of (m, w, rho) with c and A in closed form, many curves at once; m is refined by
a parabola. How often they err is measured in `analyses/transitions.py` (table in docs/phases.md).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Num

LEAST_RISE = 0.1
LEAST_SDS = 4.0  # 5 would miss half of the curves whose rise is 5 standard deviations
LEAST_BIC = 6.0  # strong evidence (Kass and Raftery 1995); 10 misses a fifth of the rises that 6 finds at SNR 5
FEWEST_POINTS = 8
DRAWS = 200
SPREAD = 2.25  # of the bootstrap's standard deviations; 1.96 covers .91 to .94, as rho and the window are not known
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
        bic: of the logistic less the smallest of constant's and lines'; negative: the logistic is better.
        profile: largest log likelihood at each midpoint of the grid.
    """

    c: Float[np.ndarray, " curve"]
    A: Float[np.ndarray, " curve"]
    m: Float[np.ndarray, " curve"]
    w: Float[np.ndarray, " curve"]
    rho: Float[np.ndarray, " curve"]
    sd: Float[np.ndarray, " curve"]
    bic: Float[np.ndarray, " curve"]
    profile: Float[np.ndarray, "midpoint curve"]


@dataclass(frozen=True)
class Onset:
    """A curve's onset, in steps. NaN where there is none.

    Attributes:
        outcome: transition, not finished, no transition.
        step: the half-rise; of a transition, or of an unfinished rise as far as it can be told (censored).
        low, high: 95 %: the wider of the gap between evaluations around it and SPREAD standard deviations of an AR(1)
            residual bootstrap.
        reason: why it is no transition, or not finished; empty for a transition.
        start: the step that the rise is fitted from.
        fit: c, A, m, w, rho, sd of the logistic in ln(step), by name; empty where none could be fitted.
    """

    outcome: Outcome
    step: float
    low: float
    high: float
    reason: str
    start: float
    fit: dict[str, float]


@dataclass(frozen=True)
class Lag:
    """How much later the second curve rises than the first, in ln(step): .69 is twice as late.

    Attributes:
        value: ln of the ratio of the half-rise steps.
        low, high: 95 % by the residual bootstraps of both.
        p: two-sided, under the null that both curves have one midpoint.
        reason: why there is no lag; empty where there is.
    """

    value: float
    low: float
    high: float
    p: float
    reason: str = ""


def whiten(values: Float[np.ndarray, "*some point"], rho: float) -> Float[np.ndarray, "*some point"]:
    """Innovations of a stationary AR(1): sqrt(1 - rho^2) u_1, then u_t - rho u_(t-1)."""
    out = values.copy()
    out[..., 1:] -= rho * values[..., :-1]
    out[..., 0] *= np.sqrt(1 - rho**2)
    return out


def fit_rises(grid: Grid, y: Float[np.ndarray, "curve point"]) -> Fits:
    """The most likely rising logistic of each curve, its AR(1) residuals and its BIC against constant and line."""
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
    cost = np.log(points)
    others = -2 * flat + np.array([3, 4, 4])[:, None] * cost
    return Fits(c, a, m, w, rho, sd, -2 * like.max(axis=0) + 6 * cost - others.min(axis=0), profile)


def _without(rows: Float[np.ndarray, "row point"], one: Float[np.ndarray, " point"]) -> Float[np.ndarray, "row point"]:
    return rows - np.outer(rows @ one, one) / (one @ one)


def _refined(m: Float[np.ndarray, " midpoint"], profile: Float[np.ndarray, "midpoint curve"]) -> np.ndarray:
    """The top of a parabola through the best midpoint and its neighbours."""
    at = np.clip(profile.argmax(axis=0), 1, len(m) - 2)
    here = np.arange(profile.shape[1])
    left, middle, right = (profile[at + move, here] for move in (-1, 0, 1))
    curvature = left - 2 * middle + right
    with np.errstate(divide="ignore", invalid="ignore"):
        move = np.where(curvature < -1e-9, 0.5 * (left - right) / curvature, 0.0)
    edge = profile.argmax(axis=0) != at
    return np.where(edge, m[profile.argmax(axis=0)], m[at] + np.clip(move, -1, 1) * (m[1] - m[0]))


def _linear(
    x: np.ndarray, y: np.ndarray, m: np.ndarray, w: np.ndarray, rho: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c, A and the innovations' standard deviation, given the rest."""
    s = _rise(x, m, w)
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


def _rise(x: np.ndarray, m: np.ndarray, w: np.ndarray) -> Float[np.ndarray, "curve point"]:
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
        return cls(grid, y[start:], fit_rises(grid, y[None, start:]))

    def outcome(self, least_rise: float = LEAST_RISE) -> tuple[Outcome, str]:
        """The judgement, and its reason."""
        f, x = self.fits, self.grid.x
        if -f.bic[0] <= LEAST_BIC:
            return (
                "no transition",
                f"BIC: {-f.bic[0]:.1f} better than constant and line, needs more than {LEAST_BIC:.0f}",
            )
        if f.A[0] <= least_rise:
            return "no transition", f"it rises by {f.A[0]:.3f}, needs more than {least_rise:g}"
        if f.A[0] <= LEAST_SDS * f.sd[0]:
            return (
                "no transition",
                f"it rises by {f.A[0] / f.sd[0]:.1f} residual standard deviations, needs more than {LEAST_SDS:g}",
            )
        ends = _rise(x[[0, -1]], f.m, f.w)[0]
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
        fitted = f.c + f.A * _rise(x, f.m, f.w)[0]
        curve = fitted if m is None else f.c + f.A * _rise(x, np.array([m]), f.w)[0]
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


def onset(
    step: Num[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    rng: np.random.Generator,
    *,
    least_rise: float = LEAST_RISE,
    draws: int = DRAWS,
) -> Onset:
    """When a curve rises by half of its height, with its interval; or that it does not, or has not finished.

    Args:
        step: of each evaluation, rising; step 0 is left out, as it has no logarithm.
        y: the curve; NaN: not evaluated.
        rng: for the bootstrap.
        least_rise: in the curve's units; .1 for accuracies and scores.
        draws: of the bootstrap.
    """
    rise, nan = Rise.of(step, y), float("nan")
    if isinstance(rise, str):
        return Onset("no transition", nan, nan, nan, rise, nan, {})
    outcome, reason = rise.outcome(least_rise)
    f, x = rise.fits, rise.grid.x
    fit = {name: float(getattr(f, name)[0]) for name in ("c", "A", "m", "w", "rho", "sd")}
    start = float(np.exp(x[0]))
    if outcome == "no transition":
        return Onset(outcome, nan, nan, nan, reason, start, fit)
    half = SPREAD * float(rise.bootstrap(rng, draws).std())
    low, high = _at_least_a_gap(x, float(f.m[0]), float(f.m[0]) - half, float(f.m[0]) + half)
    step_of, low, high = (float(np.exp(v)) for v in (f.m[0], low, high))
    return Onset(outcome, step_of, low, high, reason, start, fit)


def _at_least_a_gap(x: np.ndarray, m: float, low: float, high: float) -> tuple[float, float]:
    """The interval, or the gap between evaluations around m where that is wider."""
    after = int(np.clip(np.searchsorted(x, m, side="right"), 1, len(x) - 1))
    gap = x[after] - x[after - 1]
    if high - low >= gap:
        return min(low, m), max(high, m)
    return min(x[after - 1], m), max(x[after], m)


def lag(
    step: Num[np.ndarray, " point"],
    first: Float[np.ndarray, " point"],
    second: Float[np.ndarray, " point"],
    rng: np.random.Generator,
    *,
    least_rise: tuple[float, float] = (LEAST_RISE, LEAST_RISE),
    draws: int = DRAWS,
) -> Lag:
    """How much later the second curve rises than the first; both must be transitions.

    The null draws both around one common midpoint, the most likely one, with each fit's own height, width and
    residuals, and refits them. A lag is descriptive, and depends on units (the square of a logistic rises later): see
    `precedes`.

    Args:
        step: of both curves.
        first: a curve.
        second: another.
        rng: for the bootstraps.
        least_rise: of each, in its units.
        draws: of each bootstrap.
    """
    rises, nan = [Rise.of(step, y) for y in (first, second)], float("nan")
    fitted: list[Rise] = []
    for name, rise, least in zip(("first", "second"), rises, least_rise, strict=True):
        outcome, reason = ("no transition", rise) if isinstance(rise, str) else rise.outcome(least)
        if outcome != "transition" or isinstance(rise, str):
            return Lag(nan, nan, nan, nan, f"the {name} curve: {outcome} ({reason})")
        fitted.append(rise)
    one, other = fitted
    value = float(other.fits.m[0] - one.fits.m[0])
    half = SPREAD * float((other.bootstrap(rng, draws) - one.bootstrap(rng, draws)).std())
    common = _common_midpoint(one, other)
    null = other.bootstrap(rng, draws, common) - one.bootstrap(rng, draws, common)
    p = float((1 + (np.abs(null) >= abs(value) - 1e-12).sum()) / (draws + 1))
    return Lag(value, value - half, value + half, p)


def _common_midpoint(one: Rise, other: Rise) -> float:
    """The midpoint at which both curves together are most likely."""
    low, high = (pick(one.grid.m[end], other.grid.m[end]) for pick, end in ((max, 0), (min, -1)))
    m = np.linspace(low, high, 4 * MIDPOINTS)
    both = sum(np.interp(m, rise.grid.m, rise.fits.profile[:, 0]) for rise in (one, other))
    return float(m[np.argmax(both)])


def precedes(lags: list[Lag], level: float = 0.05) -> int:
    """1: the second rises later in all units; -1: earlier in all; 0: it cannot be told.

    Args:
        lags: of the same two quantities in several units (accuracy, log p; score, S - X), or of several seeds.
        level: that every lag's p must reach.
    """
    signs = {int(np.sign(one.value)) if one.p <= level else 0 for one in lags}
    return signs.pop() if len(signs) == 1 else 0


def change_points(
    y: Float[np.ndarray, " point"], penalties: Float[np.ndarray, " penalty"], least: int = 3
) -> list[list[int]]:
    """A second opinion: indices of changes of the mean by PELT (Killick et al. 2012), for each penalty.

    On smooth curves the answer depends on the penalty more than on the data, hence the path and never one of them.

    Args:
        y: a curve without NaN.
        penalties: in units of the variance of its differences, halved, times ln(points).
        least: points between two changes.
    """
    import ruptures

    scale = max(float(np.var(np.diff(y))) / 2, 1e-12) * np.log(len(y))
    model = ruptures.KernelCPD(kernel="linear", min_size=least).fit(y.reshape(-1, 1))
    return [[int(at) for at in model.predict(pen=float(penalty) * scale) or []][:-1] for penalty in penalties]
