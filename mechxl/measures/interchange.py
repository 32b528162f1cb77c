"""Interchange accuracy and causal unification: can one language's representation of a fact give another's answer?

They measure interchange interventions (Geiger et al. 2021): a donor's activation is put into a receiver's run. The
donor is a fact in one language, the receiver another fact in another language.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import t

from mechxl.measures.statistics import interval, wilson_ends

LEAST_CEILING = 0.1  # the ceiling's lower bound must be above it


@dataclass(frozen=True)
class Interchange:
    """Interchange accuracies by place, and their ratio.

    Attributes:
        accuracy: (value, low, high): how often the answer becomes the donor's value in the receiver's language.
        ceiling: the accuracy with the same donor facts in the receiver's language.
        unification: causal unification = accuracy / ceiling: the ratio of sums over pairs, not clipped. NaN if the
            ceiling's lower bound is at most LEAST_CEILING.
        n: the number of pairs.
    """

    accuracy: Float[np.ndarray, "three place"]
    ceiling: Float[np.ndarray, "three place"]
    unification: Float[np.ndarray, "three place"]
    n: int


def interchange(
    across: Float[np.ndarray, "place pair"] | Bool[np.ndarray, "place pair"],
    within: Float[np.ndarray, "place pair"] | Bool[np.ndarray, "place pair"],
    rng: np.random.Generator,
    draws: int = 1000,
) -> Interchange:
    """Causal unification = sum of `across` / sum of `within`, with 95 % intervals over pairs.

    No entity is in two pairs, so resampling pairs resamples donors' and receivers' entities jointly, and numerator and
    denominator together. Shares have Wilson's interval, which does not shrink to a point at 0 and 1. The ratio has a
    percentile bootstrap interval. If no answer across languages is the donor's, the ratio's upper end is the upper end
    of the accuracy divided by the ceiling.

    Args:
        across: hits (or shares of hits over directions) with donors in another language.
        within: hits with the same donor facts in the receiver's language, and the same receivers.
        rng: a generator.
        draws: of the bootstrap.
    """
    n = across.shape[1]
    if not n:
        nothing = np.full((3, len(across)), np.nan)
        return Interchange(nothing, nothing, nothing, 0)
    shares = [_share(np.asarray(hits, dtype=float)) for hits in (across, within)]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = (across.astype(float) @ weights.T) / (within.astype(float) @ weights.T)
        ratio = shares[0][0] / shares[1][0]
        ends = np.array([interval(row) for row in drawn]).T
        none = shares[0][0] == 0
        high = np.where(none, shares[0][2] / shares[1][0], ends[1])
    unification = np.array([ratio, np.where(none, 0.0, ends[0]), high])
    unification[:, ~(shares[1][1] > LEAST_CEILING)] = np.nan
    return Interchange(shares[0], shares[1], unification, n)


def mean_interval(values: Float[np.ndarray, " pair"], *, share: bool) -> tuple[float, float, float]:
    """(mean, low, high) over pairs, 95 %: Wilson's interval for a share, Student's t for other numbers."""
    if share:
        value, low, high = _share(values[None])[:, 0]
        return float(value), float(low), float(high)
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half


def _share(hits: Float[np.ndarray, "place pair"]) -> Float[np.ndarray, "three place"]:
    n = hits.shape[1]
    value = hits.mean(axis=1)
    low, high = wilson_ends(value, hits.var(axis=1) / n, n, n)
    return np.array([value, low, high])


def permuted_accuracy(
    word: Int[np.ndarray, "place pair"], sought: Int[np.ndarray, " pair"], relation: Int[np.ndarray, " pair"]
) -> Float[np.ndarray, " place"]:
    """The null of interchange accuracy: how often an answer is another donor's value in the receiver's language.

    Each donor is replaced by that of another pair of its relation; the result is the exact mean over all replacements.
    NaN if no relation has two pairs.

    Args:
        word: the answered word.
        sought: the word of each donor's value in the receiver's language.
        relation: of each pair.
    """
    hits, pairs = np.zeros(len(word)), 0
    for r in np.unique(relation):
        members = np.flatnonzero(relation == r)
        if len(members) < 2:
            continue
        equal = word[:, members, None] == sought[members]
        own = equal[:, np.arange(len(members)), np.arange(len(members))]
        hits += ((equal.sum(axis=2) - own) / (len(members) - 1)).sum(axis=1)
        pairs += len(members)
    return hits / pairs if pairs else np.full(len(word), np.nan)


def best_place(
    across: Float[np.ndarray, " place"], ceiling: Float[np.ndarray, " place"], free: Bool[np.ndarray, " place"]
) -> int:
    """The place with the highest interchange accuracy among those whose ceiling is above LEAST_CEILING.

    Choose it on one half of the pairs and measure on the other. If no ceiling is high enough, it is the place with the
    highest ceiling. The first of equal places wins.

    Args:
        across: interchange accuracy.
        ceiling: of the same places.
        free: whether a place's accuracy is not fixed by construction.

    Raises:
        ValueError: no place is free.
    """
    if not free.any():
        raise ValueError("every place is fixed by construction")
    high_enough = free & (ceiling > LEAST_CEILING)
    score = np.where(high_enough, 1 + across, ceiling) if high_enough.any() else ceiling
    return int(np.argmax(np.where(high_enough if high_enough.any() else free, score, -1)))
