"""Tokenizers: how each kind cuts words, what comes back, and which BPE vocabularies there are."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from tokenizers import Tokenizer

from mechxl.config import RunConfig, TokenizationConfig, parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.tokenization import SPECIAL, build_tokenizer, token_texts, transformers_tokenizer
from mechxl.errors import InputError
from tests.data.settings import FEW, KINDS, said, small_corpus, small_settings

SMALL = {
    "world": {"n_entities": 20, "n_relations": 2, "n_values": 5, "n_unseen": 4},
    "languages": {"script": "distinct", "shared_names": 0.5, "shared_words": 0.5, "cue": "tag"},
}


def corpus_of(kind: str, vocab_size: int = 200) -> Corpus:
    return build_corpus(parse_config(SMALL | {"tokenization": {"kind": kind, "vocab_size": vocab_size}}))


def letters(word: str, size: int) -> list[str]:
    return [("##" if at else "") + word[at : at + size] for at in range(0, len(word), size)]


def tokens(corpus: Corpus, text: str) -> list[str]:
    return corpus.tokenizer.encode(text, add_special_tokens=False).tokens


@FEW
@given(small_settings())
def test_words_are_cut_as_the_kind_says(raw: dict):
    config, corpus = small_corpus(raw)
    kind = config.tokenization.kind
    for word in corpus.lexicon.words.tolist():
        pieces = tokens(corpus, word)
        if kind == "byte":
            assert len(pieces) == len(word.encode())
        elif kind == "bpe":
            assert pieces[0] + "".join(piece.removeprefix("##") for piece in pieces[1:]) == word
            assert all(piece.startswith("##") for piece in pieces[1:])
        else:
            assert pieces == letters(word, {"word": len(word), "syllable": 3, "character": 1}[kind])
        assert corpus.tokenizer.decode(corpus.tokenizer.encode(word).ids) == word


@FEW
@given(small_settings())
def test_vocabulary_is_three_special_tokens_and_the_pieces_of_all_words(raw: dict):
    config, corpus = small_corpus(raw)
    vocabulary = corpus.tokenizer.get_vocab()
    assert [vocabulary.pop(token) for token in ("<pad>", "<bos>", "<eos>")] == [0, 1, 2]
    assert sorted(vocabulary.values()) == list(range(3, len(vocabulary) + 3))
    if config.tokenization.kind != "bpe":
        assert set(vocabulary) == {piece for word in corpus.lexicon.words for piece in tokens(corpus, str(word))}
    else:
        assert len(vocabulary) + 3 == config.tokenization.vocab_size


@FEW
@given(small_settings())
def test_a_sentence_is_bos_and_its_words_tokens(raw: dict):
    _, corpus = small_corpus(raw)
    for fact in range(0, len(corpus.world.entity), 3):
        words = said(corpus, fact, fact % corpus.world.value.shape[1])
        alone = [piece for word in words for piece in tokens(corpus, word)]
        assert corpus.tokenizer.encode(" ".join(words)).tokens == ["<bos>", *alone]


@FEW
@given(small_settings())
def test_json_keeps_the_tokenizer(raw: dict):
    _, corpus = small_corpus(raw)
    again = Tokenizer.from_str(json.dumps(json.loads(corpus.tokenizer.to_str())))
    for fact in range(0, len(corpus.world.entity), 3):
        text = " ".join(said(corpus, fact, 0))
        ids = again.encode(text).ids
        assert ids == corpus.tokenizer.encode(text).ids
        assert again.decode(ids) == text
    assert again.get_vocab() == corpus.tokenizer.get_vocab()


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_it_alike(kind: str):
    corpus = corpus_of(kind)
    wrapped = transformers_tokenizer(corpus.tokenizer)
    texts = [" ".join(said(corpus, fact, fact % 2)) for fact in range(len(corpus.world.entity))]
    ids = wrapped(texts)["input_ids"]
    assert ids == [corpus.tokenizer.encode(text).ids for text in texts]
    assert wrapped.batch_decode(ids, skip_special_tokens=True) == texts
    assert (wrapped.pad_token_id, wrapped.bos_token_id, wrapped.eos_token_id) == (0, 1, 2)
    padded = wrapped([texts[0], texts[0].split(" ")[0]], padding=True)["input_ids"][1]
    assert padded[0] == 1
    assert padded[-1] == 0


@pytest.mark.parametrize(("script", "alike"), [("shared", True), ("distinct", False)])
def test_characters_and_bytes_differ_outside_ascii_only(script: str, alike: bool):
    raw = SMALL | {"languages": {"script": script, "shared_names": 0.0}}
    by_kind = [build_corpus(parse_config(raw | {"tokenization": {"kind": kind}})) for kind in ("character", "byte")]
    fact, language = np.arange(40), np.arange(40) % 2
    lengths = [corpus.sequences(fact, language).length for corpus in by_kind]
    assert np.array_equal(lengths[0], lengths[1]) == alike
    assert (lengths[1] >= lengths[0]).all()
    if alike:
        assert np.array_equal(by_kind[0].sequences(fact, language).tokens, by_kind[1].sequences(fact, language).tokens)


def suggested(vocab_size: int) -> int:
    with pytest.raises(
        InputError, match=rf"tokenization\.vocab_size = {vocab_size}:.*nearest that works: \d+$"
    ) as error:
        corpus_of("bpe", vocab_size)
    return int(str(error.value).rsplit(" ", 1)[1])


def test_bpe_has_exactly_the_tokens_asked_for_from_its_alphabet_to_its_words():
    words = corpus_of("word").lexicon.words.tolist()
    smallest, largest = suggested(4), suggested(100_000)
    for size in (smallest, smallest + 1, (smallest + largest) // 2, largest - 1, largest):
        assert corpus_of("bpe", size).tokenizer.get_vocab_size() == size
    assert suggested(smallest - 1) == smallest
    assert suggested(largest + 1) == largest
    full, bare = corpus_of("bpe", largest), corpus_of("bpe", smallest)
    assert all(tokens(full, word) == [word] for word in words)
    assert all(tokens(bare, word) == letters(word, 1) for word in words)


def test_bpe_merges_the_most_frequent_pair_of_every_fact_in_every_language_each_time():
    """Replays the merges over plain word counts: unseen names included, tag shown, each fact once a language."""
    corpus = corpus_of("bpe", 190)
    facts, languages = range(len(corpus.world.entity)), range(2)
    counts = Counter(word for fact in facts for a in languages for word in said(corpus, fact, a, tag=True))
    counts += Counter(set(corpus.lexicon.words.tolist()) - set(counts))  # words that no fact needs
    cut = {word: letters(word, 1) for word in counts}
    merges = json.loads(corpus.tokenizer.to_str())["model"]["merges"]
    assert len(merges) > 20
    for left, right in merges:
        pairs = Counter()
        for word, pieces in cut.items():
            for pair in pairwise(pieces):
                pairs[pair] += counts[word]
        assert pairs[left, right] == max(pairs.values())
        for word, pieces in cut.items():
            merged, at = [], 0
            while at < len(pieces):
                hit = pieces[at : at + 2] == [left, right]
                merged.append(left + right.removeprefix("##") if hit else pieces[at])
                at += 1 + hit
            cut[word] = merged
    assert all(tokens(corpus, word) == pieces for word, pieces in cut.items())


def test_default_tokens_are_words_of_one_syllable_and_names_of_two():
    corpus = build_corpus(RunConfig())
    assert [len(tokens(corpus, word)) for word in said(corpus, 0, 0)] == [2, 1, 1]


def test_tokens_of_bytes_are_shown_as_their_text():
    words = np.array(["ab", "Жа", "日"])

    def shown(config: TokenizationConfig) -> set[str]:
        texts = token_texts(build_tokenizer(config, words, words.tolist(), 0))
        assert texts[:3] == SPECIAL
        return set(texts[3:])

    by_byte = {"a", "##b", "\\xd0", "##\\x96", "##\\xd0", "##\\xb0", "\\xe6", "##\\x97", "##\\xa5"}
    assert shown(TokenizationConfig(kind="byte")) == by_byte
    assert shown(TokenizationConfig(kind="character")) == {"a", "##b", "Ж", "##а", "日"}
    assert {"ab", "Жа", "日"} <= shown(TokenizationConfig(kind="byte_bpe", vocab_size=23))
