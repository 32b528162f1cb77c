"""Checkerboard correlation: are facts that are similar within one language also similar across languages?

    checkerboard(a, b) = Spearman's rho over pairs f < g of one relation, between
        cos(h(f, a), h(g, a))   and   (cos(h(f, a), h(g, b)) + cos(h(g, a), h(f, b))) / 2

It is taken within a relation, then averaged; -1 to 1; ties share their mean rank. It is NaN if no relation has 3 facts,
or if all similarities are equal. For unrelated vectors it is 0.

What it cannot see: whether a fact is similar to itself, since the diagonal is left out; a shift or any monotone change
of the similarities. If all facts are equally far apart, it is noise, even if the languages coincide.

Pairs that share a fact are dependent, so Spearman's own p-value is not valid. Intervals: delete-one-entity jackknife
with a t quantile, to first order (a pair's influence on rho and on all ranks, summed over an entity's pairs). They
cover the truth in 95 to 97 % of planted samples (docs/measures.md). Nulls permute entities and compute the ranks again.
Their mean is not 0 if some facts are similar to every fact of their language: such facts stay so under permutation.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechxl.measures.measurement import Measurement, jackknife_cells, not_defined
from mechxl.measures.sample import Sample
from mechxl.measures.vectors import undefined

FEWEST = 3
AT_ONCE = 16  # permutations that are ranked together, so that their bins fit into the processor's cache
BINS = 8192  # for ranks under permutations: rho then differs from its exact value by less than .001

Pairs = Float[np.ndarray, " pair"]
Upper = tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]


@dataclass(frozen=True)
class Ranked:
    """Ranks of the similarities of pairs f < g.

    Attributes:
        share: the share of pairs with a lower similarity, plus half the share of ties; in (0, 1), with mean 1/2.
        level: the index of each similarity among the distinct similarities, in ascending order.
    """

    share: Pairs
    level: Int[np.ndarray, " pair"]

    def beyond(self, weight: Pairs) -> Pairs:
        """For each pair, the mean over all pairs of: the weight of a pair above it, or half the weight of a tie."""
        level_weight = np.bincount(self.level, weights=weight)
        above = np.cumsum(level_weight[::-1])[::-1] - level_weight / 2
        return above[self.level] / len(weight)


def checkerboard(u: Float[np.ndarray, "fact language d"], sample: Sample) -> Measurement:
    """The correlation for each ordered pair (a, b): similarities within a against similarities across a and b.

    Args:
        u: unit vectors, centred as the caller chooses.
        sample: the facts of these vectors. Permutations are slow: use a few hundred facts and permutations.
    """
    if reason := undefined(u, sample.relation):
        return not_defined(sample, reason)
    relations = [(members, which) for members, which in sample.by_relation() if len(members) >= FEWEST]
    if not relations:
        return not_defined(sample, f"no relation has {FEWEST} facts")
    entities, index = np.unique(sample.entity, return_inverse=True)
    shape = (len(relations), len(sample.pairs))
    value, deleted = np.empty(shape), np.empty((*shape, len(entities)))
    null = np.empty((*shape, sample.permutations))
    for i, (members, which) in enumerate(relations):
        upper = np.triu_indices(len(members), 1)
        within = [ranked((u[members, a] @ u[members, a].T)[upper]) for a in range(sample.n_languages)]
        for a, b in sample.unordered:
            cross = u[members, a] @ u[members, b].T
            across = ranked((cross + cross.T)[upper])
            nulls = permuted_rho(within[a], within[b], cross, upper, sample.relabelled(which, a, b))
            for language, j, drawn in (
                (a, sample.pairs.index((a, b)), nulls[0]),
                (b, sample.pairs.index((b, a)), nulls[1]),
            ):
                rho, without = rho_without(within[language], across, upper)
                value[i, j] = deleted[i, j] = rho
                deleted[i, j, index[members]] = without
                null[i, j] = drawn
    return jackknife_cells(sample, value, deleted, null, reason="similarities that do not differ have no correlation")


def ranked(similarity: Pairs) -> Ranked:
    """Ranks of similarities; differences up to 1e-12 are rounding and count as ties."""
    order = np.argsort(similarity)
    level = np.empty(len(order), dtype=np.intp)
    level[order] = np.concatenate([[0], np.cumsum(np.diff(similarity[order]) > 1e-12)])
    sizes = np.bincount(level)
    return Ranked(((np.cumsum(sizes) - sizes / 2) / len(order))[level], level)


def rho_without(x: Ranked, y: Ranked, upper: Upper) -> tuple[float, Float[np.ndarray, " member"]]:
    """Spearman's rho, and rho without each member, to first order.

    With shares F and G, rho = C / sqrt(V W), C = mean FG - 1/4, V = mean FF - 1/4, W = mean GG - 1/4. A pair p changes
    mean FG by F_p G_p + mean over q above p in x of G_q + mean over q above p in y of F_q - 3 mean FG, as each pair
    counts in three means. Leaving out a member leaves out all its pairs.
    """
    f, g = x.share, y.share
    c, v, w = (f * g).mean() - 0.25, (f * f).mean() - 0.25, (g * g).mean() - 0.25
    n = int(upper[1].max()) + 1
    if min(v, w) <= 1e-12:
        return np.nan, np.full(n, np.nan)
    rho = c / np.sqrt(v * w)
    of_c = f * g + x.beyond(g) + y.beyond(f) - 3 * (f * g).mean()
    of_v = f * f + 2 * x.beyond(f) - 3 * (f * f).mean()
    of_w = g * g + 2 * y.beyond(g) - 3 * (g * g).mean()
    influence = of_c / np.sqrt(v * w) - rho / 2 * (of_v / v + of_w / w)
    of_member = sum(np.bincount(side, weights=influence, minlength=n) for side in upper)
    return float(rho), rho - of_member / (len(f) - (n - 1))


def permuted_rho(
    within_a: Ranked,
    within_b: Ranked,
    cross: Float[np.ndarray, "member member"],
    upper: Upper,
    partner: Int[np.ndarray, "permutation member"],
) -> tuple[Float[np.ndarray, " permutation"], Float[np.ndarray, " permutation"]]:
    """rho(a, b) and rho(b, a) with b's members permuted."""
    n = len(cross)
    left, right = upper
    a, table = (_standard(ranks.share) for ranks in (within_a, within_b))
    b = np.zeros((n, n), dtype=np.float32)
    b[upper] = b.T[upper] = table
    cross, b = cross.astype(np.float32).ravel(), b.ravel()
    rho = np.empty((2, len(partner)))
    for start in range(0, len(partner), AT_ONCE):
        some = partner[start : start + AT_ONCE]
        first, second = some.take(left, axis=1), some.take(right, axis=1)
        across = _coarse_ranks(cross.take(left * n + second) + cross.take(right * n + first))
        here = slice(start, start + len(some))
        rho[0, here], rho[1, here] = across @ a, np.einsum("kp,kp->k", b.take(first * n + second), across)
    return rho[0], rho[1]


