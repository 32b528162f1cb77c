"""The score of single facts, to be set against what became of each: does a fact that is unified transfer?

    s(f, a) = mean over b != a of cos(h(f, a), h(f, b)) - mean over g != f of cos(h(f, a), h(g, a))

with g of f's relation. Its mean over facts, then relations and languages, is the score S - W. From -2 to 2.
What it cannot see: as the score. A fact's own value is one draw; it is meant for `auc`, over many facts.
"""

import numpy as np
from jaxtyping import Float, Int

from mechxl.measures.vectors import undefined


def score_by_fact(
    u: Float[np.ndarray, "fact language d"], relation: Int[np.ndarray, " fact"]
) -> Float[np.ndarray, "fact language"]:
    """s(f, a) of each fact and language that is asked from (for a mono fact, the one it is told in).

    Args:
        u: unit vectors, centred as is wanted.
        relation: of each fact; NaN for the one fact of a relation, which has no other to be compared with.

    Raises:
        ValueError: there is no such score here, and why.
    """
    if reason := undefined(u, relation):
        raise ValueError(reason)
    n_languages = u.shape[1]
    total = u.sum(axis=1)
    own = (u * u).sum(axis=2)
    across = (np.einsum("fld,fd->fl", u, total) - own) / (n_languages - 1)
    within = np.full(own.shape, np.nan)
    for r in np.unique(relation):
        members = np.flatnonzero(relation == r)
        if len(members) >= 2:
            sums = np.einsum("fld,ld->fl", u[members], u[members].sum(axis=0))
            within[members] = (sums - own[members]) / (len(members) - 1)
    return across - within
