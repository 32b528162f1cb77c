"""Facts from CLDR: what everybody can check, and that words which say two things are left out."""

import pytest

from mechxl import facts as command
from mechxl.config import parse_config
from mechxl.data.corpus import build_corpus
from mechxl.data.sources.cldr import RELATIONS, cldr_table
from mechxl.data.sources.csvfile import read_csv
from mechxl.data.sources.regions import CONTINENT_OF, REGION_OF
from mechxl.data.sources.table import ambiguous
from mechxl.errors import InputError

CODES = ("en", "de", "ru", "ar")
KNOWN = [  # language, and what an atlas says
    ("en", "Japan", "currency", "Japanese Yen"),
    ("de", "Brasilien", "main_language", "Portugiesisch"),
    ("ru", "Франция", "continent", "Европа"),
    ("ar", "مصر", "continent", "أفريقيا"),
    ("en", "Kenya", "region", "Eastern Africa"),
    ("de", "Griechisch", "script", "Griechisch"),
    ("en", "Ukrainian", "main_country", "Ukraine"),
    ("ru", "Токио", "country", "Япония"),
]


def test_facts_are_what_an_atlas_says():
    table = cldr_table(CODES)
    told = {(c, *table.words(f, c)[::2], f.relation) for f in table.facts for c in CODES}
    for code, entity, relation, value in KNOWN:
        assert (code, entity, value, relation) in told
    assert {fact.relation for fact in table.facts} == set(RELATIONS)
    assert len({(fact.entity, fact.relation) for fact in table.facts}) == len(table.facts)
    assert (table.told.sum(axis=0) > 2000).all()
    assert ambiguous(table) == ([], [])


def test_every_territory_is_in_one_region_and_every_region_in_one_continent():
    assert set(REGION_OF.values()) == set(CONTINENT_OF)
    assert len(set(CONTINENT_OF.values())) == 5
    assert len(REGION_OF) == 249


def test_a_corpus_of_them_can_be_written_as_csv_and_is_the_same(tmp_path, capsys):
    world = {"source": "cldr", "relations": ["continent", "script"]}
    sections = {"languages": {"codes": ["en", "ar"]}, "tokenization": {"kind": "word"}}
    corpus = build_corpus(parse_config(sections | {"world": world}))
    assert corpus.lexicon.relation_first.tolist() == [False, True]
    assert command.main(["cldr", "en", "ar"]) == 0
    (tmp_path / "facts.csv").write_text(capsys.readouterr().out, encoding="utf-8")
    table = read_csv(tmp_path / "facts.csv")
    origin = corpus.origin
    assert origin is not None
    words = {(fact, code): origin.table.words(fact, code) for fact in origin.facts for code in ("en", "ar")}
    assert words.items() <= {(f, c): table.words(f, c) for f in table.facts for c in ("en", "ar")}.items()


def test_a_language_without_phrases_uses_signs_and_an_unknown_one_is_refused():
    table = cldr_table(("en", "eo"))
    assert table.relations["currency"] == {"en": "pays with", "eo": "¤"}
    with pytest.raises(InputError, match=r"languages\.codes = xx: Babel has no such locale"):
        cldr_table(("en", "xx"))
