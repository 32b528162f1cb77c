"""Does a curve rise, once or twice, and when? Logistics in ln(step), judged against rivals without a rise.

Whether a curve rises is one question, and whether its time can be told is another. It rises if the AICc of a rising
curve (a line, one logistic) beats a constant's by `least_gain`. Its onset is resolved if one logistic, or two, beat
the lines by `margin`, stand out of the noise, and begin inside the window. All bounds were set on planted curves;
docs/phases.md has the rates of both errors.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import comb
from typing import Literal

import numpy as np
from jaxtyping import Float, Num
from scipy.optimize import isotonic_regression

from mechxl.findings import counted
from mechxl.measures.logistics import (
    HOPELESS,
    KAPPAS,
    RHOS,
    UNSEEN,
    Fits,
    Grid,
    fit_rises,
    leverage,
    logistic,
    noise_shape,
    whiten,
)
from mechxl.measures.pairs import Pair, fit_pair

START = 3.0  # standard deviations of local noise
LEAST_RISE = 0.1  # in the units of accuracies and scores: the onset of a smaller rise is not resolved
LEAST_SDS = 4.0  # of the innovations; 5 finds .63 of the rises that are 5 of them high, in white noise, and 4 finds .99
LEAST_ERRORS = 2.0  # of the evaluations' own sampling error, where that is known
# by how much the AICc must be better, set on planted curves (docs/phases.md)
GAIN, FEW_EVALUATIONS = 6.5, 130.0  # of any rise over a constant: 6.5 + 130 / evaluations
# times its scatter, and one more every ten evaluations: a curve that ends so far above its start rises, whatever the
# AICc says
CLEAR = 20.0
# more for every 100 evaluations, by the rho of the residuals: a wandering curve looks like a rise, and noise whose fit
# took the wandering away leaves a low rho; a rise in truly white noise has far more than that
WANDERING_GAIN = dict(zip(RHOS, (7.0, 7.0, 7.0, 2.0, 4.0, 8.0, 10.0, 10.0), strict=True))
LEAST_AICC = 3.0  # of logistics over lines
# more of any rise, and of an onset, times ln(all evaluations / those from the minimum on): a late minimum of noise
# looks like a rise
SEARCHED_GAIN, SEARCHED = 9.0, 10.0
WANDERING, WANDERS = 0.7, 10.0  # residuals of a higher rho wander, and a wandering curve looks like a rise too
LEAST_TWO = 6.0  # of two rises over one, and more than `margin` over the lines
UNEVEN_TWO = 6.0  # more, where one rise has noise that grows
LEAST_PART = 0.15  # of the whole height, which each of two rises has
FEWEST_POINTS = 12  # with fewer the AICc prices a logistic so dearly that clean rises are refused
# the width of intervals, either way; 1.96 would do if rho, kappa and the window were known
# of a bootstrap's standard deviations: with even noise, with noise that grows, and where that can't be seen
SPREAD, SPREAD_UNEVEN, SPREAD_UNSEEN = 2.25, 2.5, 3.5
SPREAD_OF_HALF = 2.35  # of the half-rise without a shape, in residuals that do not wander
SPREAD_OF_TWO = 3.0  # of the standard errors of two rises, which are dearer to tell and so more often misplaced
# the same where noise grows and a rise is not that many times higher than the noise at rest: a jump of the noise may be
# taken for it
SPREAD_OF_TWO_UNEVEN, LOW_OF_TWO = 5.0, 14.0
# a rise so high above the noise at rest, with so few points within two widths of its midpoint, can't show whether noise
# grows there: it is then taken to grow by the kappa UNSEEN
UNSEEN_POINTS, UNSEEN_SDS = 9, 16.0
DRAWS = 200
Outcome = Literal["rises", "rises twice", "rises, not finished", "rises, onset not resolved", "no rise"]
RESOLVED: tuple[Outcome, ...] = ("rises", "rises twice")


def window_start(y: Float[np.ndarray, " point"], sds: float = START) -> int:
    """Where a rise begins: the first point whose 3-point running median is at the minimum, but for noise.

    Noise alone would pick any point of a flat beginning as its minimum, and throw what comes before away. So the first
    within `sds` times the noise counts, by third differences: second ones take a bend for noise. Both are too small
    where noise is correlated.
    """
    padded = np.concatenate([y[:1], y, y[-1:]])
    median = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    return int(np.argmax(median <= median.min() + sds * local_noise(y, 3)))


def local_noise(y: Float[np.ndarray, " point"], order: int = 2) -> float:
    """Standard deviation of white noise around a smooth curve, by the median absolute difference of an order."""
    scale = 0.6745 * np.sqrt(comb(2 * order, order))  # of the median absolute difference of white noise
    return float(np.median(np.abs(np.diff(y, order)))) / scale if len(y) > order else 0.0


def scatter(y: Float[np.ndarray, " point"]) -> float:
    """Local noise, or twice what a monotone curve leaves if that is less: jumps upwards are no noise."""
    monotone = float(np.sqrt(((y - isotonic_regression(y).x) ** 2).mean())) if len(y) else 0.0
    return min(local_noise(y), 2 * monotone)


def ends(y: Float[np.ndarray, " point"]) -> tuple[float, float]:
    """The mean over the first and over the last tenth of the evaluations, at least one each."""
    count = max(1, len(y) // 10)
    return float(y[:count].mean()), float(y[-count:].mean())


def _likely_midpoints(grid: Grid, fits: Fits) -> tuple[float, float]:
    """Between which midpoints one curve's rise lies; the others are HOPELESS."""
    profile = fits.profile[:, 0]
    likely = np.flatnonzero(profile > profile.max() - HOPELESS)
    return float(grid.m[max(likely[0] - 2, 0)]), float(grid.m[min(likely[-1] + 2, len(profile) - 1)])


