"""What a measure returns: an estimate for all languages together and for each ordered pair, and its null draws.

Measures are taken in cells, (relation, ordered pair of languages), and averaged over them equally. A place is what is
averaged over: first all cells, then the cells of each pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechxl.findings import Estimate
from mechxl.measures.sample import Sample
from mechxl.measures.statistics import jackknife_ends, permutation_p


@dataclass(frozen=True)
class Measurement:
    """A measure with its intervals and nulls.

    Attributes:
        pooled: over relations and ordered pairs of languages, each cell alike.
        pairs: over relations, for each ordered pair.
        null: the pooled measure under each permutation, for a test over a whole scan (`statistics.scan_p`).
    """

    pooled: Estimate
    pairs: Mapping[tuple[int, int], Estimate]
    null: Float[np.ndarray, " permutation"]


def by_place(
    cells: Float[np.ndarray, "relation pair *draw"], value: Float[np.ndarray, "relation pair"] | None = None
) -> Float[np.ndarray, "place *draw"]:
    """Means over cells: of all relations and pairs, then of each pair.

    Args:
        cells: of which those that are numbers count, in each draw for itself.
        value: what was observed in each cell; where it is given, the cells where it is a number count in every draw.
    """
    if value is None:
        pooled = mean_defined(cells.reshape(cells.shape[0] * cells.shape[1], *cells.shape[2:]))
        return np.concatenate([pooled[None], mean_defined(cells)])
    counted = (~np.isnan(value)).reshape(*value.shape, *[1] * (cells.ndim - 2))
    total, number = np.where(counted, cells, 0).sum(axis=0), counted.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.concatenate([(total.sum(axis=0) / number.sum(axis=0))[None], total / number])


def mean_defined(cells: Float[np.ndarray, "cell *draw"]) -> Float[np.ndarray, "*draw"]:
    """The mean over the cells that are numbers; NaN where there is none."""
    missing = np.isnan(cells)
    if not missing.any():
        return np.asarray(cells.mean(axis=0))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(missing, 0, cells).sum(axis=0) / (~missing).sum(axis=0))


def estimate_places(
    sample: Sample,
    value: Float[np.ndarray, " place"],
    ends: tuple[Float[np.ndarray, " place"], Float[np.ndarray, " place"]],
    null: Float[np.ndarray, "place permutation"],
    *,
    reason: str,
    no_interval: str = "no bootstrap draws",
    small: bool = False,
) -> Measurement:
    """Estimates of all places.

    Args:
        sample: what was measured.
        value: of the measure.
        ends: of its intervals.
        null: the measure under each permutation; NaN where it has no null of its own.
        reason: why a value is NaN.
        no_interval: why only its interval is.
        small: the smaller the measure, the more there is: p counts the null values that are as small.
    """
    n, entities = len(sample.relation), sample.entities
    sign = -1 if small else 1
    estimates = []
    for place_value, low, high, draws in zip(value, *ends, null, strict=True):
        if np.isnan(place_value):
            estimates.append(Estimate.undefined(reason, n, entities))
            continue
        missing = [no_interval] if np.isnan(low) or np.isnan(high) else []
        mean = p = np.nan
        if not len(draws):
            missing.append("no permutations")
        elif np.isnan(draws).any():
            missing.append("no null of its own")
        else:
            mean, p = float(draws.mean()), permutation_p(sign * float(place_value), sign * draws)
        estimates.append(
            Estimate(float(place_value), float(low), float(high), mean, p, n, entities, "; ".join(missing))
        )
    return Measurement(estimates[0], dict(zip(sample.pairs, estimates[1:], strict=True)), null[0])


def jackknife_cells(
    sample: Sample,
    value: Float[np.ndarray, "relation pair"],
    deleted: Float[np.ndarray, "relation pair entity"],
    null: Float[np.ndarray, "relation pair permutation"],
    *,
    reason: str,
    small: bool = False,
) -> Measurement:
    """Estimates of all places from cells, with jackknife intervals from the measure without each entity."""
    values = by_place(value)
    ends = jackknife_ends(values, by_place(deleted, value))
    no_interval = "no interval, as without some entity there is no such number"
    return estimate_places(
        sample, values, ends, by_place(null, value), reason=reason, no_interval=no_interval, small=small
    )


def not_defined(sample: Sample, reason: str) -> Measurement:
    """NaN everywhere, and why."""
    nothing = Estimate.undefined(reason, len(sample.relation), sample.entities)
    return Measurement(nothing, dict.fromkeys(sample.pairs, nothing), np.full(sample.permutations, np.nan))
