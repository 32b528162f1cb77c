"""Lexicons: a word means one concept, exact shares are common, and every language has syllables of its own."""

import re

import numpy as np
import pytest
from hypothesis import given

from mechxl.config import parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.languages import generate_lexicon
from mechxl.data.world import generate_world
from mechxl.errors import InputError
from tests.data.settings import FEW, small_corpus, small_settings

CONSONANTS, VOWELS = "bcdfghjklmnpqrstvwxz", "aeiou"
EIGHT = {"count": 8, "cue": "tag", "shared_names": 0.5, "shared_words": 0.5, "word_length": 2, "name_length": 2}


def corpus_of(world: dict | None = None, **languages) -> Corpus:
    return build_corpus(parse_config({"world": {"n_entities": 40} | (world or {}), "languages": languages}))


def spelled(corpus: Corpus) -> dict[str, list[list[str]]]:
    """For names, relations, values and tags: for each concept its word in every language."""
    lexicon = corpus.lexicon
    values = lexicon.value_words.reshape(-1, lexicon.value_words.shape[2])
    tables = {"name": lexicon.names, "relation": lexicon.relation_words, "value": values}
    words = {kind: lexicon.words[table].tolist() for kind, table in tables.items()}
    return words | {"tag": [[str(lexicon.words[tag])] for tag in lexicon.tags]}


def syllables(word: str) -> list[str]:
    return [word[at : at + 3] for at in range(0, len(word), 3)]


@FEW
@given(small_settings())
def test_a_word_means_one_concept_everywhere(raw: dict):
    _, corpus = small_corpus(raw)
    meanings: dict[str, set[tuple[str, int]]] = {}
    for kind, concepts in spelled(corpus).items():
        for concept, row in enumerate(concepts):
            for word in row:
                meanings.setdefault(word, set()).add((kind, concept))
    assert all(len(meaning) == 1 for meaning in meanings.values())
    assert sorted(meanings) == sorted(corpus.lexicon.words.tolist())  # listed once each, and none is idle


