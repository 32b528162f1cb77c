"""Equal settings give equal data, on any machine: hashes written down once."""

import hashlib

import numpy as np
import pytest

from mechxl.config import parse_config
from mechxl.data.corpus import Corpus, build_corpus
from tests.data.settings import KINDS

RICH = {
    "seed": 11,
    "world": {
        "n_entities": 60,
        "n_relations": 2,
        "n_values": 6,
        "n_unseen": 5,
        "shared_facts": 0.5,
        "value_distribution": "zipf",
        "frequency": "zipf",
    },
    "languages": {
        "count": 3,
        "shared_names": 0.5,
        "shared_words": 0.5,
        "word_order": "varied",
        "script": "distinct",
        "cue": "tag",
        "cue_dropout": 0.25,
        "seed": 12,
    },
    "mixture": {
        "parallel_fraction": 0.3,
        "informativeness": 0.6,
        "language_shares": [0.5, 0.3, 0.2],
        "exposure": "per_fact",
        "seed": 13,
    },
    "tokenization": {"kind": "byte"},
}
BY_ENTITY = {"languages": {"word_length": 2}, "mixture": {"unit": "entity"}, "tokenization": {"kind": "syllable"}}


def hash_of(corpus: Corpus) -> str:
    world, lexicon, mixture = corpus.world, corpus.lexicon, corpus.mixture
    fact, language = corpus.tellings
    found = hashlib.sha256("\n".join(lexicon.words.tolist()).encode())
    for shown in (True, False):
        found.update(corpus.sequences(fact, language, shown).tokens.astype("<i8").tobytes())
    for table in (
        world.entity,
        world.relation,
        world.value,
        lexicon.names,
        lexicon.relation_words,
        lexicon.value_words,
    ):
        found.update(table.astype("<i8").tobytes())
    for probabilities in (world.frequency, world.value_probability, mixture.weight):
        found.update(np.rint(probabilities * 1e12).astype("<i8").tobytes())
    return found.hexdigest()


@pytest.mark.parametrize(
    ("raw", "pinned"),
    [
        ({}, "5f9ece5b16b58ca33badca213e5321753ce4d29dbd6787ae7195356afac895ee"),
        (RICH, "aef0735511c64551ff76fa53e4f261a4cab1b6194b521129f0577f5f7600760b"),
        (BY_ENTITY, "a3194b03d9f90d1239a7007d1c2039dda430890c909adcd3db246df315ed2c34"),
    ],
    ids=["default", "rich", "by entity"],
)
def test_data_are_the_same_on_any_machine(raw: dict, pinned: str):
    assert hash_of(build_corpus(parse_config(raw))) == pinned


@pytest.mark.parametrize("kind", KINDS)
def test_two_builds_are_equal(kind: str):
    raw = RICH | {"tokenization": {"kind": kind, "vocab_size": 250}}
    one, other = (build_corpus(parse_config(raw)) for _ in range(2))
    assert one.tokenizer.get_vocab() == other.tokenizer.get_vocab()
    assert hash_of(one) == hash_of(other)
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"world": RICH["world"] | {"n_unseen": 6}},
        {"languages": RICH["languages"] | {"seed": 5}},
        {"languages": RICH["languages"] | {"cue_dropout": 0.26}},
        {"languages": RICH["languages"] | {"word_order": "same"}},
        {"mixture": RICH["mixture"] | {"seed": 5}},
        {"mixture": RICH["mixture"] | {"exposure": "per_telling"}},
        {"tokenization": {"kind": "word"}},
    ],
)
def test_what_training_reads_shows_in_the_digest(change: dict):
    one, other = (build_corpus(parse_config(RICH | more)) for more in ({}, change))
    assert one.digest != other.digest


@pytest.mark.parametrize("change", [{"training": {"steps": 5}}, {"model": {"d_model": 32}}])
def test_what_training_does_not_read_leaves_the_digest(change: dict):
    assert build_corpus(parse_config(RICH)).digest == build_corpus(parse_config(RICH | change)).digest
