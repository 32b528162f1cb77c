"""An example of a new measure: the distance of a fact's vectors in two languages, its row, nothing else."""

import numpy as np
from jaxtyping import Float

from mechxl.measures.measurement import Measurement, jackknife_cells, not_defined
from mechxl.measures.sample import Sample
from mechxl.measures.table import Measure
from mechxl.measures.vectors import undefined


def distance(h: Float[np.ndarray, "fact language d"], sample: Sample) -> Measurement:
    """The mean over f of |h(f, a) - h(f, b)|, within a relation and pair of languages, then over these. From 0.

    Args:
        h: activations, as they are.
        sample: which facts they are of.
    """
    if reason := undefined(h, sample.relation):
        return not_defined(sample, reason)
    entities, index = np.unique(sample.entity, return_inverse=True)
    relations, pairs = sample.by_relation(), sample.pairs
    value = np.empty((len(relations), len(pairs)))
    deleted = np.empty((*value.shape, len(entities)))
    null = np.empty((*value.shape, sample.permutations))
    for r, (members, which) in enumerate(relations):
        for p, (a, b) in enumerate(pairs):
            distances = np.linalg.norm(h[members, a][:, None] - h[members, b], axis=2)
            own = np.diag(distances)
            value[r, p] = deleted[r, p] = own.mean()
            deleted[r, p, index[members]] = (own.sum() - own) / (len(own) - 1)
            partners = sample.relabelled(which, a, b)
            null[r, p] = distances[np.arange(len(own)), partners].mean(axis=1)
    return jackknife_cells(sample, value, deleted, null, reason="no relation has two facts", small=True)


DISTANCE = Measure(
    "distance",
    "mean distance",
    distance,
    vectors="raw",
    small_is_close=True,
    in_words=True,
    in_panel=True,
    caption="Mean distance: of a fact's vectors in two languages.",
)
