"""Checkerboard correlation: are the facts that are near each other in one language near each other across languages?

    checkerboard(a, b) = Spearman's rho over pairs f < g of one relation, between
        cos(h(f, a), h(g, a))   and   (cos(h(f, a), h(g, b)) + cos(h(g, a), h(f, b))) / 2

Within a relation, then averaged; -1 to 1; ties share their mean rank. NaN where no relation has 3 facts, or where the
similarities do not differ. For vectors that have nothing in common it is 0.

What it cannot see: the diagonal is left out, so that whether f itself is found is not asked; a shift or any monotone
change of the similarities; facts that are all equally far apart give noise, however well the languages coincide.

Pairs that share a fact depend on each other, so that Spearman's own p-value is of no use here. Intervals: delete-one-
entity jackknife, to first order (what a pair does to rho and to all ranks, summed over an entity's pairs), with a t
quantile; they cover in 95 to 97 % of planted samples (docs/measures.md). Nulls permute entities and rank anew. Their
mean is not 0 where some facts are near everything in their language: they stay so across languages, whoever is put
beside them.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from mechxl.measures.measurement import Measurement, jackknife_cells, not_defined
from mechxl.measures.sample import Sample
from mechxl.measures.vectors import undefined

FEWEST = 3
BINS = 8192  # of the ranks under permutations: rho differs from that of exact ranks by less than .001

Pairs = Float[np.ndarray, " pair"]
Upper = tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]


@dataclass(frozen=True)
class Ranked:
    """Similarities of pairs f < g as shares: of pairs below, and half of those alike.

    Attributes:
        share: in (0, 1), its mean is 1/2.
        level: which of the distinct similarities each is, in ascending order.
    """

    share: Pairs
    level: Int[np.ndarray, " pair"]

    def beyond(self, weight: Pairs) -> Pairs:
        """For each pair, the mean over all pairs of weight where these are above it, and half where alike."""
        each = np.bincount(self.level, weights=weight)
        above = np.cumsum(each[::-1])[::-1] - each / 2
        return above[self.level] / len(weight)


def checkerboard(u: Float[np.ndarray, "fact language d"], sample: Sample) -> Measurement:
    """The correlation of each ordered pair (a, b): the similarities within a against those across a and b.

    Args:
        u: unit vectors, centred as is wanted.
        sample: which facts they are of. Permutations cost most: some hundred facts and permutations are meant.
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
        for a, b in combinations(range(sample.n_languages), 2):
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
    """Ranks of similarities; alike within 1e-12, which is rounding."""
    order = np.argsort(similarity)
    level = np.empty(len(order), dtype=np.intp)
    level[order] = np.concatenate([[0], np.cumsum(np.diff(similarity[order]) > 1e-12)])
    sizes = np.bincount(level)
    return Ranked(((np.cumsum(sizes) - sizes / 2) / len(order))[level], level)


def rho_without(x: Ranked, y: Ranked, upper: Upper) -> tuple[float, Float[np.ndarray, " member"]]:
    """Spearman's rho, and to first order rho without each member.

    With F and G the shares, rho = C / sqrt(V W), C = mean FG - 1/4, V = mean FF - 1/4, W = mean GG - 1/4. A pair p
    moves mean FG by F_p G_p + mean over q above p in x of G_q + mean over q above p in y of F_q - 3 mean FG, as each
    pair counts in three means; without a member, all its pairs go.
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
    pair_index = upper[0] * n + upper[1]
    a, table = (_standard(ranks.share) for ranks in (within_a, within_b))
    b = np.zeros((n, n), dtype=np.float32)
    b[upper] = b.T[upper] = table
    cross = cross.astype(np.float32)
    rho = np.empty((2, len(partner)))
    for k, row in enumerate(partner):
        permuted = cross.take(row, axis=1)
        across = _coarse_ranks((permuted + permuted.T).ravel().take(pair_index))
        rho[:, k] = a @ across, b.take(row, axis=0).take(row, axis=1).ravel().take(pair_index) @ across
    return rho[0], rho[1]


def _coarse_ranks(similarity: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    """Ranks of binned similarities, standardised: an order of magnitude faster than sorting."""
    low, high = similarity.min(), similarity.max()
    if high - low <= 1e-6:
        return np.full(len(similarity), np.nan, dtype=np.float32)
    bins = ((similarity - low) * np.float32((BINS - 1) / (high - low))).astype(np.intp)
    sizes = np.bincount(bins, minlength=BINS)
    rank = np.cumsum(sizes) - (sizes + len(bins)) / 2
    rank /= np.sqrt(sizes @ rank**2)
    return rank.astype(np.float32).take(bins)


def _standard(ranks: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    """About their mean and of length 1, so that an inner product is a correlation; NaN where they do not differ."""
    ranks = (ranks - ranks.mean()).astype(np.float32)
    length = np.sqrt(ranks @ ranks)
    return ranks / (length if length > 1e-6 else np.float32(np.nan))
