"""The result of a measure: an estimate for all languages together and for each ordered pair, and its null draws.

A cell is a relation and an ordered pair of languages. A measure is computed in each cell and averaged over cells
equally. A place is a set of cells to average over: first all cells, then the cells of each pair.
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
        pooled: the mean over relations and ordered pairs of languages, with equal weight for each cell.
        pairs: the mean over relations, for each ordered pair.
        null: the pooled measure under each permutation, for a test over a whole scan (`statistics.scan_p`).
    """

    pooled: Estimate
    pairs: Mapping[tuple[int, int], Estimate]
    null: Float[np.ndarray, " permutation"]


def by_place(
    cells: Float[np.ndarray, "relation pair *draw"], value: Float[np.ndarray, "relation pair"] | None = None
) -> Float[np.ndarray, "place *draw"]:
    """Means over cells: over all relations and pairs, then over each pair's relations.

    Args:
        cells: the measure in each cell. NaN cells are left out, separately in each draw.
        value: the observed value of each cell. If it is given, the cells where it is a number count in every draw.
    """
    if value is None:
        pooled = mean_defined(cells.reshape(cells.shape[0] * cells.shape[1], *cells.shape[2:]))
        return np.concatenate([pooled[None], mean_defined(cells)])
    counted = (~np.isnan(value)).reshape(*value.shape, *[1] * (cells.ndim - 2))
    total, number = np.where(counted, cells, 0).sum(axis=0), counted.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.concatenate([(total.sum(axis=0) / number.sum(axis=0))[None], total / number])


def mean_defined(cells: Float[np.ndarray, "cell *draw"]) -> Float[np.ndarray, "*draw"]:
    """The mean over the cells that are not NaN; NaN if all are."""
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
        sample: the facts that were measured.
        value: the measure.
        ends: the ends of its intervals.
        null: the measure under each permutation; NaN if it has no null.
        reason: why a value is NaN.
        no_interval: why only its interval is NaN.
        small: whether small values are evidence; p then counts the null values that are as small.
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
    """Estimates of all places from cells; jackknife intervals come from the measure without each entity."""
    values = by_place(value)
    ends = jackknife_ends(values, by_place(deleted, value))
    no_interval = "no interval, as without some entity there is no such number"
    return estimate_places(
        sample, values, ends, by_place(null, value), reason=reason, no_interval=no_interval, small=small
    )


def not_defined(sample: Sample, reason: str) -> Measurement:
    """A measurement that is NaN everywhere, with the reason."""
    nothing = Estimate.undefined(reason, len(sample.relation), sample.entities)
    return Measurement(nothing, dict.fromkeys(sample.pairs, nothing), np.full(sample.permutations, np.nan))
