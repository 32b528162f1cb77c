"""Pairs of a donor and a receiver; and the outcome of a patch: whose value, in which language, is answered."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from mechxl.data.corpus import Corpus
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.random import generator

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

OUTCOMES = (
    "donor's value, receiver's language",
    "donor's value, donor's language",
    "receiver's value, receiver's language",
    "receiver's value, donor's language",
    "donor's fact as the receiver's language has it",  # if facts are not shared, it may differ from the donor's value
    "other",
)


@dataclass(frozen=True)
class Pairs:
    """Pairs of a donor and a receiver: their facts, and the languages of their prompts."""

    donor_fact: Int[np.ndarray, " pair"]
    donor_language: Int[np.ndarray, " pair"]
    fact: Int[np.ndarray, " pair"]
    language: Int[np.ndarray, " pair"]

    def __len__(self) -> int:
        return len(self.fact)

    def __getitem__(self, which: Int[np.ndarray, " some"] | Bool[np.ndarray, " pair"] | slice) -> "Pairs":
        return Pairs(
            donor_fact=self.donor_fact[which],
            donor_language=self.donor_language[which],
            fact=self.fact[which],
            language=self.language[which],
        )

    @classmethod
    def of(cls, donor_fact: np.ndarray, donor: int, fact: np.ndarray, receiver: int) -> "Pairs":
        """Pairs whose donors share one language and whose receivers share one language."""
        return cls(donor_fact, np.full(len(fact), donor), fact, np.full(len(fact), receiver))

    @classmethod
    def joined(cls, several: Sequence["Pairs"]) -> "Pairs":
        """All pairs in one Pairs, in order."""
        return cls(
            donor_fact=np.concatenate([pairs.donor_fact for pairs in several]),
            donor_language=np.concatenate([pairs.donor_language for pairs in several]),
            fact=np.concatenate([pairs.fact for pairs in several]),
            language=np.concatenate([pairs.language for pairs in several]),
        )

    def within(self) -> "Pairs":
        """The same facts with donors in the receiver's language: they give the ceiling of an interchange."""
        return Pairs(self.donor_fact, self.language, self.fact, self.language)


def draw_pairs(
    corpus: Corpus,
    n: int,
    *,
    donor: int,
    receiver: int,
    group: str = "mono",
    seed: int = 0,
    without: Collection[int] = (),
) -> Pairs:
    """Pairs of facts that training tells, with one relation and different values. No entity is in two pairs.

    So pairs are independent given the model, and resampling pairs resamples donors' and receivers' entities jointly.

    Args:
        corpus: of the facts.
        n: the most pairs to draw.
        donor: the donors' language: training tells the donor facts in it.
        receiver: the receivers' language: training tells the receiver facts in it.
        group: mono or parallel.
        seed: of the draw.
        without: entities to leave out.

    Returns:
        n pairs; fewer, or none, if there are not enough entities.
    """
    world, told, in_group = corpus.world, corpus.mixture.told, (corpus.mixture.group == group) & corpus.world.complete
    rng, used = generator(seed, f"pairs {group} {donor} {receiver}"), set(without)
    donors = rng.permutation(np.flatnonzero(in_group & told[:, donor]))
    receivers = rng.permutation(np.flatnonzero(in_group & told[:, receiver]))
    waiting = [receivers[world.relation[receivers] == r].tolist() for r in range(world.n_relations)]
    values = [set(row) for row in world.value[:, [donor, receiver]].tolist()]
    drawn: list[tuple[int, int]] = []
    for f in donors.tolist():
        if len(drawn) == n:
            break
        queue = waiting[world.relation[f]]
        fits = (
            g
            for g in queue
            if world.entity[g] not in used and world.entity[g] != world.entity[f] and not values[f] & values[g]
        )
        if int(world.entity[f]) not in used and (g := next(fits, None)) is not None:
            drawn.append((f, g))
            used |= {int(world.entity[f]), int(world.entity[g])}
            queue.remove(g)
    donor_fact, fact = np.array(drawn, dtype=int).reshape(-1, 2).T
    return Pairs.of(donor_fact, donor, fact, receiver)


def answered_rightly(
    model: "HookedTransformer", corpus: Corpus, fact: np.ndarray, language: np.ndarray
) -> Bool[np.ndarray, " fact"]:
    """Whether a model answers each fact rightly in a language, unpatched."""
    if not len(fact):
        return np.zeros(0, dtype=bool)
    return ask_questions(model, Questions.of(corpus, fact, language), answer_trie(corpus)).right


def outcomes(corpus: Corpus, pairs: Pairs, word: Int[np.ndarray, "place pair"]) -> Int[np.ndarray, "place pair"]:
    """The outcome of each patch, as an index into OUTCOMES; if a word fits several outcomes, the first counts.

    The donor's value is its value in its own language. If facts are not shared, the receiver's language may have
    another value for the same fact; that is a separate outcome.
    """
    value = corpus.world.value
    donors = value[pairs.donor_fact, pairs.donor_language]
    receivers = value[pairs.fact, pairs.language]
    donors_fact = value[pairs.donor_fact, pairs.language]
    words = [  # in the order of OUTCOMES
        value_words(corpus, pairs, donors, pairs.language),
        value_words(corpus, pairs, donors, pairs.donor_language),
        value_words(corpus, pairs, receivers, pairs.language),
        value_words(corpus, pairs, receivers, pairs.donor_language),
        value_words(corpus, pairs, donors_fact, pairs.language),
    ]
    other = OUTCOMES.index("other")
    return np.select([word < 0, *(word == expected for expected in words)], [other, 0, 1, 2, 3, 4], other)


def value_words(
    corpus: Corpus, pairs: Pairs, value: Int[np.ndarray, " pair"], language: Int[np.ndarray, " pair"]
) -> Int[np.ndarray, " pair"]:
    """The words of the given values, of the receivers' relations, in the given languages."""
    return corpus.lexicon.value_words[corpus.world.relation[pairs.fact], value, language]