def _best_fit(grid: Grid, y: Float[np.ndarray, " point"], even: Fits) -> Fits:
    """One logistic with the most likely noise: even, or larger where the even fit moves. Rivals may have it too.

    Residuals that wander are no noise that grows: a smooth curve of another shape leaves them.
    """
    if even.rho[0] > WANDERING:
        return even
    s, near = logistic(grid.x, even.m, even.w), grid.between(*_likely_midpoints(grid, even))
    fits = [even, *(fit_rises(near, y[None], noise_shape(s, kappa)) for kappa in KAPPAS if kappa)]
    fits = [even, *(fit for fit in fits[1:] if fit.rho[0] <= WANDERING)]
    best, lines = (min(fits, key=lambda fit, kind=kind: float(getattr(fit, kind)[0])) for kind in ("aicc", "lines"))
    return replace(
        best if best is even else fit_rises(grid, y[None], best.g),
        constant=np.min([fit.constant for fit in fits], axis=0),
        lines=lines.lines,
        line_rises=lines.line_rises,
    )


def _best_pair(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], one: Fits) -> Pair | None:
    """Two logistics with even noise, or with the noise that one logistic has."""
    shapes = [np.ones(len(x)), *([one.g] if np.ptp(one.g) > 1e-12 else [])]
    pairs = [fit_pair(x, y, shape) for shape in shapes]
    return min((pair for pair in pairs if pair), key=lambda pair: pair.aicc, default=None)