def _coarse_ranks(similarity: Float[np.ndarray, "permutation pair"]) -> Float[np.ndarray, "permutation pair"]:
    """Ranks of binned similarities, standardised: an order of magnitude faster than sorting. NaN if all are equal."""
    low, high = similarity.min(axis=1, keepdims=True), similarity.max(axis=1, keepdims=True)
    spread = np.where(high - low > 1e-6, high - low, np.inf)
    bins = ((similarity - low) * ((BINS - 1) / spread).astype(np.float32)).astype(np.intp)
    bins += BINS * np.arange(len(bins))[:, None]
    sizes = np.bincount(bins.ravel(), minlength=BINS * len(bins))
    below = np.cumsum(sizes.reshape(-1, BINS), axis=1).ravel().take(bins)
    rank = below - (sizes.take(bins) + similarity.shape[1]) / 2
    length = np.sqrt(np.einsum("kp,kp->k", rank, rank))[:, None]
    return (rank / np.where(np.isfinite(spread), length, np.nan)).astype(np.float32)


def _standard(ranks: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    """Centred and scaled to length 1, so that an inner product is a correlation; NaN if all ranks are equal."""
    ranks = (ranks - ranks.mean()).astype(np.float32)
    length = np.sqrt(ranks @ ranks)
    return ranks / (length if length > 1e-6 else np.float32(np.nan))
