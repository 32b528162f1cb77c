"""Interchange accuracy and causal unification: can one language's representation of a fact give another's answer?

They measure interchange interventions (Geiger et al. 2021): a donor's activation is put into a receiver's run. The
donor is a fact in one language, the receiver another fact in another language.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import t

from mechxl.measures.statistics import wilson_ends

LEAST_GAP = 0.05  # the lower end of ceiling - null must be above it
_HALVINGS, _NEWTON = 15, 12  # of the search for an end of an interval, and for a multiplier
_CELLS = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])  # hits (across, within)


@dataclass(frozen=True)
class Interchange:
    """Interchange accuracies by place, and causal unification; each is (value, low, high).

    Attributes:
        accuracy: how often the answer becomes the donor's value in the receiver's language.
        ceiling: the accuracy with the same donor facts in the receiver's language.
        null: how often the answer is a permuted donor's value.
        gap: ceiling - null.
        unification: causal unification = (accuracy - null) / (ceiling - null): 1 where a donor in another language does
            as well as one in the receiver's own, 0 where it does no better than chance; not clipped. NaN unless the
            lower end of the gap is above LEAST_GAP.
        n: the number of pairs.
    """

    accuracy: Float[np.ndarray, "three place"]
    ceiling: Float[np.ndarray, "three place"]
    null: Float[np.ndarray, "three place"]
    gap: Float[np.ndarray, "three place"]
    unification: Float[np.ndarray, "three place"]
    n: int


def interchange(
    across: Bool[np.ndarray, "place item"],
    within: Bool[np.ndarray, "place item"],
    null: Float[np.ndarray, "place item"],
    pair: Int[np.ndarray, " item"],
) -> Interchange:
    """Causal unification = (sum of `across` - `null`) / (sum of `within` - `null`), with 95 % intervals over pairs.

    No entity is in two pairs, so pairs are independent given the model, and intervals over pairs are intervals over
    donors' and receivers' entities jointly. Shares have Wilson's interval; the gap has Newcombe's (1998), of its two.

    The ratio theta has a score interval, which does not shrink to a point where all pairs agree: the thetas that
    z = across - theta within - (1 - theta) null does not reject. The variance of z is that of the most likely shares of
    the four cells (across, within) whose mean of z is 0 (as Nam and Blackwelder 2002 have for null = 0). To it is
    added what the variance over pairs has beyond that over items: the null's sampling error, and pairs of two items.

    Args:
        across: hits with donors in another language; an item is a pair in one direction.
        within: hits with the same donor facts in the receiver's language, and the same receivers.
        null: of `permuted_hits`.
        pair: of each item.
    """
    member = _membership(pair)
    items, n = member.shape
    if not n:
        nothing = np.full((3, len(across)), np.nan)
        return Interchange(nothing, nothing, nothing, nothing, nothing, 0)
    a, c = across.astype(float), within.astype(float)
    accuracy, ceiling = (_share(hits, member) for hits in (a, c))
    chance = _share(null, member)
    gap = _difference(ceiling, chance)
    unification = np.full((3, len(a)), np.nan)
    clear = gap[1] > LEAST_GAP  # NaN is not
    if clear.any() and n > 1:
        a, c, nu = a[clear], c[clear], null[clear]
        counts = np.stack([((a == x) & (c == y)).sum(axis=1) for x, y in _CELLS], axis=1)
        beyond = _covariances(a - nu, c - nu, member) - _covariances(a, c, np.eye(items))
        unification[0, clear] = (accuracy[0] - chance[0])[clear] / gap[0, clear]
        critical = float(t.ppf(0.975, n - 1)) ** 2
        unification[1:, clear] = _ratio_ends(counts, chance[0, clear], beyond, 1 / gap[1, clear], critical)
    return Interchange(accuracy, ceiling, chance, gap, unification, n)


def _membership(pair: Int[np.ndarray, " item"]) -> Float[np.ndarray, "item pair"]:
    labels, index = np.unique(pair, return_inverse=True)
    return (index[:, None] == np.arange(len(labels))).astype(float)


def _share(
    hits: Float[np.ndarray, "place item"], member: Float[np.ndarray, "item pair"]
) -> Float[np.ndarray, "3 place"]:
    """A share with Wilson's interval; its variance is that of a ratio of sums over pairs."""
    items, n = member.shape
    value = np.clip(hits.mean(axis=1), 0, 1)
    by_pair = (hits - value[:, None]) @ member
    variance = (by_pair**2).sum(axis=1) / items**2 * n / max(n - 1, 1)
    low, high = wilson_ends(value, variance, items, n)
    return np.array([value, low, high])


