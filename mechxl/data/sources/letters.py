"""Words in other letters: a seeded exchange of letters, one for one, so that script changes and nothing else does."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from mechxl.data.sources.table import FactTable, Words
from mechxl.errors import refuse
from mechxl.random import generator

Letters = Literal["own", "apart", "first"]
Concept = TypeVar("Concept")

UPPER, LOWER, OTHER = "Lu", "Ll", "other"  # capitals stay capitals
CASED = {UPPER: [range(0x13A0, 0x13F6)], LOWER: [range(0xAB70, 0xABC0)], OTHER: []}  # Cherokee
UNCASED = [range(0xA000, 0xA48D), range(0xAC00, 0xD7A4), range(0x3400, 0x4DC0)]  # Yi, Hangul, rare Han


def in_other_letters(table: FactTable, letters: Letters, seed: int) -> FactTable:
    """The table with the letters of every language after the first exchanged, one for one.

    Capitals become capitals and small letters small ones, as far as there are some. Digits, signs and spaces stay.
    Within a language, equal words stay equal, and different ones different. Words in common are gone.

    Args:
        table: the facts and words.
        letters: own: as they are; apart: for letters that no word of the table has; first: for letters of the first
            language in seeded order, and where it has too few, for letters that no word has.
        seed: decides which letter becomes which.

    Raises:
        InputError: the languages have more letters than there are to exchange them for.
    """
    if letters == "own":
        return table
    alphabets = {code: _alphabet(table, code) for code in table.languages}
    taken = set().union(*alphabets.values())
    first, *others = table.languages
    maps: dict[str, dict[int, str]] = {}
    for code in others:
        rng = generator(seed, f"letters of {code}")
        own = sorted(alphabets[code])
        maps[code] = {}
        for kind in (UPPER, LOWER, OTHER):
            there = sorted(letter for letter in alphabets[first] if _kind(letter) == kind) if letters == "first" else []
            pool = iter([there[place] for place in rng.permutation(len(there))])
            mine = [letter for letter in own if _kind(letter) == kind]
            for place in rng.permutation(len(mine)).tolist():
                new = next(pool, None) or next(_free(kind, taken), None)
                if new is None:
                    raise refuse("languages.letters", letters, "these languages have too many letters", "own")
                taken.add(new)
                maps[code][ord(mine[place])] = new
    return replace(
        table,
        entities=_written(table.entities, maps),
        relations=_written(table.relations, maps),
        values=_written(table.values, maps),
    )


def _alphabet(table: FactTable, code: str) -> set[str]:
    concepts: Sequence[Words] = [*table.entities.values(), *table.relations.values(), *table.values.values()]
    return {letter for words in concepts for letter in words.get(code, "") if unicodedata.category(letter)[0] in "LM"}


def _kind(letter: str) -> str:
    category = unicodedata.category(letter)
    return category if category in CASED else OTHER


def _free(kind: str, taken: set[str]) -> Iterator[str]:
    """Letters that nothing has yet, those of the kind first."""
    return (new for places in (*CASED[kind], *UNCASED) for new in map(chr, places) if new not in taken)


def _written(concepts: dict[Concept, Words], maps: dict[str, dict[int, str]]) -> dict[Concept, Words]:
    return {
        concept: {code: word.translate(maps[code]) if code in maps else word for code, word in words.items()}
        for concept, words in concepts.items()
    }
