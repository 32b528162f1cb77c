"""Real words as answers, some of which begin others: EOS tells them apart."""

import dataclasses

import numpy as np
import pytest

from mechxl.config import TokenizationConfig
from mechxl.data.corpus import Corpus
from mechxl.data.tokenization import build_tokenizer
from mechxl.model.answers import Questions, answer_trie, ask_questions
from tests.model.plain import (
    answer_tokens,
    encode,
    hooked_answer,
    hooked_greedy,
    learned_model,
    prompt_text,
    questions_of,
    small_corpus,
    value_word,
    word,
)


def renamed(values: list[list[str]]) -> Corpus:
    """A small corpus whose relations' values have the given words, in both languages."""
    corpus = small_corpus(world={"n_values": len(values[0])})
    texts = [str(text) for text in corpus.lexicon.words]
    for relation, names in enumerate(values):
        for value, name in enumerate(names):
            for language in range(2):
                texts[corpus.lexicon.value_words[relation, value, language]] = name
    words, place = np.unique(np.array(texts), return_inverse=True)
    lexicon = dataclasses.replace(
        corpus.lexicon,
        words=words,
        syllable_letters=0,
        **{name: place[getattr(corpus.lexicon, name)] for name in ("names", "relation_words", "value_words", "tags")},
    )
    tokenizer = build_tokenizer(TokenizationConfig(kind="character"), words, [], 0)
    return dataclasses.replace(corpus, lexicon=lexicon, tokenizer=tokenizer)


WORDS = {
    "in one relation": [["car", "carpet", "carp", "bus"], ["red", "blue", "pink", "grey"]],
    "across relations": [["car", "van", "cab", "bus"], ["carpet", "buses", "pink", "grey"]],
    "no prefix": [["car", "van", "cab", "bus"], ["red", "blue", "pink", "grey"]],
}


@pytest.mark.parametrize("case", WORDS)
def test_words_that_begin_others_are_told_apart(case):
    corpus = renamed(WORDS[case])
    ends, trie = case != "no prefix", answer_trie(corpus)
    assert corpus.answers_end_with_eos == ends
    texts = [text for relation in WORDS[case] for text in relation]
    answers = {text: answer_tokens(corpus, text, ends) for text in texts}
    assert trie.longest == max(map(len, answers.values()))
    junk = 1  # BOS, which no answer has
    decoded = np.array([(answer + [junk] * trie.longest)[: trie.longest] for answer in answers.values()])
    assert [word(corpus, index) for index in trie.read(decoded)] == texts
    unfinished = np.array(
        [([*answer[:-1], junk] + [junk] * trie.longest)[: trie.longest] for answer in answers.values()]
    )
    assert [word(corpus, i) if i >= 0 else None for i in trie.read(unfinished)] == [None] * len(texts)
    assert trie.read(np.full((1, trie.longest), 2)).tolist() == [-1]


@pytest.mark.parametrize("case", WORDS)
def test_answers_that_end_with_eos_are_asked_whole(case):
    corpus = renamed(WORDS[case])
    model = learned_model(corpus)
    questions = Questions.of(corpus, *questions_of(corpus))
    answers = ask_questions(model, questions, answer_trie(corpus))
    ends, right = case != "no prefix", []
    for row, (fact, language) in enumerate(zip(*questions_of(corpus), strict=True)):
        prompt = encode(corpus, prompt_text(corpus, fact, language, True))
        tokens = answer_tokens(corpus, value_word(corpus, fact, language), ends)
        assert answers.log_prob[row] == pytest.approx(hooked_answer(model, prompt, tokens), rel=1e-9)
        right.append(hooked_greedy(model, prompt, len(tokens)) == tokens)
    assert answers.right.tolist() == right
    assert any(right)