@dataclass(frozen=True)
class Rise:
    """A curve with its fits, before it is judged: what onsets, lags and their bootstraps share.

    Attributes:
        grid: of the window, which begins at the curve's minimum.
        y: the curve in the window.
        even: one logistic and its rivals, with even noise. Whether the curve rises is asked of them: noise that may
            grow fits wandering curves too well.
        fits: the same with the most likely noise.
        pair: two logistics, if the curve rises and they can be fitted.
        evaluations: from step 1 on, those before the window included.
        noise: sampling error of an evaluation, in the units of y; 0: not known.
    """

    grid: Grid
    y: Float[np.ndarray, " point"]
    even: Fits
    fits: Fits
    pair: Pair | None
    evaluations: int
    noise: float = 0.0

    @classmethod
    def of(cls, step: Num[np.ndarray, " point"], y: Float[np.ndarray, " point"], noise: float = 0.0) -> "Rise | str":
        """A curve with its fits; or in words why nothing can be fitted."""
        known = np.isfinite(y) & (step >= 1)
        return _rise(step[known].astype(float).tobytes(), y[known].astype(float).tobytes(), noise)

    def _left_out(self) -> float:
        return float(np.log(self.evaluations / len(self.y)))

    def least_gain(self) -> float:
        """By how much the AICc of a rising curve must be better than a constant's."""
        wandering = WANDERING_GAIN[float(self.even.rho[0])] * len(self.y) / 100
        return GAIN + FEW_EVALUATIONS / len(self.y) + SEARCHED_GAIN * self._left_out() + wandering

    def margin(self, rho: float | None = None) -> float:
        """By how much the AICc of logistics must be better than the lines'."""
        rho = float(self.fits.rho[0]) if rho is None else rho
        residual = self.y - self.fitted()
        within_error = float(np.sqrt((residual**2).mean())) <= self.noise  # then nothing is known to wander
        wandering = WANDERS if rho > WANDERING and not within_error else 0.0
        return LEAST_AICC + SEARCHED * self._left_out() + wandering

    def no_rise(self) -> str:
        """Why the curve does not rise; empty if it does."""
        f = self.even
        rising = min(float(f.aicc[0]), float(f.lines[0]) if f.line_rises[0] else np.inf)
        gain, least = float(f.constant[0]) - rising, self.least_gain()
        first, last = ends(self.y)
        clear = last - first > (CLEAR + len(self.y) / 10) * scatter(self.y)
        if gain <= least and not clear:
            return f"AICc: rising is {gain:.1f} better than a constant, needs more than {least:.1f}"
        if last - first <= LEAST_ERRORS * np.sqrt(2) * self.noise:
            return (
                f"it ends {last - first:.3f} above its start, which is within the error of two evaluations "
                f"({np.sqrt(2) * self.noise:.3f} each time)"
            )
        return ""

    def twice(self) -> bool:
        """Whether two rises are told from one: better by LEAST_TWO, and each stands out of the noise."""
        if self.pair is None:
            return False
        lowest = max(LEAST_PART * sum(self.pair.A), LEAST_SDS * max(self.pair.sd, self.noise))
        wandering = WANDERS if max(self.pair.rho, self.fits.rho[0]) > WANDERING else 0.0
        more = wandering + (UNEVEN_TWO if np.ptp(self.fits.g) > 1e-12 else 0.0)
        return float(self.fits.aicc[0]) - self.pair.aicc > LEAST_TWO + more and min(self.pair.A) > lowest

    def _follows(self) -> float:
        """More AICc that two rises need if one leaves residuals that wander, and two do not: they may follow these."""
        wanders = [float(self.fits.rho[0]), self.pair.rho if self.pair else 1.0]
        return WANDERS if wanders[0] > WANDERING >= wanders[1] else 0.0

    def outcome(self) -> tuple[Outcome, str]:
        """The judgement, and its reason."""
        if reason := self.no_rise():
            return "no rise", reason
        f, x, two = self.fits, self.grid.x, self.twice()
        height = sum(self.pair.A) if two and self.pair else float(f.A[0])
        if height <= LEAST_RISE:
            return "rises, onset not resolved", f"it rises by {height:.3g}, needs more than {LEAST_RISE:g}"
        best, rho = (self.pair.aicc, self.pair.rho) if two and self.pair else (float(f.aicc[0]), float(f.rho[0]))
        better = float(min(f.lines[0], f.constant[0])) - best
        if better <= (least := self.margin(rho) + (LEAST_TWO + self._follows() if two else 0.0)):
            return "rises, onset not resolved", f"AICc: {better:.1f} better than a line, needs more than {least:.1f}"
        sd = max(float(f.sd[0]), self.noise)
        if not two and height <= LEAST_SDS * sd:
            return (
                "rises, onset not resolved",
                f"it rises by {height / sd:.1f} standard deviations of the noise, needs more than {LEAST_SDS:g}",
            )
        m, w = self.stages()
        risen = logistic(x[[0, -1]], m, w)
        if risen[0, 0] >= 0.1:
            return (
                "rises, onset not resolved",
                f"at the first evaluation it has risen by {risen[0, 0]:.0%} already, needs less than 10%",
            )
        if risen[-1, -1] <= 0.9:
            which = "the second rise has" if two else "it has"
            return (
                "rises, not finished",
                f"at the last step {which} risen by {risen[-1, -1]:.0%} of its height, needs more than 90%",
            )
        return ("rises twice" if two else "rises"), ""

    def stages(self) -> tuple[Float[np.ndarray, " stage"], Float[np.ndarray, " stage"]]:
        """Midpoints and widths in ln(step) of the rise, or of both."""
        if self.twice() and self.pair:
            return np.array(self.pair.m), np.array(self.pair.w)
        return self.fits.m[:1], self.fits.w[:1]

    def fitted(self, m: float | None = None) -> Float[np.ndarray, " point"]:
        """The fitted curve, both rises where it rises twice; moved to another first midpoint if one is given."""
        x = self.grid.x
        if self.twice() and self.pair:
            moved = np.array(self.pair.m) + (0 if m is None else m - self.pair.m[0])
            return self.pair.c + np.array(self.pair.A) @ logistic(x, moved, np.array(self.pair.w))
        f = self.fits
        return f.c + f.A * logistic(x, f.m if m is None else np.array([m]), f.w)[0]

    def simulated(
        self, rng: np.random.Generator, draws: int = DRAWS, m: float | None = None
    ) -> Float[np.ndarray, "draw point"]:
        """The fitted curve with other noise: AR(1) residuals whose innovations keep their place.

        Each innovation gets a random sign and size (a wild bootstrap, Wu 1986), since noise is larger where a curve
        moves. What the fit took away from it is given back (`leverage`), and rho's bias in few points is mended
        (Kendall 1954).

        Args:
            rng: a generator.
            draws: how many curves.
            m: around another first midpoint; None: the fitted one.
        """
        two, points = self.pair if self.twice() else None, len(self.y)
        rho, g = (two.rho, two.g) if two else (float(self.fits.rho[0]), self.fits.g)
        height = np.array(two.A) if two else self.fits.A[:1]
        _, hat = leverage(self.grid.x, height, *self.stages(), rho, g)
        own = whiten((self.y - self.fitted()) / g, rho) / (1 - hat)
        own[0] = np.sqrt((own[1:] ** 2).mean())  # where the noise begins, which one residual does not tell
        scatter_now = float(np.sqrt((own**2).mean() / (1 - rho**2)))  # of the residuals, where g is 1
        own *= max(1.0, self.noise / max(scatter_now, 1e-12))
        if not two:
            own = np.maximum(np.abs(own), self._unseen())  # signs are drawn
        rho = float(min(rho + (1 + 3 * rho) / points, 0.97))
        steps = own * rng.normal(size=(draws, points))
        noise = np.empty((draws, points))
        noise[:, 0] = steps[:, 0] / np.sqrt(1 - rho**2)
        for point in range(1, points):
            noise[:, point] = rho * noise[:, point - 1] + steps[:, point]
        return self.fitted(m) + g * noise

    def _unseen(self) -> Float[np.ndarray, " point"]:
        """How large innovations may be at each point of one rise without having been seen; 0 where they are seen."""
        f, x = self.fits, self.grid.x
        inside = (np.abs(x - f.m[0]) < 2 * f.w[0]).sum()
        if np.ptp(f.g) > 1e-12 or inside > UNSEEN_POINTS or f.A[0] <= UNSEEN_SDS * f.sd[0]:
            return np.zeros(len(x))
        return float(f.sd[0]) * (noise_shape(logistic(x, f.m, f.w), UNSEEN) - 1)

    def bootstrap(
        self, rng: np.random.Generator, draws: int = DRAWS, m: float | None = None
    ) -> Float[np.ndarray, "draw stage"]:
        """Midpoints of simulated curves, each fitted anew; of two rises, normal draws with the fit's standard errors.

        Args:
            rng: a generator.
            draws: how many.
            m: simulate around another first midpoint; None: the fitted one.
        """
        if self.twice() and self.pair:
            middle = np.array(self.pair.m) + (0 if m is None else m - self.pair.m[0])
            return middle + rng.normal(size=(draws, 2)) * np.array(self.pair.se)
        return fit_rises(self._near(m), self.simulated(rng, draws, m), self.fits.g).m[:, None]

    def spread(self) -> float:
        """How many standard deviations of the bootstrap an interval reaches either way."""
        if self.twice() and self.pair:
            grows = max(np.ptp(self.pair.g), np.ptp(self.fits.g)) > 1e-12
            low = min(self.pair.A) < LOW_OF_TWO * self.pair.sd
            return SPREAD_OF_TWO_UNEVEN if grows and low else SPREAD_OF_TWO
        if np.ptp(self.fits.g) > 1e-12:
            return SPREAD_UNEVEN
        return SPREAD_UNSEEN if self._unseen().any() else SPREAD

    def spread_of_half(self) -> float:
        """The same for the half-rise without a shape, whose crossing depends more on noise that wanders."""
        unseen = not self.twice() and self._unseen().any()
        return (SPREAD_UNSEEN if unseen else SPREAD_OF_HALF) * (1 + min(float(self.fits.rho[0]), WANDERING) / 3)

    def _near(self, m: float | None) -> Grid:
        """The part of the grid where simulated curves are fitted: around another midpoint m, its own part moved too."""
        low, high = _likely_midpoints(self.grid, self.fits)
        moved = 0.0 if m is None else m - float(self.fits.m[0])
        return self.grid.between(min(low, low + moved), max(high, high + moved))


@lru_cache(maxsize=64)
def _rise(steps: bytes, values: bytes, noise: float) -> Rise | str:
    """`Rise.of` without what is not known; kept, since a curve has an onset and a lag behind each of several others."""
    step, y = np.frombuffer(steps), np.frombuffer(values)
    if len(y) < FEWEST_POINTS:
        return f"{counted(len(y), 'evaluation')} from step 1 on, fewer than {FEWEST_POINTS}"
    start = window_start(y)
    if len(y) - start < FEWEST_POINTS:
        return f"its minimum lies {counted(len(y) - start, 'evaluation')} before the end, fewer than {FEWEST_POINTS}"
    grid = Grid.of(np.log(step[start:]))
    even = fit_rises(grid, y[None, start:])
    one = Rise(grid, y[start:], even, even, None, len(y), noise)
    if one.no_rise():
        return one
    fits = _best_fit(grid, one.y, even)
    return replace(one, fits=fits, pair=_best_pair(grid.x, one.y, fits))
