"""Linear CKA by unbiased HSIC: are the languages' vectors equal up to a rotation, a shift and a scale?

    CKA(a, b) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),   K = A A', L = B B',   A[f] = h(f, a), B[f] = h(f, b)
    HSIC(K, L) = [ t(K, L) + s(K) s(L) / ((n - 1)(n - 2)) - 2 q(K, L) / (n - 2) ] / (n (n - 3))

with the diagonals of K and L set to 0, t(K, L) = sum of K_ij L_ij, s(K) = sum of K_ij, q(K, L) = sum of the products of
their row sums (Song et al. 2012, eq. 5; CKA by Kornblith et al. 2019). It is taken within a relation, then averaged. It
is at most 1 in the population; an estimate may be negative or slightly above 1. It is NaN if no relation has 4 facts,
or if a self-term is <= 1e-12 (after vectors are centred and scaled to a mean squared length of 1).

What it cannot see: an orthogonal map, a shift or a change of scale of one language does not change it, although a
reader of one language then can't read the other. The score falls in these cases. A component counts by the square of
its variance.

Intervals: delete-one-entity jackknife in closed form, with a t quantile. Near 0 they are too wide by sqrt(2) (the noise
there comes from pairs, which a jackknife counts twice): they cover the truth in 99 to 100 % of planted samples, and
elsewhere in 94 to 98 % (docs/measures.md). Nulls permute entities.
"""

import numpy as np
from jaxtyping import Float, Int

from mechxl.measures.measurement import Measurement, jackknife_cells, not_defined
from mechxl.measures.sample import Sample
from mechxl.measures.vectors import finite, undefined

FEWEST = 4
SMALLEST_SELF_TERM = 1e-12
AT_ONCE = 64  # permutations in one product, so that its arrays fit into the processor's cache

Gram = Float[np.ndarray, "member member"]
# HSIC, and HSIC without each member
Hsic = tuple[float, Float[np.ndarray, " member"]]


def cka(h: Float[np.ndarray, "fact language d"], sample: Sample) -> Measurement:
    """Unbiased linear CKA. It is symmetric: (a, b) and (b, a) have the same value.

    Args:
        h: activations; centring makes no difference.
        sample: the facts of these activations. Permutations are slow: use a few hundred facts and permutations.
    """
    h = finite(h)
    if reason := undefined(h, sample.relation):
        return not_defined(sample, reason)
    relations = [(members, which) for members, which in sample.by_relation() if len(members) >= FEWEST]
    if not relations:
        return not_defined(sample, f"no relation has {FEWEST} facts")
    entities, index = np.unique(sample.entity, return_inverse=True)
    shape = (len(relations), len(sample.pairs))
    value, deleted = np.empty(shape), np.empty((*shape, len(entities)))
    null = np.empty((*shape, sample.permutations))
    for i, (members, which) in enumerate(relations):
        vectors = [_scaled(h[members, a]) for a in range(sample.n_languages)]
        grams = [hollow(x) for x in vectors]
        selves = [hsic(gram, gram) for gram in grams]
        for a, b in sample.unordered:
            cross, without = hsic(grams[a], grams[b])
            divisor, divisors = (_divisor(x, y) for x, y in zip(selves[a], selves[b], strict=True))
            drawn = permuted_hsic(vectors[a], vectors[b], sample.relabelled(which, a, b))
            for j in (sample.pairs.index((a, b)), sample.pairs.index((b, a))):
                value[i, j] = deleted[i, j] = cross / divisor
                deleted[i, j, index[members]] = without / divisors
                null[i, j] = drawn / divisor
    return jackknife_cells(sample, value, deleted, null, reason="a self-term is <= 1e-12")


def _scaled(x: Float[np.ndarray, "member d"]) -> Float[np.ndarray, "member d"]:
    x = x - x.mean(axis=0)
    return x / np.sqrt((x**2).sum(axis=1).mean())


def _divisor(x: float | np.ndarray, y: float | np.ndarray) -> np.ndarray:
    positive = (np.asarray(x) > SMALLEST_SELF_TERM) & (np.asarray(y) > SMALLEST_SELF_TERM)
    return np.asarray(np.sqrt(np.where(positive, np.asarray(x) * y, np.nan)))


def hollow(x: Float[np.ndarray, "member d"]) -> Gram:
    """Inner products of all members, with a diagonal of 0."""
    gram = x @ x.T
    np.fill_diagonal(gram, 0)
    return gram


def hsic(k: Gram, l: Gram) -> Hsic:  # noqa: E741 (the symbol of the paper)
    """Unbiased HSIC of two hollow Gram matrices, and HSIC without each member (NaN if 3 would be left).

    Leaving out member i lowers t by 2 (K o L) 1_i, s(K) by 2 K 1_i, and q by (K 1 o L 1 + K L 1 + L K 1 - K o L 1)_i.
    """
    rows_k, rows_l, rows_kl = k.sum(axis=1), l.sum(axis=1), (k * l).sum(axis=1)
    t, s_k, s_l, q = rows_kl.sum(), rows_k.sum(), rows_l.sum(), rows_k @ rows_l
    less_q = rows_k * rows_l + k @ rows_l + l @ rows_k - rows_kl
    n = len(k)
    without = np.full(n, np.nan)
    if n > FEWEST:
        without = _unbiased(t - 2 * rows_kl, s_k - 2 * rows_k, s_l - 2 * rows_l, q - less_q, n - 1)
    return float(_unbiased(t, s_k, s_l, q, n)), without


def _unbiased(
    t: float | np.ndarray, s_k: float | np.ndarray, s_l: float | np.ndarray, q: float | np.ndarray, n: int
) -> np.ndarray:
    return np.asarray((t + s_k * s_l / ((n - 1) * (n - 2)) - 2 * q / (n - 2)) / (n * (n - 3)))


def permuted_hsic(
    x: Float[np.ndarray, "member d"], y: Float[np.ndarray, "member d"], partner: Int[np.ndarray, "permutation member"]
) -> Float[np.ndarray, " permutation"]:
    """HSIC with y's members permuted. No permutation needs a Gram matrix: t = |X'PY|^2 - sum |x_i|^2 |y_pi(i)|^2."""
    rows_x, rows_y = hollow(x).sum(axis=1), hollow(y).sum(axis=1)
    norms_x, norms_y = (x**2).sum(axis=1), (y**2).sum(axis=1)
    x32, y32 = x.T.astype(np.float32), y.astype(np.float32)
    t = np.empty(len(partner))
    for start in range(0, len(partner), AT_ONCE):
        some = partner[start : start + AT_ONCE]
        product = x32 @ y32[some.T].reshape(len(x), -1)
        t[start : start + AT_ONCE] = np.square(product).reshape(len(x32), len(some), -1).sum(axis=(0, 2))
    return _unbiased(t - norms_y[partner] @ norms_x, rows_x.sum(), rows_y.sum(), rows_y[partner] @ rows_x, len(x))
