"""A table of facts with their words in some languages, from any source."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int

Words = dict[str, str]  # a concept's word in each language that has one
Concept = TypeVar("Concept")


@dataclass(frozen=True)
class Fact:
    """An entity, a relation and a value, by the source's own names, which no model reads."""

    entity: str
    relation: str
    value: str


@dataclass(frozen=True)
class FactTable:
    """Facts and the words of their concepts.

    A value belongs to its relation: the same name in two relations is two values. A fact can be told in a language
    that has a word for its entity, its relation and its value.

    Attributes:
        languages: the languages' codes.
        facts: each (entity, relation) once.
        entities: the words of each entity.
        relations: the words of each relation.
        values: the words of each (relation, value).
        relation_first: the languages that say relation entity value.
        counts: what was left out or merged while the source was read, by reason.
    """

    languages: tuple[str, ...]
    facts: tuple[Fact, ...]
    entities: dict[str, Words]
    relations: dict[str, Words]
    values: dict[tuple[str, str], Words]
    relation_first: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    def words(self, fact: Fact, language: str) -> tuple[str, str, str]:
        """The words of a fact's entity, relation and value in a language; empty where there is none."""
        tables = self.entities[fact.entity], self.relations[fact.relation], self.values[fact.relation, fact.value]
        entity, relation, value = (words.get(language, "") for words in tables)
        return entity, relation, value

    @property
    def told(self) -> Bool[np.ndarray, "fact language"]:
        """Whether each fact can be told in each language."""
        rows = [[all(self.words(fact, language)) for language in self.languages] for fact in self.facts]
        return np.array(rows, dtype=bool).reshape(len(self.facts), len(self.languages))

    @property
    def digest(self) -> str:
        """A hash of all facts and words."""
        rows = sorted([*vars(fact).values(), *map(list, self._all_words(fact))] for fact in self.facts)
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    def _all_words(self, fact: Fact) -> Iterable[tuple[str, ...]]:
        return (self.words(fact, language) for language in self.languages)

    def chosen(self, languages: Sequence[str], relations: Sequence[str]) -> "FactTable":
        """The facts of some relations (none named: of all) in some languages; facts without words there are counted."""
        facts = tuple(fact for fact in self.facts if not relations or fact.relation in relations)
        table = replace(self, languages=tuple(languages), facts=facts)
        return table.only(np.asarray(table.told.any(axis=1)), NO_LANGUAGE)

    def only(self, keep: Bool[np.ndarray, " fact"], why: str) -> "FactTable":
        """Some of the facts; the others are counted by the reason why they are left out."""
        kept = tuple(fact for fact, keeps in zip(self.facts, keep, strict=True) if keeps)
        counts = self.counts | ({why: int((~keep).sum())} if not keep.all() else {})
        return replace(self, facts=kept, counts=counts)


NO_LANGUAGE = "facts left out: no language has a word for their entity, relation and value"


def ambiguous(
    table: FactTable,
) -> tuple[list[tuple[str, str, list[str]]], list[tuple[str, str, list[tuple[str, str]]]]]:
    """The words by which two concepts can't be told apart, as (language, word, concepts): of entities, and of values.

    Two entities may share a word if no relation has facts of both, and two values if they belong to two relations.
    """
    relations: dict[str, set[str]] = {name: set() for name in table.entities}
    for fact in table.facts:
        relations[fact.entity].add(fact.relation)
    entities, values = [], []
    for language in table.languages:
        for word, alike in _homonyms(table.entities, language):
            counts = Counter(relation for name in alike for relation in relations[name])
            if bad := [name for name in alike if any(counts[relation] > 1 for relation in relations[name])]:
                entities.append((language, word, bad))
        for word, alike in _homonyms(table.values, language):
            counts = Counter(relation for relation, _ in alike)
            if bad := [key for key in alike if counts[key[0]] > 1]:
                values.append((language, word, bad))
    return entities, values


def _homonyms(concepts: dict[Concept, Words], language: str) -> list[tuple[str, list[Concept]]]:
    by_word: dict[str, list[Concept]] = {}
    for concept, words in concepts.items():
        if word := words.get(language):
            by_word.setdefault(word, []).append(concept)
    return [(word, alike) for word, alike in by_word.items() if len(alike) > 1]


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Numbers for distinct names, in their order."""
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def indices(words: np.ndarray, table: Sequence[Sequence[str]]) -> Int[np.ndarray, "concept language"]:
    """Each word's index in a sorted list of words; -1 where a concept has none."""
    asked = np.array(table, dtype=object).reshape(len(table), -1).astype(str)
    place = np.searchsorted(words, asked)
    return np.where(asked == "", -1, place)


@dataclass(frozen=True)
class Origin:
    """Where a corpus's facts are from.

    Attributes:
        table: the facts and all their words.
        facts: the source's names of each fact of the World.
    """

    table: FactTable
    facts: list[Fact]