def _difference(
    one: Float[np.ndarray, "three place"], other: Float[np.ndarray, "three place"]
) -> Float[np.ndarray, "three place"]:
    value = one[0] - other[0]
    low = value - np.hypot(one[0] - one[1], other[2] - other[0])
    return np.array([value, low, value + np.hypot(one[2] - one[0], other[0] - other[1])])


def _covariances(
    x: Float[np.ndarray, "place item"], y: Float[np.ndarray, "place item"], member: Float[np.ndarray, "item cluster"]
) -> Float[np.ndarray, "3 place"]:
    """Variance of mean x, covariance of both means, variance of mean y, over clusters of items."""
    items, clusters = member.shape
    x, y = ((part - part.mean(axis=1, keepdims=True)) @ member for part in (x, y))
    scale = clusters / max(clusters - 1, 1) / items**2
    return np.array([(x * x).sum(axis=1), (x * y).sum(axis=1), (y * y).sum(axis=1)]) * scale


def _ratio_ends(
    counts: Int[np.ndarray, "place 4"],
    chance: Float[np.ndarray, " place"],
    beyond: Float[np.ndarray, "3 place"],
    widest: Float[np.ndarray, " place"],
    critical: float,
) -> Float[np.ndarray, "2 place"]:
    """Both ends of the score interval, by bisection between the ratio and a value that no ratio can pass."""
    items = counts.sum(axis=1)
    share_a, share_c = counts @ _CELLS[:, 0] / items, counts @ _CELLS[:, 1] / items
    ratio = (share_a - chance) / (share_c - chance)
    inside = np.tile(ratio, (2, 1))
    outside = ratio + np.array([[-1.0], [1.0]]) * (1 + 2 * widest)
    counts, chance = np.tile(counts, (2, 1)), np.tile(chance, 2)
    likely = (chance * counts.sum(axis=1) + 0.5) / (counts.sum(axis=1) + 1)  # a null of no hit is not known to be 0
    for _ in range(_HALVINGS):
        theta = (inside + outside) / 2
        z_mean = share_a - theta * share_c - (1 - theta) * chance.reshape(2, -1)
        variance = _restricted_variance(counts, theta.ravel(), likely).reshape(2, -1)
        more = beyond[0] - 2 * theta * beyond[1] + theta**2 * beyond[2]
        variance = np.maximum(variance + more, variance / 2)
        kept = z_mean**2 <= critical * variance
        inside, outside = np.where(kept, theta, inside), np.where(kept, outside, theta)
    return np.array([np.minimum(inside[0], ratio), np.maximum(inside[1], ratio)])


def _restricted_variance(
    counts: Int[np.ndarray, "row 4"], theta: Float[np.ndarray, " row"], chance: Float[np.ndarray, " row"]
) -> Float[np.ndarray, " row"]:
    """The variance of mean z under the most likely shares of the four cells for which the mean of z is 0.

    These are p = counts / (n (1 + m z)); the multiplier m makes the mean 0. Where no m does while 1 + m z >= 0 in all
    cells, a cell without counts takes what is missing.
    """
    n = counts.sum(axis=1)
    z = _CELLS[:, 0] - theta[:, None] * _CELLS[:, 1] - ((1 - theta) * chance)[:, None]
    shares = counts / n[:, None]
    top, bottom = np.maximum(z.max(axis=1), 1e-9), np.minimum(z.min(axis=1), -1e-9)
    low, high, m = -1 / top, -1 / bottom, np.zeros(len(n))
    for _ in range(_NEWTON):  # Newton's steps, or halves where they leave the bracket
        parts = z / np.maximum(1 + m[:, None] * z, 1e-12)
        mean = (shares * parts).sum(axis=1)
        low, high = np.where(mean > 0, m, low), np.where(mean > 0, high, m)
        m = m + mean / np.maximum((shares * parts**2).sum(axis=1), 1e-12)
        m = np.where((m > low) & (m < high), m, (low + high) / 2)
    p = shares / np.maximum(1 + m[:, None] * z, 1e-12)
    missing = (p * z).sum(axis=1)  # what the cell at the bound takes, times its z
    taken = np.where(missing > 0, -missing * bottom, -missing * top)
    return ((p * z**2).sum(axis=1) + np.abs(taken)) / n


