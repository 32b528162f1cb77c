"""Measures of unification from their definitions, on h[fact, language, d] of facts with relations."""

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np

TIE = 1e-6


def centred(h: np.ndarray, how: str = "whole") -> np.ndarray:
    """Without centring, over all facts and languages, or over the facts of each language."""
    axes = {"none": None, "whole": (0, 1), "per_language": 0}[how]
    return h if axes is None else h - h.mean(axis=axes, keepdims=True)


def units(h: np.ndarray) -> np.ndarray:
    return h / np.linalg.norm(h, axis=-1, keepdims=True)


def cells(h: np.ndarray, relation: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vectors of one relation in the first and in the second language, for each ordered pair of languages."""
    for one in np.unique(relation):
        for a, b in permutations(range(h.shape[1]), 2):
            yield h[relation == one, a], h[relation == one, b]


def average(measure: Callable[[np.ndarray, np.ndarray], float], h: np.ndarray, relation: np.ndarray) -> float:
    """A measure within relations and ordered pairs of languages, each alike."""
    return float(np.mean([measure(a, b) for a, b in cells(h, relation)]))


def off_diagonal(square: np.ndarray) -> np.ndarray:
    return square[~np.eye(len(square), dtype=bool)]


def score_parts(h: np.ndarray, relation: np.ndarray) -> dict[str, float]:
    """S, W and X with what follows from them."""
    u = units(h)
    s = average(lambda a, b: float(np.mean(np.sum(a * b, axis=1))), u, relation)
    w = average(lambda a, b: float(np.mean(off_diagonal(a @ a.T))), u, relation)
    x = average(lambda a, b: float(np.mean(off_diagonal(a @ b.T))), u, relation)
    return {"S": s, "W": w, "X": x, "score": s - w, "alignment": s - x, "separation": w - x}


def retrieval(a: np.ndarray, b: np.ndarray) -> float:
    """How often a fact's nearest vector in the other language, by cosine, is its own; ties share."""
    similarity = units(a) @ units(b).T
    tied = similarity >= similarity.max(axis=1, keepdims=True) - TIE
    return float(np.mean(np.diag(tied) / tied.sum(axis=1)))


def mexa(a: np.ndarray, b: np.ndarray) -> float:
    """How often a fact's own similarity is the strict maximum of its row and of its column."""
    similarity = units(a) @ units(b).T
    own = np.diag(similarity).copy()
    np.fill_diagonal(similarity, -np.inf)
    return float(np.mean((own > similarity.max(axis=0)) & (own > similarity.max(axis=1))))


def hsic(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased HSIC of linear kernels (Song et al. 2012, equation 5)."""
    n = len(a)
    k, l = a @ a.T, b @ b.T  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    middle = k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(axis=0) @ l.sum(axis=0)) / (n - 2)
    return float((np.trace(k @ l) + middle) / (n * (n - 3)))


def cka(a: np.ndarray, b: np.ndarray) -> float:
    return hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b))


def procrustes(a: np.ndarray, b: np.ndarray, fitted: np.ndarray) -> float:
    """What the best orthogonal map of the fitted facts leaves of the others, by their size."""
    a, b = a - a[fitted].mean(axis=0), b - b[fitted].mean(axis=0)
    left, _, right = np.linalg.svd(b[fitted].T @ a[fitted])
    return float(np.sum((a[~fitted] - b[~fitted] @ (left @ right)) ** 2) / np.sum(a[~fitted] ** 2))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, the mean of them where values are tied."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def checkerboard(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of similarities within the first language with symmetrised ones across."""
    within, across = units(a) @ units(a).T, units(a) @ units(b).T
    upper = np.triu_indices(len(a), 1)
    return float(np.corrcoef(ranks(within[upper]), ranks(((across + across.T) / 2)[upper]))[0, 1])
