"""The excess of a run over its trained null: how much more of a measure there is than where nothing can unify.

    excess = value of the run - value of the null, at the same layer and checkpoint

Unification is the excess of S - X first, and of S - W beside it. Range: -4 to 4 for these; retrieval -1 to 1. It is
not 1 where languages coincide: S - W has the ceiling 1 - W, S - X has 1 - X, and the null takes its part.

What it cannot see: how far two trainings of the same settings differ by chance. The interval is over entities and
describes this run and this null; several pairs of runs show the rest (`analyses/claims/excess.py`).

Interval: run and null draw their entities independently, so that the ends follow from both intervals (method of
variance estimates recovery, Zou and Donner 2008): with r in [r1, r2] and n in [n1, n2],

    low = r - n - sqrt((r - r1)^2 + (n2 - n)^2),   high = r - n + sqrt((r2 - r)^2 + (n - n1)^2)

For normal draws it equals the percentile interval of their differences; it takes each measure's own intervals
(bootstrap, Wilson) as they are. The runs share names, so that their draws may agree a little: then it is too wide.
"""

import math
from dataclasses import dataclass

from scipy.stats import norm

from mechxl.findings import Estimate


@dataclass(frozen=True)
class Excess:
    """A run's number less its null's, with a 95 % interval; NaN with a reason.

    Attributes:
        value, low, high: the excess.
        run, null: the two numbers.
        n, n_null: facts that each is of.
        reason: why the excess is NaN; empty if it is not.
    """

    value: float
    low: float
    high: float
    run: float
    null: float
    n: int
    n_null: int
    reason: str = ""


def excess(run: Estimate, null: Estimate, scanned: int = 1) -> Excess:
    """The excess of one number over another.

    Args:
        run: of the run.
        null: of its trained null.
        scanned: at how many places the excess is looked at; the interval then holds for all of them together
            (Bonferroni: both sides are wider by the ratio of the normal quantiles).
    """
    counts = {"run": run.value, "null": null.value, "n": run.n, "n_null": null.n}
    if math.isnan(run.value) or math.isnan(null.value):
        reason = f"in the run: {run.reason}" if math.isnan(run.value) else f"in the null: {null.reason}"
        return Excess(math.nan, math.nan, math.nan, **counts, reason=reason)
    wider = float(norm.ppf(1 - 0.025 / scanned) / norm.ppf(0.975))
    value = run.value - null.value
    low = value - wider * math.hypot(run.value - run.low, null.high - null.value)
    high = value + wider * math.hypot(run.high - run.value, null.value - null.low)
    missing = [each.reason for each in (run, null) if math.isnan(each.low) or math.isnan(each.high)]
    return Excess(value, low, high, **counts, reason="; ".join(dict.fromkeys(missing)))
