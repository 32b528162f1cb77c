"""Best guesses without facts: how often they are right, exactly. Recall and transfer rise from there, not from 0."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechxl.data.corpus import Corpus
from mechxl.data.transfer import TransferItems


def recall_guesses(corpus: Corpus) -> tuple[float, float]:
    """The accuracies of argmax P(v | R) and argmax P(v | R, asked language) on all tellings, as asked again.

    P is over tellings by weight; tellings count equally; tied maxima score 1 / ties.
    """
    fact, language = corpus.tellings
    table, relation, value = _weights(corpus), corpus.world.relation[fact], corpus.world.value[fact, language]
    return _accuracy(table.sum(axis=2)[relation], value), _accuracy(table[relation, :, language], value)


@dataclass(frozen=True)
class NoFactAccuracies:
    """Accuracies on the transfer items of the best guesses that use no fact; NaN without items.

    Attributes:
        by_relation: of argmax P(v | R).
        by_asked: of argmax P(v | R, asked language).
        by_told: of argmax P(v | R, told language).
    """

    by_relation: float
    by_asked: float
    by_told: float


def no_fact_accuracies(corpus: Corpus, items: TransferItems) -> NoFactAccuracies:
    """The accuracies of these guesses; P is over tellings by weight, and tied maxima score 1 / ties."""
    if not len(items.fact):
        return NoFactAccuracies(*[float("nan")] * 3)
    table = _weights(corpus)
    relation, value = corpus.world.relation[items.fact], corpus.world.value[items.fact, items.asked]
    return NoFactAccuracies(
        by_relation=_accuracy(table.sum(axis=2)[relation], value),
        by_asked=_accuracy(table[relation, :, items.asked], value),
        by_told=_accuracy(table[relation, :, items.told], value),
    )


def floors(corpus: Corpus, items: TransferItems) -> dict[str, float]:
    """The accuracy of the best guess without facts, from which recall and transfer rise: the largest of the guesses'.

    Of recall over all tellings; of transfer over the given items, 0 without items.
    """
    guesses = no_fact_accuracies(corpus, items)
    of_transfer = (guesses.by_relation, guesses.by_asked, guesses.by_told) if len(items.fact) else (0.0,)
    return {"recall": max(recall_guesses(corpus)), "transfer": max(of_transfer)}


def _weights(corpus: Corpus) -> Float[np.ndarray, "relation value language"]:
    """The training weight of every value in each language."""
    fact, language = corpus.tellings
    table = np.zeros((*corpus.world.value_probability.shape, corpus.world.n_languages))
    cells = corpus.world.relation[fact], corpus.world.value[fact, language], language
    np.add.at(table, cells, corpus.mixture.weight[fact, language])
    return table


def _accuracy(probability: Float[np.ndarray, "item value"], value: Int[np.ndarray, " item"]) -> float:
    best = probability >= probability.max(axis=1, keepdims=True) * (1 - 1e-9)
    return float((best[np.arange(len(value)), value] / best.sum(axis=1)).mean())
