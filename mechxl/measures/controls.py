"""Controls for the answer: is it the fact that languages share, or only what has to be said?

Two facts of a relation that have the same value have the same answer, so that a model may give them like vectors just
before it answers. Over f != g of one relation, val(f, a) being the value that f has in language a:

    W_other_value = mean of cos(h(f, a), h(g, a)), val(g, a) != val(f, a)
    X_other_value = mean of cos(h(f, a), h(g, b)), val(g, b) != val(f, a)
    V_same_language = mean of cos(h(f, a), h(g, a)), val(g, a) = val(f, a)
    V_cross = mean of cos(h(f, a), h(g, b)), val(g, b) = val(f, a)

score_other_value = S - W_other_value and alignment_other_value = S - X_other_value are the score and the alignment
against facts with another answer; beyond_value = S - V_cross is what the same fact has over the same answer. Averaged
as the score is; NaN where no two facts of any relation share a value (V), or none differ (W, X).

What they cannot see: a shared name (the same entity's other facts have it too; the trained null shows how much).

Intervals as the score's. Nulls: the score and the alignment against facts with another value have the permutations of
entities (a test of S = X). beyond_value has its own: facts are permuted among those of their relation and value, a test
of S = V_cross. As values tie each relation to permutations of its own, the draws of the relations are taken to be
perfectly dependent: their mean is spread as widely as the relations are on average, which keeps the test's level and
costs power: it rejects .5 to 1.5 % at a level of 5. The parts themselves (W, X, V) have no null. As few pairs share a
value, V_cross and beyond_value cover in 98 to 99 % of planted samples with 30 entities, 97 with 100, 95 to 96 with 500.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.measures.measurement import Measurement, by_place, estimate_places, not_defined
from mechxl.measures.sample import Sample
from mechxl.measures.score import permuted_cells
from mechxl.measures.statistics import percentile_ends
from mechxl.measures.vectors import undefined

PARTS = ("W_other_value", "X_other_value", "V_same_language", "V_cross")
NAMES = (*PARTS, "score_other_value", "alignment_other_value", "beyond_value")

Cells = dict[str, Float[np.ndarray, "relation pair draw"]]
Places = dict[str, Float[np.ndarray, "place draw"]]


def controls(u: Float[np.ndarray, "fact language d"], sample: Sample) -> dict[str, Measurement]:
    """The controls, by their names.

    Args:
        u: unit vectors, centred as is wanted.
        sample: which facts they are of, with their values.

    Raises:
        ValueError: a sample without values.
    """
    if sample.value is None:
        raise ValueError("controls for the answer need a sample with values")
    if reason := undefined(u, sample.relation):
        return dict.fromkeys(NAMES, not_defined(sample, reason))
    value = _places(value_cells(u, sample.value, sample, np.ones((1, len(u)))))
    drawn = _places(value_cells(u.astype(np.float32), sample.value, sample, sample.weights))
    same = by_place(permuted_cells(u, sample, sample.partners))
    same_of_value = dependent(permuted_cells(u, sample, sample.same_value_partners))
    none = np.full_like(same, np.nan)
    null = dict.fromkeys(PARTS, none) | {
        "score_other_value": same - value["W_other_value"],
        "alignment_other_value": same - value["X_other_value"],
        "beyond_value": same_of_value - value["V_cross"],
    }
    measurements = {}
    for name in NAMES:
        reason = "no two facts of a relation share a value" if name[0] in "Vb" else "all facts share their value"
        measurements[name] = estimate_places(
            sample, value[name][:, 0], percentile_ends(drawn[name], sample.entities), null[name], reason=reason
        )
    return measurements


def _places(cells: Cells) -> Places:
    places = {name: by_place(values) for name, values in cells.items()}
    return places | {
        "score_other_value": places["S"] - places["W_other_value"],
        "alignment_other_value": places["S"] - places["X_other_value"],
        "beyond_value": places["S"] - places["V_cross"],
    }


def dependent(cells: Float[np.ndarray, "relation pair permutation"]) -> Float[np.ndarray, "place permutation"]:
    """Null draws by place, about their mean as widely spread as if all relations rose and fell together."""
    pooled, apart = by_place(cells), cells.mean(axis=1)
    if not cells.shape[2]:
        return pooled
    places = [apart, *np.moveaxis(cells, 1, 0)]  # of the pooled measure and of each pair: relations by draws
    together = np.array([of_relations.std(axis=1).mean() for of_relations in places])
    middle, spread = pooled.mean(axis=1), pooled.std(axis=1)
    wider = np.where(spread > 0, together / np.where(spread > 0, spread, 1), 1)
    return middle[:, None] + (pooled - middle[:, None]) * wider[:, None]


def value_cells(
    u: Float[np.ndarray, "fact language d"],
    value: Int[np.ndarray, "fact language"],
    sample: Sample,
    weight: Float[np.ndarray, "draw fact"],
) -> Cells:
    """S, and W, X and V by value, for many sets of weights at once, as `score.cell_parts`.

    Sums over pairs of one value are had from sums over each value's facts; pairs of two values are all others.
    """
    relations, pairs, languages = sample.by_relation(), sample.pairs, range(sample.n_languages)
    cells = {name: np.empty((len(relations), len(pairs), len(weight))) for name in ("S", *PARTS)}
    for i, (members, _) in enumerate(relations):
        w, v, values = weight[:, members], u[members], value[members]
        w2, total = w * w, w.sum(axis=1)
        by_value = [_by_value(w, v[:, a], values[:, a]) for a in languages]
        means = {}
        for a, b in [(a, b) for a in languages for b in languages if a <= b]:
            own, agree = (v[:, a] * v[:, b]).sum(axis=1), values[:, a] == values[:, b]
            means[a, b] = means[b, a] = _other_and_same(by_value[a], by_value[b], w2, own, agree)
            if a < b:
                shared = w @ own / np.where(total > 0, total, np.nan)
                for j in (pairs.index((a, b)), pairs.index((b, a))):
                    cells["S"][i, j] = shared
        for j, (a, b) in enumerate(pairs):
            cells["W_other_value"][i, j], cells["V_same_language"][i, j] = means[a, a]
            cells["X_other_value"][i, j], cells["V_cross"][i, j] = means[a, b]
    return cells


# of each value: the weighted sum of its facts' vectors, and of their weights
ByValue = dict[int, tuple[Float[np.ndarray, "draw d"], Float[np.ndarray, " draw"]]]


def _by_value(
    w: Float[np.ndarray, "draw member"], v: Float[np.ndarray, "member d"], values: Int[np.ndarray, " member"]
) -> ByValue:
    sums = {}
    for x in np.unique(values):
        of_value = np.flatnonzero(values == x)
        sums[int(x)] = w[:, of_value] @ v[of_value], w[:, of_value].sum(axis=1)
    return sums


def _other_and_same(
    x: ByValue,
    y: ByValue,
    w2: Float[np.ndarray, "draw member"],
    own: Float[np.ndarray, " member"],
    agree: Bool[np.ndarray, " member"],
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """Mean cosines of pairs f != g with different values, and of those with the same; own: of f with itself."""
    both = x.keys() & y.keys()
    same = sum(np.einsum("ij,ij->i", x[k][0], y[k][0]) for k in both) - w2 @ np.where(agree, own, 0).astype(w2.dtype)
    n_same = sum(x[k][1] * y[k][1] for k in both) - w2 @ agree.astype(w2.dtype)
    all_x, all_y = (sum(vectors for vectors, _ in by_value.values()) for by_value in (x, y))
    n_x, n_y = (sum(total for _, total in by_value.values()) for by_value in (x, y))
    other = np.einsum("ij,ij->i", all_x, all_y) - w2 @ own - same
    n_other = n_x * n_y - w2.sum(axis=1) - n_same
    return other / np.where(n_other > 0.5, n_other, np.nan), same / np.where(n_same > 0.5, n_same, np.nan)
