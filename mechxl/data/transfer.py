"""Transfer items: questions about mono facts in a language that they are not told in."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from mechxl.data.corpus import Corpus

NO_WORD = "the asked language has no words for the fact"
VALUE_DIFFERS = "the value differs between the languages"
PROMPT_TOLD = "the prompt is a training prompt"
TAG_UNHEARD = "the asked language's tag is in no training sentence"
NAME_UNHEARD = "the name is in no training sentence"
RELATION_UNHEARD = "the relation's word is in no training sentence"
VALUE_UNHEARD = "the value's word is no answer in training"


@dataclass(frozen=True)
class TransferItems:
    """Questions about transfer, and how many candidates were left out for which reason.

    Attributes:
        fact: the mono fact of each item.
        asked: the language that it is asked in.
        told: the language that it is told in.
        left_out: number of candidates (mono fact, other language) that are no items, by the first reason that applies.
    """

    fact: Int[np.ndarray, " item"]
    asked: Int[np.ndarray, " item"]
    told: Int[np.ndarray, " item"]
    left_out: dict[str, int]

    @property
    def why_none(self) -> str:
        """Why there are no items; empty if there are some."""
        if len(self.fact):
            return ""
        if not self.left_out:
            return "no transfer items: no fact is mono"
        return "no transfer items: " + "; ".join(f"{n:,} because {reason}" for reason, n in self.left_out.items())


def transfer_items(corpus: Corpus, tag: bool = True) -> TransferItems:
    """All transfer items, with the tag shown or hidden.

    An item is a mono fact and a language that it is not told in. The fact has the same value in both languages. Its
    prompt equals no training prompt in any cue state. All its words occur in training, the value's word as an answer.

    Args:
        corpus: the facts and the languages that tell them.
        tag: whether the question shows the tag; without effect if languages have no tags.
    """
    world = corpus.world
    mono = np.flatnonzero(corpus.mixture.mono)
    told_in = corpus.mixture.told[mono].argmax(axis=1)
    row, asked = np.nonzero(~corpus.mixture.told[mono])
    fact, told = mono[row], told_in[row]

    words = corpus.words_of(fact, asked, tag)
    heard, answers, prompts = _training_words(corpus)
    swapped = corpus.lexicon.relation_first[asked]
    name, relation = np.where(swapped, words[:, 2], words[:, 1]), np.where(swapped, words[:, 1], words[:, 2])
    reasons = {
        NO_WORD: world.value[fact, asked] < 0,
        VALUE_DIFFERS: world.value[fact, asked] != world.value[fact, told],
        PROMPT_TOLD: np.isin(corpus.prompt_keys(fact, asked, tag), prompts),
        TAG_UNHEARD: (words[:, 0] >= 0) & ~heard[words[:, 0]],
        NAME_UNHEARD: ~heard[name],
        RELATION_UNHEARD: ~heard[relation],
        VALUE_UNHEARD: ~answers[words[:, 3]],
    }
    kept, left_out = np.ones(len(fact), dtype=bool), {}
    for reason, holds in reasons.items():
        if n := int((kept & holds).sum()):
            left_out[reason] = n
        kept &= ~holds
    return TransferItems(fact[kept], asked[kept], told[kept], left_out)


def _training_words(
    corpus: Corpus,
) -> tuple[Bool[np.ndarray, " word"], Bool[np.ndarray, " word"], Int[np.ndarray, " prompt"]]:
    """Which words occur in training, which occur as an answer, and the keys of all training prompts."""
    fact, language = corpus.tellings
    heard, answers = np.zeros((2, len(corpus.lexicon.words)), dtype=bool)
    prompts = []
    for tag, _ in corpus.cue_states:
        words = corpus.words_of(fact, language, tag)
        heard[words[words >= 0]] = True
        answers[words[:, 3]] = True
        prompts.append(corpus.prompt_keys(fact, language, tag))
    return heard, answers, np.concatenate(prompts)


def matching_ceiling(corpus: Corpus, items: TransferItems) -> float:
    """The accuracy that a model could reach by matching entities through their parallel facts: the mean of 1/m.

    m is the number of entities with the same parallel relations and values as the item's. An item whose entity has the
    same name in both languages needs no matching and counts 1. NaN if there are no items.
    """
    if not len(items.fact):
        return float("nan")
    world = corpus.world
    parallel = np.flatnonzero(corpus.mixture.parallel)
    _, value_row = np.unique(world.value[parallel], axis=0, return_inverse=True)
    signature = np.full((world.n_entities, world.n_relations), -1)
    signature[world.entity[parallel], world.relation[parallel]] = value_row.reshape(-1)
    seen = np.unique(world.entity[world.seen])
    _, kind, alike = np.unique(signature[seen], axis=0, return_inverse=True, return_counts=True)
    m = np.ones(world.n_entities)
    m[seen] = alike[kind.reshape(-1)]
    entity = world.entity[items.fact]
    names = corpus.lexicon.names[entity]
    index = np.arange(len(entity))
    linked = names[index, items.asked] == names[index, items.told]
    return float(np.where(linked, 1.0, 1 / m[entity]).mean())
