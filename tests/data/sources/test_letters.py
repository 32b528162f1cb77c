"""Letters exchanged one for one: script changes, and nothing else does."""

import itertools

import numpy as np
import pytest

from mechxl.config import parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.sources.cldr import cldr_table
from mechxl.data.sources.letters import in_other_letters
from mechxl.data.sources.table import FactTable, Words
from mechxl.errors import InputError
from mechxl.facts import EXAMPLE

CODES = ("en", "de", "ru", "ar")


def corpus_of(letters: str, seed: int = 0, codes: tuple[str, ...] = CODES) -> Corpus:
    raw = {"seed": seed, "world": {"source": "csv", "file": str(EXAMPLE)}, "tokenization": {"kind": "character"}}
    return build_corpus(parse_config(raw | {"languages": {"codes": codes, "letters": letters}}))


def words(table: FactTable, code: str) -> list[str]:
    tables: tuple[dict[object, Words], ...] = (table.entities, table.relations, table.values)  # type: ignore[assignment]
    return [own[code] for concepts in tables for own in concepts.values() if code in own]


def alphabet(table: FactTable, code: str) -> set[str]:
    return {letter for word in words(table, code) for letter in word if letter.isalpha()}


@pytest.mark.parametrize("letters", ["apart", "first"])
def test_letters_are_exchanged_one_for_one(letters: str):
    table = cldr_table(("en", "de", "ru", "vi"))
    changed = in_other_letters(table, letters, 3)  # type: ignore[arg-type]
    assert words(changed, "en") == words(table, "en")
    for code in ("de", "ru", "vi"):
        pairs = list(zip(words(table, code), words(changed, code), strict=True))
        assert all(len(old) == len(new) for old, new in pairs)
        swaps = {both for old, new in pairs for both in zip(old, new, strict=True)}
        assert len(swaps) == len({old for old, _ in swaps}) == len({new for _, new in swaps})
        assert all(old == new for old, new in swaps if not (old.isalpha() or new.isalpha()))
        same_case = [(old.isupper(), old.islower()) == (new.isupper(), new.islower()) for old, new in swaps]
        assert code != "de" or all(same_case)  # later languages, as far as capitals and small letters are left
        assert in_other_letters(changed, "own", 3) is changed
    if letters == "apart":
        old, new = ({code: alphabet(each, code) for code in each.languages} for each in (table, changed))
        for one, other in itertools.combinations(("en", "de", "ru", "vi"), 2):
            assert not new[one] & new[other]
        assert not (new["de"] | new["ru"] | new["vi"]) & set().union(*old.values())
    else:
        for code in ("de", "ru"):
            assert len(alphabet(changed, code) & alphabet(table, "en")) > 0.8 * len(alphabet(table, code))


def test_facts_tellings_and_lengths_stay_and_words_in_common_go():
    own, apart, again = corpus_of("own"), corpus_of("apart"), corpus_of("apart", seed=1)
    assert (own.world.value == apart.world.value).all()
    assert (own.mixture.told == apart.mixture.told).all()
    one, other = (corpus.sequences(*corpus.tellings).length for corpus in (own, apart))
    np.testing.assert_array_equal(one, other)
    for corpus, shared in ((own, True), (apart, False)):
        names = corpus.lexicon.names
        assert any((names[:, a] == names[:, b]).any() for a, b in itertools.combinations(range(4), 2)) == shared
    assert set(apart.lexicon.words) != set(again.lexicon.words)


def test_a_run_of_generated_facts_has_no_letters_to_exchange():
    with pytest.raises(InputError, match=r"languages.letters = 'apart': .*it belongs to csv and cldr"):
        parse_config({"languages": {"letters": "apart"}})


def test_serbian_in_latin_letters_has_its_own_phrases():
    table = cldr_table(("hr", "sr", "sr_Latn", "zh_Latn"))
    assert table.relations["currency"] == {"hr": "valuta", "sr": "валута", "sr_Latn": "valuta", "zh_Latn": "¤"}
    japan = table.entities["territory JP"]
    assert [japan[code] for code in ("hr", "sr", "sr_Latn")] == ["Japan", "Јапан", "Japan"]
