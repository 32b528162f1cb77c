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
) -> HalfRise:
    """When a curve has risen by half, whatever its shape (isotonic regression: Barlow et al. 1972).

    The interval is the wider of SPREAD standard deviations over simulated curves, each fitted in the same way, and the
    gap between the evaluations around the step.

    Args:
        step: of each evaluation, rising, from the curve's minimum on; step 0 has no logarithm.
        y: the curve, without NaN.
        simulated: curves like it with other noise (`Rise.simulated`).
    """
    nan, x = float("nan"), np.log(step.astype(float))
    fitted = isotonic_regression(y).x
    start, end = ends(fitted)
    if end <= start:
        return HalfRise(nan, nan, nan, start, end)
    crossing, (before, after) = _crossing(x, fitted)
    drawn = [_crossing(x, isotonic_regression(one).x)[0] for one in simulated]
    half = SPREAD * float(np.nanstd(drawn)) if np.isfinite(drawn).any() else 0.0
    low, high = min(crossing - half, before), max(crossing + half, after)
    return HalfRise(float(np.exp(crossing)), float(np.exp(low)), float(np.exp(high)), start, end)


def _crossing(x: np.ndarray, fitted: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Where a rising curve crosses the middle between its ends, and the evaluations on both sides."""
    start, end = ends(fitted)
    middle = (start + end) / 2
    after = int(np.argmax(fitted >= middle))
    if end <= start:
        return float("nan"), (float("nan"), float("nan"))
    if after == 0:
        return float(x[0]), (float(x[0]), float(x[0]))
    before = after - 1
    part = (middle - fitted[before]) / (fitted[after] - fitted[before])
    return float(x[before] + part * (x[after] - x[before])), (float(x[before]), float(x[after]))
