"""The unification score and its parts, with intervals over entities and a permutation null.

Our implementation, following the published description (Blum et al. 2025): Score = S - W, where

    S(a, b) = mean over f of cos(h(f, a), h(f, b))          the same fact in two languages, a != b
    W(a, b) = mean over f != g of cos(h(f, a), h(g, a))     two facts of one relation in the same language
    X(a, b) = mean over f != g of cos(h(f, a), h(g, b))     two facts of one relation in two languages

Means are taken within a relation and ordered pair of languages, then equally over these. The score is fact alignment
(S - X) minus language separation (W - X) and ranges from -2 to 2; read it together with these two. The baseline of W
and X may be facts of any relation (g is any fact except f); then sharing a relation counts as sharing a fact.

What it cannot see: whether languages share the fact or only its entity's name or its answer (see `controls`, and the
trained null); a similarity that exists only after a rotation (`cka`, `procrustes`); whether the model uses it.

Intervals are percentiles (`percentile_ends`) over entities drawn with replacement. Weights count original facts, so a
fact is never paired with its own copy, and the centre stays fixed. They cover the truth in 93 to 96 % of planted
samples (docs/measures.md). Nulls permute entities in every language except the first. This does not change W and moves
S and X to the mean of all pairs. So the permuted mean of S - W is near X - W, not 0, and the test is of S = X.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechxl.measures.measurement import Measurement, by_place, estimate_places, not_defined
from mechxl.measures.sample import Permuted, Sample, weighted
from mechxl.measures.statistics import percentile_ends
from mechxl.measures.vectors import undefined

BASELINES = ("relation", "any")
SMALLEST_DIVISOR = 1e-6
NAMES = ("S", "W", "X", "score", "alignment", "separation", "normalised")


@dataclass(frozen=True)
class Parts:
    """S, W and X, arrays of one shape."""

    S: np.ndarray
    W: np.ndarray
    X: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """S - W. 1 - W: languages coincide. 0: the same fact in the other language is no closer than another fact in
        this one. Negative: the language dominates."""
        return self.S - self.W

    @property
    def alignment(self) -> np.ndarray:
        """S - X: how much closer the same fact is than another, across languages."""
        return self.S - self.X

    @property
    def separation(self) -> np.ndarray:
        """W - X: how much closer two facts are within a language than across."""
        return self.W - self.X


def score(
    u: Float[np.ndarray, "fact language d"], sample: Sample, baseline: str = "relation"
) -> dict[str, Measurement]:
    """S, W, X, score, alignment, separation and normalised score, by these names.

    Args:
        u: unit vectors, centred as the caller chooses (`vectors.unit(vectors.centre(h, how))`).
        sample: the facts of these vectors.
        baseline: whether W and X use facts g of the same relation ("relation") or of any ("any").

    Raises:
        ValueError: an unknown baseline.
    """
    if baseline not in BASELINES:
        raise ValueError(f"baseline {baseline!r}: one of {', '.join(BASELINES)}")
    if reason := undefined(u, sample.relation):
        return dict.fromkeys(NAMES, not_defined(sample, reason))
    observed = cell_parts(u, sample, np.ones((1, len(u))), baseline)
    drawn = cell_parts(u.astype(np.float32), sample, sample.weights, baseline)
    null = permuted_parts(u, sample, observed, baseline)
    value, drawn, null = (_by_name(cells) for cells in (observed, drawn, null))
    ends = percentile_ends(np.concatenate([drawn[name] for name in NAMES]), sample.entities)
    low, high = (dict(zip(NAMES, np.split(end, len(NAMES)), strict=True)) for end in ends)
    reason = "1 - W is below 1e-6"  # only the normalised score can be NaN here
    return {
        name: estimate_places(sample, value[name][:, 0], (low[name], high[name]), null[name], reason=reason)
        for name in NAMES
    }


def _by_name(cells: Parts) -> dict[str, Float[np.ndarray, "place draw"]]:
    parts = Parts(*(by_place(part) for part in (cells.S, cells.W, cells.X)))
    named = {name: getattr(parts, name) for name in NAMES if name != "normalised"}
    return named | {"normalised": normalised(parts.S, parts.W)}


def normalised(S: Float[np.ndarray, "*draw"], W: Float[np.ndarray, "*draw"]) -> Float[np.ndarray, "*draw"]:
    """(S - W) / (1 - W): 1 if languages coincide, for any W; NaN if 1 - W < 1e-6."""
    room = 1 - W
    return (S - W) / np.where(room < SMALLEST_DIVISOR, np.nan, room)


def cell_parts(
    u: Float[np.ndarray, "fact language d"],
    sample: Sample,
    weight: Float[np.ndarray, "draw fact"],
    baseline: str = "relation",
) -> Parts:
    """S, W and X by (relation, ordered pair, draw), with facts counted by weight, for many sets of weights at once.

    A pair (f, g), f != g, counts w_f w_g, so that under bootstrap weights a fact is never paired with its own copy.
    Sums over pairs come from sums over facts: sum over f != g of w_f w_g u_f.u_g = |sum w u|^2 - sum w^2 |u|^2.
    NaN if a draw leaves fewer than two facts in a relation.
    """
    pairs, (_, n_languages, d) = sample.pairs, u.shape
    relations = sample.by_relation()
    drawn = sample.weights_by_relation if weight is sample.weights else weighted(weight, relations)
    cells = {name: np.empty((len(relations), len(pairs), len(weight))) for name in "SWX"}
    all_facts = (weight @ u.reshape(len(u), -1)).reshape(-1, n_languages, d) if baseline == "any" else None
    for i, (members, _) in enumerate(relations):
        v, (w, w2, total, total2) = u[members], drawn[i]
        sums = (w @ v.reshape(len(members), -1)).reshape(-1, n_languages, d)
        others, others_total = (sums, total) if all_facts is None else (all_facts, weight.sum(axis=1))
        defined = total**2 - total2 > 0.5
        n_pairs = np.where(defined, total * others_total - total2, np.nan)
        total = np.where(defined, total, np.nan)
        both = [*((a, a) for a in range(n_languages)), *sample.unordered]
        own = np.stack([(v[:, a] * v[:, b]).sum(axis=1) for a, b in both], axis=1)
        same, itself = (dict(zip(both, (weights @ own).T, strict=True)) for weights in (w, w2))
        within = [
            (np.einsum("ij,ij->i", sums[:, a], others[:, a]) - itself[a, a]) / n_pairs for a in range(n_languages)
        ]
        for j, (a, b) in enumerate(pairs):
            a_b = (min(a, b), max(a, b))
            cells["S"][i, j] = same[a_b] / total
            cells["W"][i, j] = within[a]
            cells["X"][i, j] = (np.einsum("ij,ij->i", sums[:, a], others[:, b]) - itself[a_b]) / n_pairs
    return Parts(**cells)


def permuted_parts(
    u: Float[np.ndarray, "fact language d"], sample: Sample, observed: Parts, baseline: str = "relation"
) -> Parts:
    """S, W and X by (relation, ordered pair, permutation), with entities permuted separately in each language.

    The set of all vector pairs does not change, only which of them belong to S: what S loses, X gains.
    """
    permuted = permuted_cells(u, sample)
    n = np.array([len(u) if baseline == "any" else len(members) for members, _ in sample.by_relation()])
    gained = (observed.S - permuted) / (n - 1)[:, None, None]
    return Parts(S=permuted, W=np.broadcast_to(observed.W, permuted.shape), X=observed.X + gained)


def permuted_cells(
    u: Float[np.ndarray, "fact language d"], sample: Sample, permuted: Permuted = "entities"
) -> Float[np.ndarray, "relation pair permutation"]:
    """S by cell, with vectors permuted separately in each language."""
    relations, pairs = sample.by_relation(), sample.pairs
    cells = np.empty((len(relations), len(pairs), sample.permutations))
    for i, (members, which) in enumerate(relations):
        for a, b in sample.unordered:
            same = gathered(u[members, a] @ u[members, b].T, sample.places(which, a, b, permuted))
            cells[i, pairs.index((a, b))] = cells[i, pairs.index((b, a))] = same
    return cells


def gathered(
    table: Float[np.ndarray, "member member"], places: Int[np.ndarray, "member permutation"]
) -> Float[np.ndarray, " permutation"]:
    """The mean of a table's entries at the places of each permutation (`Sample.places`)."""
    return table.ravel().take(places).mean(axis=0, dtype=np.float64)
