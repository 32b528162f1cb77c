"""AUC: how often an item that was answered rightly has a higher score than an item that was answered wrongly.

    AUC = P(score of a right item > score of a wrong one) + P(they are equal) / 2 = U / (n right x n wrong)

over all such pairs of items (Mann and Whitney 1947). It lies in 0 to 1. It is 1/2 if the score says nothing, and lower
if right items have lower scores. It is NaN if no item, or every item, is right.

What it cannot see: how much higher the score is. If strata (relations, languages) differ in both score and rightness,
AUC differs from 1/2 even if no single item matters. The null keeps the strata, so it shows how large this effect is.

Intervals: AUC without each entity, in closed form, gives a jackknife variance (with one item an entity: DeLong et al.
1988), and that gives Wilson's interval, which stays within [0, 1]. They cover the truth in 94 to 96 % of planted
samples. Nulls permute entities within a stratum, one permutation for all strata.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.findings import Estimate
from mechxl.measures.measurement import Measurement
from mechxl.measures.sample import Partners, entity_permutations
from mechxl.measures.statistics import jackknife_variance, permutation_p, wilson_ends


def auc(
    score: Float[np.ndarray, " item"],
    right: Bool[np.ndarray, " item"],
    entity: Int[np.ndarray, " item"],
    stratum: Int[np.ndarray, " item"],
    rng: np.random.Generator,
    *,
    permutations: int = 1000,
    partners: Partners | None = None,
) -> Measurement:
    """AUC with an interval over entities and a permutation null; it has no values for pairs of languages.

    Args:
        score: of each item (for example `by_fact.score_by_fact`).
        right: whether each item was answered rightly.
        entity: of each item; at most one item of an entity in a stratum.
        stratum: items that may be exchanged: a relation, or relation and language.
        rng: a generator.
        permutations: of entities.
        partners: the permutations, if `entity_permutations` drew them before, for many scores of the same items.

    Raises:
        ValueError: a score that is not finite, or an entity with two items in a stratum.
    """
    if not np.isfinite(score).all():
        raise ValueError("scores hold NaN or infinite values")
    n, entities = len(score), len(np.unique(entity))
    if right.all() or not right.any():
        reason = "no items" if not n else "every item is right" if right.all() else "no item is right"
        return Measurement(Estimate.undefined(reason, n, entities), {}, np.full(permutations, np.nan))
    if len(np.unique(np.stack([stratum, entity]), axis=1).T) < n:
        raise ValueError("an entity has two items in one stratum")
    _, level = np.unique(score, return_inverse=True)
    _, index = np.unique(entity, return_inverse=True)
    value, deleted = auc_without(level, right, index)
    certain = min(int(right.sum()), int((~right).sum()), entities)
    ends = wilson_ends(np.array([value]), jackknife_variance(deleted[None]), n, certain)
    low, high = (float(end[0]) for end in ends)
    if partners is None:
        partners = entity_permutations(entity, stratum, 2, permutations, rng)
    null = _permuted(level, right, partners, stratum)
    reasons = ["no interval: without some entity all items are right, or none"] * bool(np.isnan(low))
    reasons += ["no permutations"] * (permutations == 0)
    mean, p = (float(null.mean()), permutation_p(value, null)) if permutations else (np.nan, np.nan)
    return Measurement(Estimate(value, low, high, mean, p, n, entities, "; ".join(reasons)), {}, null)


def auc_without(
    level: Int[np.ndarray, " item"], right: Bool[np.ndarray, " item"], index: Int[np.ndarray, " item"]
) -> tuple[float, Float[np.ndarray, " entity"]]:
    """AUC, and AUC without each entity (NaN if no right item, or no wrong one, is left).

    Args:
        level: the rank of each item's score among the distinct scores.
        right: whether each item was answered rightly.
        index: the index of each item's entity, from 0.
    """
    right_counts, wrong_counts = (np.bincount(level[side], minlength=level.max() + 1) for side in (right, ~right))
    won = (np.cumsum(wrong_counts) - wrong_counts / 2)[level]  # wrong items below each item
    lost = (right_counts.sum() - np.cumsum(right_counts) + right_counts / 2)[level]  # right items above each item
    u, n_right, n_wrong = won[right].sum(), right.sum(), (~right).sum()
    without = u - np.bincount(index, weights=np.where(right, won, lost))
    order = np.argsort(index, kind="stable")  # pairs within one entity were subtracted twice
    for k in range(1, np.bincount(index).max()):
        one, other = order[:-k], order[k:]
        unequal = (index[one] == index[other]) & (right[one] != right[other])
        one, other = one[unequal], other[unequal]
        above = np.where(right[one], level[one] - level[other], level[other] - level[one])
        without += np.bincount(index[one], weights=(np.sign(above) + 1) / 2, minlength=len(without))
    left_right, left_wrong = (n - np.bincount(index, weights=s) for n, s in ((n_right, right), (n_wrong, ~right)))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(u / (n_right * n_wrong)), without / (left_right * left_wrong)


def _permuted(
    level: Int[np.ndarray, " item"],
    right: Bool[np.ndarray, " item"],
    partners: Partners,
    stratum: Int[np.ndarray, " item"],
) -> Float[np.ndarray, " permutation"]:
    """AUC with the items' rightness permuted. The ranks do not change, only the sum of the right items' ranks."""
    sizes = np.bincount(level)
    rank = (np.cumsum(sizes) - (sizes - 1) / 2)[level]
    n_right = int(right.sum())
    total = np.zeros(partners[0].shape[1])
    for s, (_, partner) in zip(np.unique(stratum), partners, strict=True):
        members = np.flatnonzero(stratum == s)
        total += right[members][partner] @ rank[members]
    return (total - n_right * (n_right + 1) / 2) / (n_right * (len(right) - n_right))