def permuted_hits(
    word: Int[np.ndarray, "place pair"],
    sought: Int[np.ndarray, " pair"],
    cell: Int[np.ndarray, " pair"],
    valid: Bool[np.ndarray, "pair pair"],
) -> Float[np.ndarray, "place pair"]:
    """The null of interchange accuracy: how often an answer is another donor's value in the receiver's language.

    Each donor is replaced by every other donor of its cell that is as valid for the receiver. The null is the mean over
    receivers of the share of these whose value is answered. Given are its values by pair: their mean is the null, and
    their variance its sampling error, in which a pair counts as receiver and as donor (the projection of a
    U-statistic). NaN if no permuted donor has another word than the pair's own, so that the null would be the accuracy
    itself: with two values, a donor can't be told from any other.

    Args:
        word: the answered word.
        sought: the word of each donor's value in the receiver's language.
        cell: pairs of one relation and one receiver's language have one.
        valid: whether the donor of the second pair may replace that of the first.
    """
    n = len(cell)
    allowed = (cell[:, None] == cell) & valid & ~np.eye(n, dtype=bool)
    if not (allowed & (sought[:, None] != sought)).any():
        return np.full(word.shape, np.nan)
    donors = allowed.sum(axis=1)
    weight = allowed / np.maximum(donors, 1)[:, None]
    hits = np.zeros(word.shape)
    as_donor = np.zeros(word.shape)
    for members in (np.flatnonzero(cell == one) for one in np.unique(cell)):
        equal = word[:, members, None] == sought[members]
        weighted = equal * weight[np.ix_(members, members)]
        hits[:, members] = weighted.sum(axis=2)
        as_donor[:, members] = weighted.sum(axis=1) - hits[:, members] @ weight[np.ix_(members, members)]
    null = hits[:, donors > 0].mean(axis=1, keepdims=True)
    return null + (np.where(donors > 0, hits - null, 0) + as_donor) * n / (donors > 0).sum()


def best_place(
    above: Float[np.ndarray, " place"], gap: Float[np.ndarray, " place"], free: Bool[np.ndarray, " place"]
) -> int:
    """The place with the highest interchange accuracy above its null, among those whose gap is above LEAST_GAP.

    Choose it on one half of the pairs and measure on the other. If no gap is wide enough, it is the place with the
    widest one. The first of equal places wins.

    Args:
        above: interchange accuracy - null.
        gap: ceiling - null of the same places.
        free: whether a place's accuracy is not fixed by construction.

    Raises:
        ValueError: no place is free.
    """
    if not free.any():
        raise ValueError("every place is fixed by construction")
    wide_enough = free & (gap > LEAST_GAP)
    score, candidates = (above, wide_enough) if wide_enough.any() else (gap, free)
    return int(np.argmax(np.where(candidates, score, -np.inf)))


def mean_interval(
    values: Float[np.ndarray, " item"], pair: Int[np.ndarray, " item"], *, share: bool
) -> tuple[float, float, float]:
    """(mean, low, high) over pairs, 95 %: Wilson's interval for a share, Student's t for other numbers."""
    member = _membership(pair)
    if share:
        value, low, high = _share(values[None], member)[:, 0]
        return float(value), float(low), float(high)
    variance = float(_covariances(values[None], values[None], member)[0, 0])
    half = float(t.ppf(0.975, member.shape[1] - 1) * np.sqrt(variance))
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half
