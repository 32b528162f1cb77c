"""When does a curve rise, once or twice, and does it rise at all? Onsets with intervals; "no rise" is an answer.

An onset is the half-rise of a logistic in ln(step); `rises.py` says when a curve counts as rising, and when its onset
counts as resolved. Beside the onsets stands the half-rise that assumes no shape (`half_rise.py`). A curve that falls is
to be given with its sign changed. How often this errs is measured in `analyses/calibration/transitions.py` (tables in
docs/phases.md).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

from mechxl.measures.half_rise import HalfRise, half_rise
from mechxl.measures.logistics import MIDPOINTS
from mechxl.measures.rises import (
    CLEAR,
    DRAWS,
    LEAST_ERRORS,
    LEAST_RISE,
    RESOLVED,
    Outcome,
    Rise,
    ends,
    scatter,
    window_start,
)

NORMAL = 1.96  # standard deviations of a normal 95 % interval
FEW = 5  # fewer values do not show their own noise


@dataclass(frozen=True)
class Stage:
    """One rise: its half-rise step with a 95 % interval, in steps.

    The interval is the wider of some standard deviations of a bootstrap (`Rise.spread`) and the gap between the
    evaluations around the step.
    """

    step: float
    low: float
    high: float


NO_STAGE = Stage(*[float("nan")] * 3)
NO_HALF = HalfRise(*[float("nan")] * 5)


@dataclass(frozen=True)
class Onset:
    """When a curve rises.

    Attributes:
        outcome: rises; rises twice; rises, not finished; rises, onset not resolved; no rise.
        first, second: the rises whose onsets are told; NaN where there is none. The last one of an unfinished rise is
            censored: it is later than the curve can tell.
        half: the half-rise of the whole curve, whatever its shape; NaN where the curve does not rise.
        reason: why there is no rise, or why it is not resolved or not finished; empty otherwise.
        start: the step that the rise is fitted from.
        fit: c, rho, sd and A, m, w of the first rise and A2, m2, w2 of the second one, in ln(step); empty where nothing
            was fitted.
    """

    outcome: Outcome
    first: Stage
    second: Stage
    half: HalfRise
    reason: str
    start: float
    fit: dict[str, float]


@dataclass(frozen=True)
class Lag:
    """How much later the second curve rises than the first, in ln(step): .69 is twice as late.

    Attributes:
        value: ln of the ratio of the first onsets.
        low, high: 95 % by the bootstraps of both.
        p: two-sided, under the null that both curves have one onset.
        reason: why there is no lag; empty where there is.
    """

    value: float
    low: float
    high: float
    p: float
    reason: str = ""


def onset(
    step: Num[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    rng: np.random.Generator,
    *,
    noise: float = 0.0,
    draws: int = DRAWS,
) -> Onset:
    """When a curve rises, with intervals; or that it does not, or that its time can't be told.

    Args:
        step: of each evaluation, rising; step 0 is left out, as it has no logarithm.
        y: the curve; NaN: not evaluated.
        rng: for the bootstraps.
        noise: the sampling error of one evaluation, where it is known: sqrt(p (1 - p) / entities) of an accuracy.
        draws: of each bootstrap.
    """
    rise = Rise.of(step, y, noise)
    if isinstance(rise, str):
        return _few(step, y, noise, rise, rng, draws)
    outcome, reason = rise.outcome()
    start, fit = float(np.exp(rise.grid.x[0])), _fit(rise)
    if outcome == "no rise":
        return Onset(outcome, NO_STAGE, NO_STAGE, NO_HALF, reason, start, fit)
    half = half_rise(np.exp(rise.grid.x), rise.y, rise.simulated(rng, draws), rise.spread_of_half())
    if outcome == "rises, onset not resolved":
        return Onset(outcome, NO_STAGE, NO_STAGE, half, reason, start, fit)
    m, _ = rise.stages()
    spread = rise.spread() * rise.bootstrap(rng, draws).std(axis=0)
    end = np.inf if outcome == "rises, not finished" else float(rise.grid.x[-1])
    stages = [_stage(rise.grid.x, float(middle), float(wide), end) for middle, wide in zip(m, spread, strict=True)]
    return Onset(outcome, stages[0], stages[1] if len(stages) > 1 else NO_STAGE, half, reason, start, fit)


def quick_half_rise(step: Num[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> float:
    """The step at which a curve has risen by half, for thousands of curves: no fit, no interval, no second rise.

    By isotonic regression from the curve's minimum on, as `Onset.half`. NaN unless the curve ends more than LEAST_RISE
    and more than CLEAR times its noise above its start; this is stricter than `onset`.

    Args:
        step: of each evaluation, rising; step 0 is left out.
        y: the curve; NaN: not evaluated.
    """
    known = np.isfinite(y) & (step >= 1)
    step, y = step[known], y[known].astype(float)
    if len(y) < FEW:
        return float("nan")
    begin = window_start(y)
    first, last = ends(y[begin:])
    if last - first <= max(LEAST_RISE, CLEAR * scatter(y)):
        return float("nan")
    return half_rise(step[begin:], y[begin:], y[None, begin:]).step


def _few(
    step: Num[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    noise: float,
    reason: str,
    rng: np.random.Generator,
    draws: int,
) -> Onset:
    """The judgement of a curve with too few evaluations for a fit: whether it ends clearly above its start."""
    known = np.isfinite(y)
    step, y = step[known], y[known].astype(float)
    begin = window_start(y, 0.0) if len(y) else 0  # few points do not show their noise
    if len(y) - begin >= FEW:
        step, y = step[begin:], y[begin:]
    first, last = ends(y) if len(y) else (0.0, 0.0)
    white = scatter(y)
    least = max(CLEAR * white if len(y) >= FEW else LEAST_RISE, LEAST_ERRORS * float(np.sqrt(2)) * noise)
    if len(y) < 2 or last - first <= least:
        above = f"; it ends {last - first:.3f} above its start, needs more than {least:.3f}" if len(y) > 1 else ""
        return Onset("no rise", NO_STAGE, NO_STAGE, NO_HALF, reason + above, float("nan"), {})
    keep = slice(1, None) if step[0] < 1 and len(y) > 2 else slice(None)  # step 0 has no logarithm
    step, y = np.maximum(step[keep], 1), y[keep]
    half = half_rise(step, y, y + white * rng.normal(size=(draws, len(y))))
    return Onset("rises, onset not resolved", NO_STAGE, NO_STAGE, half, reason, float(step[0]), {})


def _fit(rise: Rise) -> dict[str, float]:
    if rise.twice() and (pair := rise.pair):
        second = {"A2": pair.A[1], "m2": pair.m[1], "w2": pair.w[1]}
        return {"c": pair.c, "A": pair.A[0], "m": pair.m[0], "w": pair.w[0], "rho": pair.rho, "sd": pair.sd} | second
    return {name: float(getattr(rise.fits, name)[0]) for name in ("c", "A", "m", "w", "rho", "sd")}


def _stage(x: Float[np.ndarray, " point"], m: float, spread: float, end: float) -> Stage:
    """The half-rise with its interval, or the gap between evaluations around it where that is wider.

    The interval reaches from step 1 to an end (in ln(step)) at most: a rise that has ended began and ended there.
    """
    low, high = max(m - spread, 0.0), min(m + spread, end)
    after = int(np.clip(np.searchsorted(x, m, side="right"), 1, len(x) - 1))
    if high - low < x[after] - x[after - 1]:
        low, high = min(x[after - 1], m), max(x[after], m)
    return Stage(*(float(np.exp(value)) for value in (m, low, high)))


def lag(
    step: Num[np.ndarray, " point"],
    first: Float[np.ndarray, " point"],
    second: Float[np.ndarray, " point"],
    rng: np.random.Generator,
    *,
    noise: tuple[float, float] = (0.0, 0.0),
    draws: int = DRAWS,
) -> Lag:
    """How much later the second curve rises than the first; both onsets must be resolved.

    Of a curve that rises twice the first rise counts. The null draws both around one common midpoint, the most likely
    one, with each fit's own height, width and residuals, and refits them. A lag is descriptive, and depends on units
    (the square of a logistic rises later): see `precedes`.

    Args:
        step: of both curves.
        first: a curve.
        second: another.
        rng: for the bootstraps.
        noise: sampling errors of one evaluation of each, where they are known.
        draws: of each bootstrap.
    """
    rises, nan = [Rise.of(step, y, error) for y, error in zip((first, second), noise, strict=True)], float("nan")
    fitted: list[Rise] = []
    for name, rise in zip(("first", "second"), rises, strict=True):
        outcome, reason = ("can't be dated", rise) if isinstance(rise, str) else rise.outcome()
        if outcome not in RESOLVED or isinstance(rise, str):
            return Lag(nan, nan, nan, nan, f"the {name} curve: {outcome} ({reason})")
        fitted.append(rise)
    one, other = fitted

    def gaps(m: float | None = None) -> np.ndarray:
        """Simulated lags, as far from their mean as the intervals of both onsets are wider than a normal one."""
        draws_of = [rise.bootstrap(rng, draws, m)[:, 0] for rise in (one, other)]
        first_m, second_m = (
            drawn.mean() + rise.spread() / NORMAL * (drawn - drawn.mean())
            for rise, drawn in zip((one, other), draws_of, strict=True)
        )
        return second_m - first_m

    value = float(other.stages()[0][0] - one.stages()[0][0])
    half, most = NORMAL * float(gaps().std()), float(one.grid.x[-1])  # no lag is longer than from step 1 to the last
    null = gaps(_common_midpoint(one, other))
    p = float((1 + (np.abs(null) >= abs(value) - 1e-12).sum()) / (draws + 1))
    return Lag(value, max(value - half, -most), min(value + half, most), p)


def _common_midpoint(one: Rise, other: Rise) -> float:
    """The midpoint at which both curves together are most likely; between both where one of them rises twice."""
    if one.twice() or other.twice():
        return float(one.stages()[0][0] + other.stages()[0][0]) / 2
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
    return [[int(index) for index in model.predict(pen=float(penalty) * scale) or []][:-1] for penalty in penalties]
