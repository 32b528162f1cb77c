"""The half-rise of a curve without an assumed shape: isotonic regression, and where it crosses the middle."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num
from scipy.optimize import isotonic_regression

from mechxl.measures.rises import SPREAD, ends


@dataclass(frozen=True)
class HalfRise:
    """The step at which a curve has gone half of the way from its first tenth to its last. NaN where it does not rise.

    Attributes:
        step: by the isotonic fit, linear in ln(step) between evaluations.
        low, high: 95 %.
        start, end: the fit's mean over the first and the last tenth of the evaluations.
    """

    step: float
    low: float
    high: float
    start: float
    end: float


def half_rise(
    step: Num[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    simulated: Float[np.ndarray, "draw point"],
    spread: float = SPREAD,
) -> HalfRise:
    """When a curve has risen by half, whatever its shape (isotonic regression: Barlow et al. 1972).

    The interval is the wider of `spread` standard deviations over simulated curves, each fitted in the same way, and
    the gap between the evaluations around the step.

    Args:
        step: of each evaluation, rising, from the curve's minimum on; step 0 has no logarithm.
        y: the curve, without NaN.
        simulated: curves like it with other noise (`Rise.simulated`).
        spread: how many standard deviations (`Rise.spread_of_half`).
    """
    nan, x = float("nan"), np.log(step.astype(float))
    fitted = isotonic_regression(y).x
    start, end = ends(fitted)
    if end <= start:
        return HalfRise(nan, nan, nan, start, end)
    (crossing,), (before,), (after,) = _crossings(x, fitted[None])
    drawn, *_ = _crossings(x, np.stack([isotonic_regression(one).x for one in simulated]))
    half = spread * float(np.nanstd(drawn)) if np.isfinite(drawn).any() else 0.0
    low, high = min(crossing - half, before), max(crossing + half, after)
    return HalfRise(float(np.exp(crossing)), float(np.exp(low)), float(np.exp(high)), start, end)


def _crossings(
    x: Float[np.ndarray, " point"], fitted: Float[np.ndarray, "curve point"]
) -> tuple[Float[np.ndarray, " curve"], Float[np.ndarray, " curve"], Float[np.ndarray, " curve"]]:
    """Where rising curves cross the middle between their ends, and the evaluations before and after it.

    NaN for a curve that does not rise.
    """
    start, end = np.array([ends(one) for one in fitted]).T
    middle, curve = (start + end) / 2, np.arange(len(fitted))
    after = np.argmax(fitted >= middle[:, None], axis=1)
    before = np.maximum(after - 1, 0)
    low, high = fitted[curve, before], fitted[curve, after]
    part = np.where(high > low, (middle - low) / np.where(high > low, high - low, 1), 0)
    at = x[before] + part * (x[after] - x[before])
    rises = end > start
    return np.where(rises, at, np.nan), np.where(rises, x[before], np.nan), np.where(rises, x[after], np.nan)
