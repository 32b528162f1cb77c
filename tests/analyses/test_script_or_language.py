"""The study script_or_language: overlaps of known words, and what they explain of planted transfer."""

import numpy as np
import pytest

from analyses.claims.script_or_language import CELLS, GRID, explained
from analyses.overlap import dice, heard_in_asked, overlaps
from mechxl.config import parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.transfer import transfer_items
from mechxl.facts import EXAMPLE


def corpus_of(letters: str) -> Corpus:
    languages = {"codes": ["en", "de"], "letters": letters, "cue": "tag"}
    world = {"source": "csv", "file": str(EXAMPLE), "unseen_share": 0.0}
    return build_corpus(parse_config({"world": world, "languages": languages, "tokenization": {"kind": "character"}}))


def test_tokens_in_common_are_counted_with_repetition():
    assert dice([1, 1, 2], [1, 2, 2]) == pytest.approx(4 / 6)
    assert dice([1], [2]) == 0
    assert dice([3, 4], [4, 3]) == 1


def test_overlaps_go_with_the_letters_and_items_are_those_told_in_the_asked_language():
    own, apart = corpus_of("own"), corpus_of("apart")
    items = transfer_items(own)
    heard = heard_in_asked(own, items)
    for fact, language, is_heard in zip(items.fact, items.asked, heard, strict=True):
        told = own.mixture.told[:, language]
        entity = told & (own.world.entity == own.world.entity[fact])
        value = told & (own.world.relation == own.world.relation[fact])
        value &= own.world.value[:, language] == own.world.value[fact, language]
        assert is_heard == (entity.any() and value.any())
    found = overlaps(own, items)
    words = own.lexicon.names[own.world.entity[items.fact]]
    assert found["names"] == pytest.approx((words[:, 0] == words[:, 1]).mean())
    assert found["letters"] > 0.5
    assert found["pieces"] > found["names"]
    none = overlaps(apart, transfer_items(apart))
    assert (none["names"], none["answers"]) == (0, 0)
    assert none["letters"] < 0.05 > none["pieces"]  # spaces and signs stay


def test_what_was_planted_is_explained():
    rng, rows = np.random.default_rng(0), []
    for seed in range(4):
        for cell in CELLS:
            overlap = dict(zip(("names", "answers", "letters", "pieces"), rng.random(4), strict=True))
            rows.append({"run": cell, "seed": seed, "transfer": 0.1 + 0.7 * overlap["names"]} | overlap)
    found = explained(rows)
    assert found["r2.names"] == pytest.approx(1)
    assert found["r2.both"] == pytest.approx(1)
    assert found["partial.names"] == pytest.approx(1)
    assert (found["r2.letters"] < 0.9).all()


def test_no_other_seeds_or_cells_than_were_planned():
    assert len(GRID["seeds"]) * len(GRID["runs"]) == 120
    assert len(CELLS) == 9
