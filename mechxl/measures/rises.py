"""Does a curve rise, once or twice, and when? Logistics in ln(step), judged against rivals without a rise.

Whether a curve rises is one question, and whether its time can be told is another. It rises if the AICc of a rising
curve (a line, one logistic) beats a constant's by `least_gain`. Its onset is resolved if one logistic, or two, beat
the lines by `margin`, stand out of the noise, and begin inside the window. All bounds were set on planted curves;
docs/phases.md has the rates of both errors.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Num
from scipy.optimize import isotonic_regression

from mechxl.measures.logistics import (
    KAPPAS,
    RHOS,
    Fits,
    Grid,
    Pair,
    fit_pair,
    fit_rises,
    leverage,
    logistic,
    noise_shape,
    whiten,
)

LEAST_RISE = 0.1  # in the units of accuracies and scores: the onset of a smaller rise is not resolved
LEAST_SDS = 4.0  # of the innovations; 5 finds .63 of the rises that are 5 of them high, in white noise, and 4 finds .99
LEAST_ERRORS = 2.0  # of the evaluations' own sampling error, where that is known
# by how much the AICc must be better, set on planted curves (docs/phases.md)
GAIN, FEW_EVALUATIONS = 6.0, 130.0  # of any rise over a constant: 6 + 130 / evaluations
CLEAR = 20.0  # times its scatter: a curve that ends so far above its start rises, whatever the AICc says
# more, by the rho of the residuals: a wandering curve looks like a rise
WANDERING_GAIN = dict(zip(RHOS, (0.0, 0.0, 0.0, 0.0, 3.0, 8.0, 12.0, 12.0), strict=True))
LEAST_AICC = 3.0  # of logistics over lines
# more of any rise, and of an onset, times ln(all evaluations / those from the minimum on): a late minimum of noise
# looks like a rise
SEARCHED_GAIN, SEARCHED = 6.0, 10.0
WANDERING, WANDERS = 0.7, 10.0  # residuals of a higher rho wander, and a wandering curve looks like a rise too
LEAST_TWO = 6.0  # of two rises over one, and more than `margin` over the lines
UNEVEN_TWO = 6.0  # more, where one rise has noise that grows
LEAST_PART = 0.15  # of the whole height, which each of two rises has
FEWEST_POINTS = 12  # with fewer the AICc prices a logistic so dearly that clean rises are refused
SPREAD_OF_TWO = 3.0  # of the standard errors of two rises, which are dearer to tell and so more often misplaced
DRAWS = 200
SPREAD = 2.25  # of a bootstrap's standard deviations; 1.96 would do if rho, kappa and the window were known
Outcome = Literal["rises", "rises twice", "rises, not finished", "rises, onset not resolved", "no rise"]
RESOLVED: tuple[Outcome, ...] = ("rises", "rises twice")


def window_start(y: Float[np.ndarray, " point"]) -> int:
    """Where a rise begins: the first point whose 3-point running median is at the minimum, but for noise.

    Noise alone would pick any point of a flat beginning as its minimum, and throw what comes before away. So the first
    within twice the noise counts (`local_noise`).
    """
    padded = np.concatenate([y[:1], y, y[-1:]])
    median = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    return int(np.argmax(median <= median.min() + 2 * local_noise(y)))


def local_noise(y: Float[np.ndarray, " point"]) -> float:
    """Standard deviation of white noise around a smooth curve: the median absolute second difference / 1.65."""
    return float(np.median(np.abs(np.diff(y, 2)))) / 1.65 if len(y) > 2 else 0.0


def scatter(y: Float[np.ndarray, " point"]) -> float:
    """Local noise, or twice what a monotone curve leaves if that is less: jumps upwards are no noise."""
    monotone = float(np.sqrt(((y - isotonic_regression(y).x) ** 2).mean())) if len(y) else 0.0
    return min(local_noise(y), 2 * monotone)


def ends(y: Float[np.ndarray, " point"]) -> tuple[float, float]:
    """The mean over the first and over the last tenth of the evaluations, at least one each."""
    count = max(1, len(y) // 10)
    return float(y[:count].mean()), float(y[-count:].mean())


def _best_fit(grid: Grid, y: Float[np.ndarray, " point"], even: Fits) -> Fits:
    """One logistic with the most likely noise: even, or larger where the even fit moves. Rivals may have it too.

    Residuals that wander are no noise that grows: a smooth curve of another shape leaves them.
    """
    if even.rho[0] > WANDERING:
        return even
    s = logistic(grid.x, even.m, even.w)
    fits = [even, *(fit_rises(grid, y[None], noise_shape(s, kappa)) for kappa in KAPPAS if kappa)]
    fits = [even, *(fit for fit in fits[1:] if fit.rho[0] <= WANDERING)]
    lines = min(fits, key=lambda fit: float(fit.lines[0]))
    return replace(
        min(fits, key=lambda fit: float(fit.aicc[0])),
        constant=np.min([fit.constant for fit in fits], axis=0),
        lines=lines.lines,
        line_rises=lines.line_rises,
    )


def _best_pair(
    x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"], g: Float[np.ndarray, " point"]
) -> Pair | None:
    """Two logistics with even noise, or with the noise that one logistic has."""
    pairs = [fit_pair(x, y, shape) for shape in ((np.ones(len(x)),) if np.ptp(g) < 1e-12 else (np.ones(len(x)), g))]
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
        wandering = WANDERING_GAIN[float(self.even.rho[0])]
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
        clear = last - first > CLEAR * scatter(self.y)
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
        more = (WANDERS if self.pair.rho > WANDERING else 0.0) + (UNEVEN_TWO if np.ptp(self.fits.g) > 1e-12 else 0.0)
        return float(self.fits.aicc[0]) - self.pair.aicc > LEAST_TWO + more and min(self.pair.A) > lowest

    def outcome(self) -> tuple[Outcome, str]:
        """The judgement, and its reason."""
        if reason := self.no_rise():
            return "no rise", reason
        f, x, two = self.fits, self.grid.x, self.twice()
        height = sum(self.pair.A) if two and self.pair else float(f.A[0])
        if height <= LEAST_RISE:
            return "rises, onset not resolved", f"it rises by {height:.3f}, needs more than {LEAST_RISE:g}"
        best, rho = (self.pair.aicc, self.pair.rho) if two and self.pair else (float(f.aicc[0]), float(f.rho[0]))
        better = float(min(f.lines[0], f.constant[0])) - best
        if better <= (least := self.margin(rho) + (LEAST_TWO if two else 0.0)):
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
        rho = float(min(rho + (1 + 3 * rho) / points, 0.97))
        steps = own * rng.normal(size=(draws, points))
        noise = np.empty((draws, points))
        noise[:, 0] = steps[:, 0] / np.sqrt(1 - rho**2)
        for point in range(1, points):
            noise[:, point] = rho * noise[:, point - 1] + steps[:, point]
        return self.fitted(m) + g * noise

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
        return fit_rises(self.grid, self.simulated(rng, draws, m), self.fits.g).m[:, None]


@lru_cache(maxsize=64)
def _rise(steps: bytes, values: bytes, noise: float) -> Rise | str:
    """`Rise.of` without what is not known; kept, since a curve has an onset and a lag behind each of several others."""
    step, y = np.frombuffer(steps), np.frombuffer(values)
    if len(y) < FEWEST_POINTS:
        return f"{len(y)} evaluations from step 1 on, fewer than {FEWEST_POINTS}"
    start = window_start(y)
    if len(y) - start < FEWEST_POINTS:
        return f"its minimum lies {len(y) - start} evaluations before the end, fewer than {FEWEST_POINTS}"
    grid = Grid.of(np.log(step[start:]))
    even = fit_rises(grid, y[None, start:])
    one = Rise(grid, y[start:], even, _best_fit(grid, y[start:], even), None, len(y), noise)
    return one if one.no_rise() else replace(one, pair=_best_pair(grid.x, one.y, one.fits.g))
