"""Sentences: each says one fact, and its tokens are those of its text."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given

from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.languages import Lexicon
from mechxl.data.mixture import Mixture
from mechxl.data.tokenization import build_tokenizer
from mechxl.data.world import World
from mechxl.errors import InputError
from tests.data.settings import FEW, said, small_corpus, small_settings

PAD, BOS, EOS = 0, 1, 2


class Decoder:
    """Reads sentences by reverse maps of the lexicon's tables."""

    def __init__(self, corpus: Corpus):
        lexicon = corpus.lexicon
        self.relation_first = lexicon.relation_first
        self.tags = {str(lexicon.words[tag]) for tag in lexicon.tags}
        self.names, self.relations, self.values = (defaultdict(set) for _ in range(3))
        for concepts, table in ((self.names, lexicon.names), (self.relations, lexicon.relation_words)):
            for (concept, language), index in np.ndenumerate(table):
                concepts[language, str(lexicon.words[index])].add(concept)
        for (relation, value, language), index in np.ndenumerate(lexicon.value_words):
            self.values[language, str(lexicon.words[index])].add((relation, value))

    def __call__(self, text: str) -> set[tuple[int, int, int]]:
        """All (entity, relation, value) that some language would say so; value -1 where none is said."""
        words = text.split(" ")
        if words[0] in self.tags:
            words = words[1:]
        found = set()
        for language, relation_first in enumerate(self.relation_first):
            name, relation = (words[1], words[0]) if relation_first else (words[0], words[1])
            for entity in self.names[language, name]:
                for r in self.relations[language, relation]:
                    if len(words) == 2:
                        found.add((entity, r, -1))
                    elif len(words) == 3:
                        found |= {(entity, r, v) for of, v in self.values[language, words[2]] if of == r}
        return found


def crossed(corpus: Corpus) -> list[tuple[int, int, bool]]:
    facts, languages = range(len(corpus.world.entity)), range(corpus.world.value.shape[1])
    return [(fact, language, shown) for fact in facts for language in languages for shown in (True, False)]


@FEW
@given(small_settings())
def test_every_sentence_says_one_fact(raw: dict):
    _, corpus = small_corpus(raw)
    decode = Decoder(corpus)
    for fact, language, shown in crossed(corpus):
        truth = corpus.world.entity[fact], corpus.world.relation[fact], corpus.world.value[fact, language]
        assert decode(corpus.text(fact, language, shown)) == {truth}


@FEW
@given(small_settings())
def test_text_is_the_words_in_order_with_the_tag_where_shown(raw: dict):
    _, corpus = small_corpus(raw)
    for fact, language, shown in crossed(corpus):
        assert corpus.text(fact, language, shown) == " ".join(said(corpus, fact, language, shown))


@FEW
@given(small_settings())
def test_tokens_are_those_of_the_whole_sentence(raw: dict):
    _, corpus = small_corpus(raw)
    tokenizer = corpus.tokenizer
    fact, language, shown = (np.array(column) for column in zip(*crossed(corpus), strict=True))
    sequences = corpus.sequences(fact, language, shown)
    prompts = sequences.prompts()
    for row, (f, a, tag) in enumerate(crossed(corpus)):
        words = said(corpus, f, a, tag)
        has_value = bool(corpus.world.value[f, a] >= 0)
        tokens = tokenizer.encode(" ".join(words)).ids + [EOS] * has_value
        prompt = tokenizer.encode(" ".join(words[:-1] if has_value else words)).ids
        assert tokens[0] == BOS
        n, start = sequences.length[row], sequences.prompt_length[row]
        assert sequences.tokens[row, :n].tolist() == tokens
        assert set(sequences.tokens[row, n:].tolist()) <= {PAD}
        assert start == len(prompt)
        assert prompts[row, :start].tolist() == prompt
        assert set(prompts[row, start:].tolist()) <= {-1}
        answer = sequences.tokens[row, start : start + sequences.answer_length[row]].tolist()
        assert tokenizer.decode(answer) == (words[-1] if has_value else "")
        assert tokenizer.decode(tokens) == " ".join(words)


@FEW
@given(small_settings())
def test_generated_answers_need_no_eos(raw: dict):
    assert not small_corpus(raw)[1].answers_end_with_eos


def test_tellings_are_the_cells_that_are_told():
    corpus = build_corpus(RunConfig())
    fact, language = corpus.tellings
    told = {(int(f), int(a)) for f, a in np.argwhere(corpus.mixture.weight > 0)}
    assert len(fact) == len(told)
    assert set(zip(fact.tolist(), language.tolist(), strict=True)) == told


def real_words(kind: str, values: list[str]) -> Corpus:
    """One entity a value, in one relation of two languages that say everything alike."""
    words = np.unique(np.array(["capital", *values, *(f"land{i}" for i in range(len(values)))]))
    place = {str(word): index for index, word in enumerate(words)}
    n, twice = len(values), np.ones((1, 2), int)
    lexicon = Lexicon(
        words=words,
        names=np.array([[place[f"land{i}"]] for i in range(n)]) * twice,
        relation_words=np.array([[place["capital"]]]) * twice,
        value_words=(np.array([[place[value]] for value in values]) * twice)[None],
        tags=np.zeros(0, int),
        relation_first=np.array([False, False]),
        syllable_letters=0,
    )
    entity = np.arange(n)
    world = World(entity, np.zeros(n, int), entity[:, None] * twice, np.full(n, 1 / n), np.full((1, n), 1 / n))
    mixture = Mixture(np.ones((n, 2), bool), np.full((n, 2), 1 / (2 * n)))
    return Corpus(
        world,
        lexicon,
        mixture,
        build_tokenizer(parse_config({"tokenization": {"kind": kind}}).tokenization, words, [], 0),
        0.0,
    )


@pytest.mark.parametrize(
    ("kind", "values", "ends"),
    [
        ("character", ["rome", "romeville", "oslo"], True),
        ("byte", ["rome", "romeville"], True),
        ("word", ["rome", "romeville"], False),
        ("character", ["rome", "paris", "oslo"], False),
        ("byte", ["łódź", "łod"], False),
        ("byte", ["łódź", "łó"], True),
    ],
)
def test_answers_end_with_eos_where_one_begins_another(kind: str, values: list[str], ends: bool):
    corpus = real_words(kind, values)
    pieces = {"character": len, "byte": lambda word: len(word.encode()), "word": lambda word: 1}[kind]
    sequences = corpus.sequences(np.arange(len(values)), np.zeros(len(values), int))
    assert corpus.answers_end_with_eos == ends
    for row, value in enumerate(values):
        start, length = sequences.prompt_length[row], sequences.answer_length[row]
        answer = sequences.tokens[row, start : start + length].tolist()
        assert length == pieces(value) + ends
        assert corpus.tokenizer.decode(answer) == value
        assert (answer[-1] == EOS) == ends
        assert sequences.tokens[row, sequences.length[row] - 1] == EOS


def test_words_of_no_syllables_are_not_cut_into_them():
    with pytest.raises(InputError, match=r"tokenization\.kind = syllable"):
        real_words("syllable", ["rome", "oslo"])
