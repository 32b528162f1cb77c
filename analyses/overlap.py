"""What two languages of a corpus have in common in word and in token, and which transfer items ask alike in all."""

from collections import Counter

import numpy as np
from jaxtyping import Bool, Float

from mechxl.data.corpus import Corpus
from mechxl.data.transfer import TransferItems


def heard_in_asked(corpus: Corpus, items: TransferItems) -> Bool[np.ndarray, " item"]:
    """Whether other facts tell the item's name, and other facts its value, in the asked language."""
    world, (fact, language) = corpus.world, corpus.tellings
    names = set(zip(world.entity[fact].tolist(), language.tolist(), strict=True))
    values = world.value[fact, language]
    answers = set(zip(world.relation[fact].tolist(), values.tolist(), language.tolist(), strict=True))
    asked = zip(items.fact.tolist(), items.asked.tolist(), strict=True)
    return np.array(
        [
            (world.entity[f], language) in names and (world.relation[f], world.value[f, language], language) in answers
            for f, language in asked
        ],
        dtype=bool,
    )


def equal_names(corpus: Corpus, items: TransferItems) -> Bool[np.ndarray, " item"]:
    """Whether an item's name is the same word in both languages."""
    names = corpus.lexicon.names[corpus.world.entity[items.fact]]
    rows = np.arange(len(names))
    return names[rows, items.asked] == names[rows, items.told]


def overlaps(corpus: Corpus, items: TransferItems) -> dict[str, float]:
    """What the two languages have in common.

    names: the share of items whose name is equal in both; answers: the same of the value's word; letters: the Jaccard
    index of the token types of their names and values; pieces: the mean over items of `dice` of the name's tokens.
    """
    world, lexicon = corpus.world, corpus.lexicon
    relation, value = world.relation[items.fact], world.value[items.fact, items.asked]
    answers = lexicon.value_words[relation, value]
    names = lexicon.names[world.entity[items.fact]]
    types = [_types(corpus, language) for language in (0, 1)]
    return {
        "names": mean(equal_names(corpus, items).astype(float)),
        "answers": mean((answers[:, 0] == answers[:, 1]).astype(float)),
        "letters": len(types[0] & types[1]) / len(types[0] | types[1]),
        "pieces": mean(np.array([dice(*(_tokens(corpus, word) for word in pair)) for pair in names])),
    }


def dice(one: list[int], other: list[int]) -> float:
    """Twice the number of tokens in common, counted with repetition, over the number of all tokens."""
    return 2 * (Counter(one) & Counter(other)).total() / (len(one) + len(other))


def _tokens(corpus: Corpus, word: int) -> list[int]:
    return [token for token in corpus.word_tokens[word].tolist() if token >= 0]


def _types(corpus: Corpus, language: int) -> set[int]:
    words = np.concatenate([corpus.lexicon.names[:, language], corpus.lexicon.value_words[:, :, language].flatten()])
    return {token for word in words[words >= 0].tolist() for token in _tokens(corpus, word)}


def mean(points: Float[np.ndarray, " item"]) -> float:
    """The mean; NaN of nothing."""
    return float(points.mean()) if len(points) else float("nan")
