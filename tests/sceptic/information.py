"""What is known before training, by plain sums over the tellings."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from math import log

import numpy as np

from tests.sceptic.answering import Item, recall_items
from tests.sceptic.reading import Reading


def entropy(joint: dict[tuple[Hashable, Hashable], float]) -> float:
    """H(first | second) in nats."""
    given: dict[Hashable, float] = defaultdict(float)
    for (_, condition), weight in joint.items():
        given[condition] += weight
    total = sum(given.values())
    return -sum(w / total * log(w / given[condition]) for (_, condition), w in joint.items() if w > 0)


def summed(pairs: Iterable[tuple[Hashable, Hashable, float]]) -> dict[tuple[Hashable, Hashable], float]:
    joint: dict[tuple[Hashable, Hashable], float] = defaultdict(float)
    for first, second, weight in pairs:
        joint[first, second] += weight
    return joint


def value_language_bits(reading: Reading, mono: bool) -> float:
    """I(value; language | relation) over the tellings of mono facts, or of all, in bits."""
    told = [
        (int(reading.value[fact, language]), int(reading.relation[fact]), language, reading.weight[fact, language])
        for fact, language in recall_items(reading)
        if not mono or reading.group[fact] == "mono"
    ]
    by_relation = entropy(summed((value, relation, weight) for value, relation, _, weight in told))
    by_both = entropy(summed((value, (relation, language), weight) for value, relation, language, weight in told))
    return (by_relation - by_both) / log(2)


def no_knowledge_losses(reading: Reading) -> dict[str, float]:
    """H(A), H(A | R) and H(A | R, S), in nats; S: the languages in which some fact has this prompt, told or not."""
    readers: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for fact in reading.seen():
        for language in range(reading.n_languages):
            for tag, _ in reading.cue_states:
                readers[reading.prompt(fact, language, tag)].add(language)
    told = []
    for fact, language in recall_items(reading):
        for tag, share in reading.cue_states:
            languages = frozenset(readers[reading.prompt(fact, language, tag)])
            weight = reading.weight[fact, language] * share
            told.append((reading.answer(fact, language), int(reading.relation[fact]), languages, weight))
    return {
        "nothing": entropy(summed((answer, 0, weight) for answer, _, _, weight in told)),
        "R": entropy(summed((answer, relation, weight) for answer, relation, _, weight in told)),
        "R, S": entropy(summed((answer, (relation, s), weight) for answer, relation, s, weight in told)),
    }


def no_fact_accuracies(reading: Reading, items: list[Item]) -> dict[str, float]:
    """How often the most frequent value is right, given the relation and perhaps the asked or the told language."""
    weights: dict[tuple[int, int | None, int], float] = defaultdict(float)
    for fact, language in recall_items(reading):
        for given in (None, language):
            weights[int(reading.relation[fact]), given, int(reading.value[fact, language])] += reading.weight[
                fact, language
            ]

    def chance(fact: int, asked: int, given: int | None) -> float:
        relation = int(reading.relation[fact])
        known = {value: w for (r, g, value), w in weights.items() if r == relation and g == given}
        best = [value for value, weight in known.items() if weight > max(known.values()) - 1e-12]
        return (reading.value[fact, asked] in best) / max(len(best), 1)

    def told(fact: int) -> int:
        return int(np.flatnonzero(reading.told[fact])[0])

    return {
        "argmax P(v | R)": float(np.mean([chance(fact, asked, None) for fact, asked in items])),
        "argmax P(v | R, asked language)": float(np.mean([chance(fact, asked, asked) for fact, asked in items])),
        "argmax P(v | R, told language)": float(np.mean([chance(fact, asked, told(fact)) for fact, asked in items])),
    }
