"""Answers: log p and greedy decoding are the hooked model's, sentence by sentence; kinds are those of the strings."""

import dataclasses

import numpy as np
import pytest
import torch
from transformer_lens import HookedTransformer

from mechxl.data.corpus import Corpus
from mechxl.model.answers import KINDS, Questions, answer_trie, ask_questions
from tests.model.plain import (
    answer_tokens,
    encode,
    expected_kind,
    hooked_answer,
    hooked_greedy,
    learned_model,
    prompt_text,
    questions_of,
    small_corpus,
    small_model,
    value_word,
    word,
)

# long words, so that all but whole-word answers have several tokens
KINDS_OF_TOKENS = {
    "word": {"kind": "word"},
    "syllable": {"kind": "syllable"},
    "character": {"kind": "character"},
    "byte": {"kind": "byte"},
    "bpe": {"kind": "bpe", "vocab_size": 75},
}
LONG = {"word_length": 2, "word_syllables": 12, "word_order": "varied", "cue": "tag", "cue_dropout": 0.3}


def asked(corpus: Corpus, tag: bool = True) -> Questions:
    return Questions.of(corpus, *questions_of(corpus), tag=tag)


@pytest.mark.parametrize(
    ("tokens", "script"),
    [*((kind, "shared") for kind in KINDS_OF_TOKENS), ("character", "distinct"), ("byte", "distinct")],
)
def test_answers_are_those_of_a_loop_over_the_hooked_model(tokens, script):
    few = {"n_entities": 8, "n_unseen": 2}
    corpus = small_corpus(world=few, languages=LONG | {"script": script}, tokenization=KINDS_OF_TOKENS[tokens])
    model = learned_model(corpus)
    words = {word(corpus, index) for index in corpus.lexicon.value_words.ravel()}
    longest = max(len(answer_tokens(corpus, said)) for said in words)
    seen = set()
    for tag in (True, False):
        questions = asked(corpus, tag)
        answers = ask_questions(model, questions, answer_trie(corpus))
        for row, (fact, language) in enumerate(zip(questions.fact, questions.language, strict=True)):
            prompt = encode(corpus, prompt_text(corpus, fact, language, tag))
            right = answer_tokens(corpus, value_word(corpus, fact, language))
            assert answers.log_prob[row] == pytest.approx(hooked_answer(model, prompt, right), rel=1e-9)
            decoded = hooked_greedy(model, prompt, longest)
            # no word's tokens begin another's, so the word is the one that the decoded tokens begin with
            said = next((w for w in words if decoded[: len(t := answer_tokens(corpus, w))] == t), None)
            assert answers.word[row] == (-1 if said is None else corpus.lexicon.words.tolist().index(said))
            expected = "other" if said is None else expected_kind(corpus, fact, language, said)
            assert KINDS[answers.kind[row]] == expected
            assert answers.right[row] == (decoded[: len(right)] == right)
            seen.add(expected)
    assert {"right", "wrong_value"} <= seen
    assert longest == {"word": 1, "syllable": 2, "character": 6}.get(tokens, longest)
    assert longest > 1 or tokens == "word"


def test_many_questions_are_asked_in_pieces(monkeypatch):
    corpus = small_corpus()
    model, questions, trie = small_model(corpus), asked(corpus), answer_trie(corpus)
    whole = ask_questions(model, questions, trie)
    monkeypatch.setattr("mechxl.model.answers.ROWS_AT_ONCE", 7)
    pieces = ask_questions(model, questions, trie)
    assert len(whole.kind) == len(questions) > 7
    np.testing.assert_allclose(pieces.log_prob, whole.log_prob, rtol=1e-12)
    assert pieces.kind.tolist() == whole.kind.tolist()


def test_no_question_has_no_answer():
    corpus = small_corpus()
    nothing = Questions.of(corpus, np.zeros(0, dtype=int), np.zeros(0, dtype=int))
    assert len(ask_questions(small_model(corpus), nothing, answer_trie(corpus)).kind) == 0


def always_says(corpus: Corpus, text: str, prompt_length: int) -> HookedTransformer:
    """A model that goes on with the text after any prompt of that length, since it sees positions only."""
    model = small_model(corpus, d_model=48)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        dict(model.named_parameters())["ln_final.w"].fill_(1.0)
        for at, token in enumerate(answer_tokens(corpus, text)):
            model.pos_embed.W_pos[prompt_length - 1 + at, at] = 1.0
            model.unembed.W_U[at, token] = 10.0
    return model


def kinds_of(corpus: Corpus, text: str) -> tuple[list[str], list[str]]:
    """The kinds that are found and that are expected where every question is answered with this text."""
    fact, language = questions_of(corpus)
    (length,) = {len(encode(corpus, prompt_text(corpus, f, a, True))) for f, a in zip(fact, language, strict=True)}
    answers = ask_questions(always_says(corpus, text, length), asked(corpus), answer_trie(corpus))
    expected = [expected_kind(corpus, f, a, text) for f, a in zip(fact, language, strict=True)]
    return [KINDS[kind] for kind in answers.kind], expected


@pytest.mark.parametrize("kind", ["word", "syllable", "character"])
@pytest.mark.parametrize("shared_words", [0.0, 0.5, 1.0])
def test_a_constant_answer_has_the_kinds_of_its_string(kind, shared_words):
    corpus = small_corpus(languages={"word_length": 2, "shared_words": shared_words}, tokenization={"kind": kind})
    values = {word(corpus, index) for index in corpus.lexicon.value_words.ravel()}
    a_relation = prompt_text(corpus, 0, 0, True).split()[1]
    kinds = set()
    for text in [*sorted(values), a_relation]:
        found, expected = kinds_of(corpus, text)
        assert found == expected
        kinds |= set(found)
    assert kinds == set(KINDS) - ({"right_value_other_language"} if shared_words == 1 else set())


def test_a_false_friend_counts_in_the_asked_language():
    """One string that names the right value in the other language and a wrong one in the asked language."""
    corpus = small_corpus(tokenization={"kind": "word"})
    values = corpus.lexicon.value_words.copy()
    values[0, 1, 1] = values[0, 0, 0]  # B's word for value 1 is A's word for value 0
    corpus = dataclasses.replace(corpus, lexicon=dataclasses.replace(corpus.lexicon, value_words=values))
    found, expected = kinds_of(corpus, word(corpus, values[0, 0, 0]))
    assert found == expected
