"""Controls for the answer: do languages share the fact, or only its answer?

Two facts of a relation with the same value have the same answer. So a model may give them similar vectors just before
it answers. Over f != g of one relation, where val(f, a) is the value of f in language a:

    W_other_value = mean of cos(h(f, a), h(g, a)), val(g, a) != val(f, a)
    X_other_value = mean of cos(h(f, a), h(g, b)), val(g, b) != val(f, a)
    V_same_language = mean of cos(h(f, a), h(g, a)), val(g, a) = val(f, a)
    V_cross = mean of cos(h(f, a), h(g, b)), val(g, b) = val(f, a)

score_other_value = S - W_other_value and alignment_other_value = S - X_other_value are the score and the alignment
against facts with another answer. beyond_value = S - V_cross is what the same fact adds to the same answer. They are
averaged like the score. They are NaN if no two facts of any relation share a value (V), or if all do (W, X).

What they cannot see: a shared name (the same entity's other facts have it too; the trained null shows how much).

Intervals: as for the score. Nulls: score_other_value and alignment_other_value permute entities (a test of S = X).
beyond_value permutes facts among those of their relation and value (a test of S = V_cross). Here each relation has its
own permutations, so the relations' draws are treated as perfectly dependent: their mean gets the average spread of a
relation. This keeps the test's level and costs power: it rejects .5 to 1.5 % at a level of 5. The parts (W, X, V) have
no null. As few pairs share a value, the intervals of V_cross and beyond_value cover the truth in 98 to 99 % of planted
samples with 30 entities, 97 with 100, and 95 to 96 with 500.
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
        u: unit vectors, centred as the caller chooses.
        sample: the facts of these vectors, with their values.

    Raises:
        ValueError: a sample without values.
    """
    if sample.value is None:
        raise ValueError("controls for the answer need a sample with values")
    if reason := undefined(u, sample.relation):
        return dict.fromkeys(NAMES, not_defined(sample, reason))
    value = _places(value_cells(u, sample.value, sample, np.ones((1, len(u)))))
    drawn = _places(value_cells(u.astype(np.float32), sample.value, sample, sample.weights))
    same = by_place(permuted_cells(u, sample))
    same_of_value = dependent(permuted_cells(u, sample, "same value"))
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
    """Null draws by place, with the spread that they would have if all relations rose and fell together."""
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
    """S, and W, X and V by value, for many sets of weights at once, like `score.cell_parts`.

    Sums over pairs with one value come from sums over each value's facts; all other pairs have two values.
    """
    relations, pairs, languages = sample.by_relation(), sample.pairs, range(sample.n_languages)
    cells = {name: np.empty((len(relations), len(pairs), len(weight))) for name in ("S", *PARTS)}
    for i, (members, _) in enumerate(relations):
        w, v, values = weight[:, members], u[members], value[members]
        w2, total = w * w, w.sum(axis=1)
        by_value = [_by_value(w, v[:, a], values[:, a]) for a in languages]
        means = {}
        for a, b in [*((a, a) for a in languages), *sample.unordered]:
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


# for each value: the weighted sum of its facts' vectors, and the sum of their weights
ByValue = dict[int, tuple[Float[np.ndarray, "draw d"], Float[np.ndarray, " draw"]]]


def _by_value(
    w: Float[np.ndarray, "draw member"], v: Float[np.ndarray, "member d"], values: Int[np.ndarray, " member"]
) -> ByValue:
    sums = {}
    for x in np.unique(values):
        members = np.flatnonzero(values == x)
        sums[int(x)] = w[:, members] @ v[members], w[:, members].sum(axis=1)
    return sums


def _other_and_same(
    x: ByValue,
    y: ByValue,
    w2: Float[np.ndarray, "draw member"],
    own: Float[np.ndarray, " member"],
    agree: Bool[np.ndarray, " member"],
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """Mean cosines of pairs f != g with different values, and with the same value; own: each f's cosine with itself."""
    both = x.keys() & y.keys()
    same = sum(np.einsum("ij,ij->i", x[k][0], y[k][0]) for k in both) - w2 @ np.where(agree, own, 0).astype(w2.dtype)
    n_same = sum(x[k][1] * y[k][1] for k in both) - w2 @ agree.astype(w2.dtype)
    all_x, all_y = (sum(vectors for vectors, _ in by_value.values()) for by_value in (x, y))
    n_x, n_y = (sum(total for _, total in by_value.values()) for by_value in (x, y))
    other = np.einsum("ij,ij->i", all_x, all_y) - w2 @ own - same
    n_other = n_x * n_y - w2.sum(axis=1) - n_same
    return other / np.where(n_other > 0.5, n_other, np.nan), same / np.where(n_same > 0.5, n_same, np.nan)
