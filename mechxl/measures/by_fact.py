"""The score of single facts, to compare with each fact's transfer: do unified facts transfer?

    s(f, a) = mean over b != a of cos(h(f, a), h(f, b)) - mean over g != f of cos(h(f, a), h(g, a))

with g of f's relation. Its mean over facts, then relations and languages, is the score S - W. Range: -2 to 2.
What it cannot see: the same as the score. A single fact's value is noisy; use it with `auc`, over many facts.
"""

import numpy as np
from jaxtyping import Float, Int

from mechxl.measures.vectors import undefined


def score_by_fact(
    u: Float[np.ndarray, "fact language d"], relation: Int[np.ndarray, " fact"]
) -> Float[np.ndarray, "fact language"]:
    """s(f, a) of each fact f and language a (for a mono fact, a is the language that training tells it in).

    Args:
        u: unit vectors, centred as the caller chooses.
        relation: of each fact; a fact that is alone in its relation gets NaN.

    Raises:
        ValueError: the score is not defined for these vectors; the message says why.
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
