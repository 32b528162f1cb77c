"""When does a curve rise, and does it rise at all? Half-rise steps with intervals; "no transition" is an answer.

Onset = the half-rise of the logistic of `rises.py`. It counts as a transition if (a) its AICc beats those of a
constant, a line in ln(step) and a line in step, all with AR(1) residuals, by more than 3 (by more where its residuals
wander, or evaluations before a minimum are left out: `Rise.margin`); (b) it is higher than 4 standard
deviations of the residuals' innovations, and than LEAST_RISE; (c) it is below .1 of its height at the first point and
above .9 at the last. Failing (c) alone: not finished, and the onset is censored. A curve that falls is to be given with
its sign changed. How often this errs is measured in `analyses/calibration/transitions.py` (table in docs/phases.md).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

from mechxl.measures.rises import DRAWS, MIDPOINTS, Outcome, Rise

SPREAD = 2.25  # of the bootstrap's standard deviations; 1.96 covers .91 to .95, as rho and the window are not known


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


def onset(
    step: Num[np.ndarray, " point"],
    y: Float[np.ndarray, " point"],
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
) -> Onset:
    """When a curve rises by half of its height, with its interval; or that it does not, or has not finished.

    Args:
        step: of each evaluation, rising; step 0 is left out, as it has no logarithm.
        y: the curve; NaN: not evaluated.
        rng: for the bootstrap.
        draws: of the bootstrap.
    """
    rise, nan = Rise.of(step, y), float("nan")
    if isinstance(rise, str):
        return Onset("no transition", nan, nan, nan, rise, nan, {})
    outcome, reason = rise.outcome()
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
        draws: of each bootstrap.
    """
    rises, nan = [Rise.of(step, y) for y in (first, second)], float("nan")
    fitted: list[Rise] = []
    for name, rise in zip(("first", "second"), rises, strict=True):
        outcome, reason = ("no transition", rise) if isinstance(rise, str) else rise.outcome()
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