@FEW
@given(small_settings())
def test_a_concept_has_one_word_everywhere_or_one_for_each_language(raw: dict):
    config, corpus = small_corpus(raw)
    count = config.languages.count
    words = spelled(corpus)
    for kind, share in (
        ("name", config.languages.shared_names),
        *((k, config.languages.shared_words) for k in ("relation", "value")),
    ):
        distinct = [len(set(row)) for row in words[kind]]
        assert set(distinct) <= {1, count}
        concepts = distinct[: config.world.n_entities] if kind == "name" else distinct
        assert abs(concepts.count(1) - share * len(concepts)) <= 0.5
    assert len(words["tag"]) == (count if config.languages.cue == "tag" else 0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize(("n_relations", "n_values"), [(1, 2), (2, 6), (4, 16), (3, 7)])
def test_shared_names_relations_and_values_are_exact_counts_each(share: float, n_relations: int, n_values: int):
    world = {"n_relations": n_relations, "n_values": n_values}
    words = spelled(corpus_of(world, shared_names=share, shared_words=share))
    shared = {kind: [len(set(row)) == 1 for row in words[kind]] for kind in ("name", "relation", "value")}
    shared["seen name"], shared["unseen name"] = shared["name"][:40], shared["name"][40:]
    for kind in ("seen name", "name", "relation", "value"):
        assert abs(sum(shared[kind]) - share * len(shared[kind])) <= 0.5 + 1e-9, kind
    assert abs(sum(shared["unseen name"]) - share * 128) < 1


@FEW
@given(small_settings(languages={"script": "shared"}))
def test_syllables_are_consonant_vowel_consonant_of_disjoint_inventories(raw: dict):
    config, corpus = small_corpus(raw)
    settings = config.languages
    owners: dict[str, set[str]] = {}  # whose syllable it is
    for kind, concepts in spelled(corpus).items():
        length = {"name": settings.name_length, "tag": 1}.get(kind, settings.word_length)
        for number, row in enumerate(concepts):
            for language, word in enumerate(row):
                assert re.fullmatch(f"([{CONSONANTS}][{VOWELS}][{CONSONANTS}]){{{length}}}", word)
                inventory = "tag" if kind == "tag" else "name" if kind == "name" else "word"
                common = len(row) > 1 and len(set(row)) == 1
                owner = f"{inventory} {'shared' if common else number if kind == 'tag' else language}"
                for syllable in syllables(word):
                    owners.setdefault(owner, set()).add(syllable)
    everything = [syllable for inventory in owners.values() for syllable in inventory]
    assert len(everything) == len(set(everything))
    sizes = {"name": settings.name_syllables, "word": settings.word_syllables, "tag": 1}
    assert all(len(inventory) <= sizes[owner.split(" ")[0]] for owner, inventory in owners.items())


@FEW
@given(small_settings(languages={"script": "distinct"}))
def test_distinct_scripts_have_no_letter_in_common_and_none_of_ascii(raw: dict):
    config, corpus = small_corpus(raw)
    alphabets = [set() for _ in range(config.languages.count)]
    for kind, concepts in spelled(corpus).items():
        for number, row in enumerate(concepts):
            if kind == "tag":
                alphabets[number] |= set(row[0])
            elif len(set(row)) == 1:
                assert row[0].isascii()
            else:
                for alphabet, word in zip(alphabets, row, strict=True):
                    alphabet |= set(word)
            assert all(len(word) % 3 == 0 for word in row)
    letters = [letter for alphabet in alphabets for letter in alphabet]
    assert len(letters) == len(set(letters))
    assert not any(letter.isascii() for letter in letters)
    assert all(letter.isalpha() for letter in letters)


def test_a_full_inventory_uses_every_syllable():
    corpus = corpus_of({"n_entities": 36, "n_unseen": 0, "n_relations": 6, "n_values": 15}, name_length=1)
    words = spelled(corpus)
    assert len({row[0] for row in words["name"]}) == 36
    for language in range(2):
        assert len({row[language] for kind in ("relation", "value") for row in words[kind]}) == 96


@pytest.mark.parametrize("script", ["shared", "distinct"])
def test_eight_languages(script: str):
    corpus = corpus_of(**EIGHT, script=script, word_order="varied")
    assert corpus.lexicon.language_names == list("ABCDEFGH")
    assert corpus.lexicon.relation_first.tolist() == [False, True] * 4
    assert len({row[0] for row in spelled(corpus)["tag"]}) == 8
    assert not corpus_of(**EIGHT, word_order="same").lexicon.relation_first.any()


@pytest.mark.parametrize("change", [{"cue": "tag"}, {"word_order": "varied"}, {"shared_names": 0.0}, {"count": 3}])
def test_other_choices_leave_relation_and_value_words_alone(change: dict):
    one, other = spelled(corpus_of()), spelled(corpus_of(**change))
    for kind in ("relation", "value"):
        assert [row[:2] for row in other[kind]] == one[kind]


def test_seeds_make_lexicons():
    worlds = [corpus_of(seed=seed) for seed in (0, 0, 1)]
    words = [set(corpus.lexicon.words.tolist()) for corpus in worlds]
    assert words[0] == words[1]
    assert len(words[0] & words[2]) < len(words[0]) / 2
    assert np.array_equal(worlds[0].world.value, worlds[2].world.value)


@pytest.mark.parametrize(
    "languages",
    [
        {"count": 8, "word_syllables": 200},
        {"count": 8, "name_syllables": 200},
        {"count": 2, "name_syllables": 600, "word_syllables": 600},
        {"count": 8, "script": "distinct", "word_syllables": 1500},
        {"count": 8, "script": "distinct", "word_syllables": 2000},
    ],
)
def test_inventories_that_do_not_fit_are_refused_with_a_size_that_fits(languages: dict):
    config = parse_config({"languages": languages})
    world = generate_world(config.world, config.languages.count, 0)
    with pytest.raises(InputError, match=r"syllables.*need more than.*the nearest that works: ") as error:
        generate_lexicon(config.languages, world, 0)
    name, value = str(error.value).split("the nearest that works: ")[1].removeprefix("languages.").split(" = ")
    assert f"languages.{name} = {languages[name]}:" in str(error.value)
    for size, fits in ((int(value), True), (int(value) + 1, False)):
        config = parse_config({"languages": languages | {name: size}})
        if fits:
            generate_lexicon(config.languages, world, 0)
        else:
            with pytest.raises(InputError):
                generate_lexicon(config.languages, world, 0)


def test_an_inventory_needs_no_more_than_the_words_that_are_not_shared():
    # .3 of 2 relations and of 12 values: 1 + 4 shared words, and 9 of a language's own
    world = {"n_relations": 2, "n_values": 6}
    words = spelled(corpus_of(world, shared_words=0.3, word_syllables=9))
    assert len({row[0] for row in words["relation"] + words["value"]}) == 14
    with pytest.raises(InputError, match=r"world\.n_values = 6"):
        corpus_of(world, shared_words=0.3, word_syllables=8)
