"""AUC: how often an item that was right has the higher score than one that was not.

    AUC = P(score of a right item > score of a wrong one) + P(they are equal) / 2 = U / (n right x n wrong)

over all such pairs of items (Mann and Whitney 1947). 0 to 1; 1/2 where the score says nothing, below it where lower
scores go with being right; NaN where no item is right, or all are.

What it cannot see: how much higher. If strata (relations, languages) differ both in score and in how often items are
right, AUC is off 1/2 without any item mattering: the null, which keeps the strata, shows by how much.

Intervals: AUC without each entity, in closed form, gives a jackknife variance (for one item an entity: DeLong et al.
1988), and that Wilson's interval, which does not end beyond 1; 94 to 96 % of planted samples are covered. Nulls permute
entities within a stratum, one permutation for all strata.
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
    """AUC with an interval over entities and a permutation null; it has no pairs of languages.

    Args:
        score: of each item (`by_fact.score_by_fact`, say).
        right: whether it was answered rightly.
        entity: of each item; at most one item of an entity in a stratum.
        stratum: items that may be exchanged: a relation, or relation and language.
        rng: a generator.
        permutations: of entities.
        partners: these permutations, drawn before with `entity_permutations` for many scores of the same items.

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
    """AUC, and AUC without each entity (NaN where no right item is left, or no wrong one).

    Args:
        level: the score, as its place among the distinct scores.
        right: whether each item was.
        index: of its entity, from 0.
    """
    of_right, of_wrong = (np.bincount(level[side], minlength=level.max() + 1) for side in (right, ~right))
    won = (np.cumsum(of_wrong) - of_wrong / 2)[level]  # wrong items that each is above
    lost = (of_right.sum() - np.cumsum(of_right) + of_right / 2)[level]  # right items that each is below
    u, n_right, n_wrong = won[right].sum(), right.sum(), (~right).sum()
    without = u - np.bincount(index, weights=np.where(right, won, lost))
    order = np.argsort(index, kind="stable")  # pairs of one entity's items were taken off twice
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
    """AUC with what became of the items permuted. With all items of weight 1 the ranks stay: only their sum changes."""
    sizes = np.bincount(level)
    rank = (np.cumsum(sizes) - (sizes - 1) / 2)[level]
    n_right = int(right.sum())
    total = np.zeros(partners[0].shape[1])
    for s, (_, partner) in zip(np.unique(stratum), partners, strict=True):
        members = np.flatnonzero(stratum == s)
        total += right[members][partner] @ rank[members]
    return (total - n_right * (n_right + 1) / 2) / (n_right * (len(right) - n_right))
