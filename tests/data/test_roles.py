"""Roles against the words of a sentence, encoded one by one."""

import numpy as np
import pytest

from mechxl.data.corpus import crossed
from mechxl.data.roles import role_names, role_positions
from tests.model.plain import answer_tokens, encode, prompt_text, small_corpus, value_word, word

CASES = [
    ("word", "tag", "varied"),
    ("syllable", "none", "varied"),
    ("character", "tag", "same"),
    ("byte", "none", "same"),
    ("bpe", "tag", "varied"),
]


def corpus_of(kind, cue, order):
    return small_corpus(
        tokenization={"kind": kind, "vocab_size": 90},
        languages={"name_syllables": 12, "word_syllables": 24, "cue": cue, "word_order": order},
    )


@pytest.mark.parametrize("tag", [True, False])
@pytest.mark.parametrize(("kind", "cue", "order"), CASES)
def test_roles_are_where_the_words_are(kind, cue, order, tag):
    corpus = corpus_of(kind, cue, order)
    lexicon, world = corpus.lexicon, corpus.world
    roles = role_names(corpus, tag)
    fact, language = crossed(np.arange(world.n_facts), 2)
    found = role_positions(corpus, fact, language, roles, tag)
    for f, a, row in zip(fact.tolist(), language.tolist(), found.tolist(), strict=True):
        at = dict(zip(roles, row, strict=True))
        prompt = encode(corpus, prompt_text(corpus, f, a, tag))
        answer = answer_tokens(corpus, value_word(corpus, f, a)) if world.value[f, a] >= 0 else []
        tokens = prompt + answer
        name = word(corpus, int(lexicon.names[world.entity[f], a]))
        relation = word(corpus, int(lexicon.relation_words[world.relation[f], a]))
        assert corpus.tokenizer.decode(tokens[at["name_first"] : at["name_last"] + 1]) == name
        assert corpus.tokenizer.decode(tokens[at["relation_first"] : at["relation_last"] + 1]) == relation
        assert at["prompt_last"] == len(prompt) - 1
        if "cue" in at:
            assert corpus.tokenizer.decode(tokens[1 : at["cue"] + 1]) == word(corpus, int(lexicon.tags[a]))
        places = [at[role] for role in roles if role.startswith("answer_")]
        assert places[: len(answer)] == list(range(len(prompt), len(tokens)))
        assert set(places[len(answer) :]) <= {-1}
    assert ("cue" in roles) == (cue == "tag" and tag)


def test_byte_pairs_give_answers_of_several_lengths():
    corpus = corpus_of(*CASES[-1])
    found = role_positions(corpus, *crossed(np.arange(40), 2), role_names(corpus))
    lacking = (found[:, -1] < 0).mean()
    assert 0 < lacking < 1


def test_eos_is_an_answer_token_where_answers_end_with_it(monkeypatch):
    corpus = corpus_of("word", "none", "same")
    assert role_names(corpus)[-1] == "answer_1"
    monkeypatch.setitem(corpus.__dict__, "answers_end_with_eos", True)
    assert role_names(corpus)[-1] == "answer_2"
    found = role_positions(corpus, np.arange(4), np.zeros(4, dtype=int), ["answer_2"])[:, 0]
    tokens = corpus.sequences(np.arange(4), np.zeros(4, dtype=int)).tokens
    assert corpus.tokenizer.id_to_token(tokens[0, found[0]]) == "<eos>"
