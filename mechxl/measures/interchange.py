"""Interchange accuracy and causal unification: does one language's representation of a fact serve another's answer?

After interchange interventions (Geiger et al. 2021): a donor's activation is put into a receiver's run. Here the donor
is a fact told in one language and the receiver another fact told in another.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import t

from mechxl.measures.statistics import interval, wilson_ends

LEAST_CEILING = 0.1  # that the ceiling's lower bound must be above


@dataclass(frozen=True)
class Interchange:
    """Interchange accuracies by place, and their ratio.

    Attributes:
        accuracy: (value, low, high): how often the answer becomes the donor's value in the receiver's language.
        ceiling: the same with the same donor facts in the receiver's language.
        unification: causal unification, the first over the second: ratio of sums over pairs, not clipped. NaN where the
            ceiling's lower bound is at most LEAST_CEILING.
        n: pairs.
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

    No entity is in two pairs, so that resampling pairs resamples donors' and receivers' entities jointly, and numerator
    and denominator together. Shares have Wilson's interval, which does not shrink to a point at 0 and 1; the ratio has
    the percentile bootstrap's. Where no answer across languages is the donor's, the ratio's upper end is that of the
    numerator over the ceiling.

    Args:
        across: hits (or shares of hits over directions) of donors in another language.
        within: of the same donor facts in the receiver's language, same receivers.
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
    """Interchange accuracy if each donor were another pair's of its relation: exact, the mean of all that could be.

    The null of interchange accuracy: how often an answer is some other donor's value in the receiver's language. NaN
    where no relation has two pairs.

    Args:
        word: what was answered.
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
    """The place with the highest interchange accuracy, of those whose ceiling is above LEAST_CEILING.

    To be given the half of the pairs that is not measured afterwards. Where no ceiling is high enough, the place with
    the highest ceiling; ties go to the first.

    Args:
        across: interchange accuracy.
        ceiling: of the same places.
        free: whether a place is not fixed by construction.

    Raises:
        ValueError: no place is free.
    """
    if not free.any():
        raise ValueError("every place is fixed by construction")
    enough = free & (ceiling > LEAST_CEILING)
    score = np.where(enough, 1 + across, ceiling) if enough.any() else ceiling
    return int(np.argmax(np.where(enough if enough.any() else free, score, -1)))
