"""What sequences share: found as by brute force over tuples, and every sequence gets its own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mechxl.model.answers import Questions
from mechxl.model.sharing import Shared, nothing_shared, rows_of, shared
from mechxl.training.batches import TrainingBatches
from tests.model.plain import encode, prompt_text, questions_of, small_corpus

MANY = settings(max_examples=200, deadline=None)
FEW_TO_MANY_KINDS = st.sampled_from([1, 2, 2, 3, 50])
CORPORA = {
    "syllable": {},
    "character": {"tokenization": {"kind": "character"}, "languages": {"word_length": 2, "word_order": "varied"}},
    "hidden tags": {"languages": {"cue": "tag", "cue_dropout": 0.5}},
    "bpe": {"tokenization": {"kind": "bpe", "vocab_size": 90}, "languages": {"word_length": 2}},
}


@st.composite
def sequences(draw: st.DrawFn) -> Tensor:
    """Rows of tokens that agree on none, some or all of their first places."""
    width = draw(st.integers(1, 6))
    kinds = [draw(FEW_TO_MANY_KINDS) for _ in range(width)]
    row = st.tuples(*(st.integers(0, kind - 1) for kind in kinds))
    return torch.tensor(draw(st.lists(row, min_size=1, max_size=16)))


def beginnings(tokens: Tensor, length: int) -> list[tuple[int, ...]]:
    return [tuple(row[:length]) for row in tokens.tolist()]


def longest_shared(tokens: Tensor, longest: int, at_once: int) -> int:
    """By trying all lengths: four sequences of a batch for each kind of beginning, or nothing is shared."""
    return max(k for k in range(longest + 1) if k == 0 or 4 * len(set(beginnings(tokens, k))) <= at_once)


def assert_beginnings_of(common: Shared, tokens: Tensor) -> None:
    """Each sequence's beginning is made of its own first tokens."""
    length = common.tokens.shape[1]
    assert common.beginning.shape == (len(tokens),)
    assert beginnings(common.tokens[common.beginning], length) == beginnings(tokens, length)


@MANY
@given(sequences(), st.data())
def test_the_longest_beginnings_that_are_few_are_shared(tokens, data):
    longest = data.draw(st.integers(0, tokens.shape[1]))
    at_once = data.draw(st.integers(1, 72))
    found = shared(tokens, longest, at_once)
    length = longest_shared(tokens, longest, at_once)
    assert sorted(beginnings(found.tokens, length)) == sorted(set(beginnings(tokens, length)))
    assert found.tokens.shape[1] == length
    assert_beginnings_of(found, tokens)


@pytest.mark.parametrize(("at_once", "length"), [(3, 0), (4, 1), (7, 1), (8, 2), (11, 2), (12, 3), (15, 3), (16, 4)])
def test_a_beginning_is_shared_from_four_sequences_a_batch_on(at_once, length):
    tokens = torch.tensor([[1, 5, 6, 7], [1, 5, 6, 8], [1, 9, 6, 7], [1, 9, 2, 7]])
    assert shared(tokens, 4, at_once).tokens.shape[1] == length


@MANY
@given(sequences(), st.data())
def test_some_of_the_sequences_keep_their_beginnings(tokens, data):
    common = shared(tokens, tokens.shape[1], 64)
    n = len(tokens)
    start = data.draw(st.integers(0, n))
    rows = slice(start, data.draw(st.integers(start, n)))
    assert_beginnings_of(common[rows], tokens[rows])
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), dtype=torch.long)
    assert_beginnings_of(common[chosen], tokens[chosen])
    assert common[chosen].tokens is common.tokens


@MANY
@given(sequences())
def test_where_nothing_is_shared_the_beginnings_are_empty(tokens):
    for empty in (nothing_shared(tokens), shared(tokens, 0, 64), shared(tokens, tokens.shape[1], 3)):
        assert empty.tokens.shape == (1, 0)
        assert_beginnings_of(empty, tokens)
        assert_beginnings_of(empty[:1], tokens[:1])


@pytest.mark.parametrize("batch_size", [3, 32, 1024])
@pytest.mark.parametrize("objective", ["answer", "all"])
@pytest.mark.parametrize("name", CORPORA)
def test_batches_share_beginnings_before_the_first_position_with_loss(name, objective, batch_size):
    batches = TrainingBatches(small_corpus(**CORPORA[name]), objective, batch_size, 0, "cpu")
    first = int(batches.positions.min())
    length = longest_shared(batches.tokens, first, batch_size)
    assert (length > 0) == (objective == "answer" and batch_size > 3)
    assert length < 2 or batch_size > 32
    for step in (0, 70):
        batch = batches[step]
        assert batch.common.tokens.shape[1] == length
        assert_beginnings_of(batch.common, batch.tokens)


@pytest.mark.parametrize("name", CORPORA)
def test_questions_are_asked_once_each_and_share_beginnings_within_their_prompts(name, monkeypatch):
    corpus = small_corpus(**CORPORA[name])
    lengths = {}
    for at_once in (2048, 64, 3):
        monkeypatch.setattr("mechxl.model.answers.ROWS_AT_ONCE", at_once)
        for tag in (True, False):
            questions = Questions.of(corpus, *questions_of(corpus), tag=tag)
            assert sorted(int(row) for rows, _ in questions.parts for row in rows) == list(range(len(questions)))
            for rows, common in questions.parts:
                assert len(rows) <= at_once
                last = int(questions.prompt_length[rows].min()) - 1  # of the shortest, whose logits are asked for
                length = longest_shared(questions.tokens[rows], last, len(rows))
                lengths[at_once, tag] = max(lengths.get((at_once, tag), 0), length)
                assert common.tokens.shape[1] == length
                assert_beginnings_of(common, questions.tokens[rows])
    assert lengths[2048, True] > 0
    assert lengths[64, True] > 0
    assert lengths[3, True] == 0


@pytest.mark.parametrize("name", CORPORA)
def test_a_prompts_last_token_is_never_shared(name):
    """Its logits are asked for. Each question four times, so that whole prompts are few."""
    corpus = small_corpus(**CORPORA[name])
    fact, language = (np.repeat(x, 4) for x in questions_of(corpus))
    prompts = [encode(corpus, prompt_text(corpus, *x, tag=True)) for x in zip(fact, language, strict=True)]
    questions = Questions.of(corpus, fact, language)
    ((rows, common),) = questions.parts
    assert common.tokens.shape[1] == min(len(prompt) for prompt in prompts) - 1
    assert_beginnings_of(common, questions.tokens[rows])


@MANY
@given(sequences(), st.data())
def test_kinds_are_the_pairs_of_token_and_position(tokens, data):
    at_once = data.draw(st.integers(1, 72))
    common = shared(tokens, data.draw(st.integers(0, tokens.shape[1])), at_once)
    pairs = {(int(token), place) for row in tokens for place, token in enumerate(row)}
    assert (common.kinds is not None) == (4 * len(pairs) <= at_once)
    if common.kinds is None or common.kind is None or common.begun is None:
        return
    assert sorted(map(tuple, common.kinds.T.tolist())) == sorted(pairs)
    places = torch.arange(tokens.shape[1]).expand(tokens.shape)
    assert torch.equal(common.kinds[:, common.kind], torch.stack([tokens, places]))
    length = common.tokens.shape[1]
    assert torch.equal(common.kinds[0, common.begun], common.tokens)
    assert torch.equal(common.kinds[1, common.begun], torch.arange(length).expand(common.tokens.shape))
    assert common.beginnings().kinds is None


@MANY
@given(sequences(), st.data())
def test_every_position_finds_its_row_and_kind(tokens, data):
    common = shared(tokens, data.draw(st.integers(0, tokens.shape[1])), data.draw(st.integers(1, 72)))
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, len(tokens) - 1), min_size=1, max_size=9)))
    width = data.draw(st.integers(max(common.tokens.shape[1], 1), tokens.shape[1]))
    some = tokens[chosen, :width]
    rows = rows_of(some, common[chosen])
    expected = torch.stack([some, torch.arange(width).expand(some.shape)])
    assert torch.equal(rows.kinds[:, rows.sequence_kind], expected)
    assert torch.equal(rows.kinds[:, rows.kind[rows.sequence]], expected)
    assert torch.equal(rows.kinds[0, rows.kind[rows.begun]], common.tokens)
    assert torch.equal(rows.kinds[0, rows.begun_kind], common.tokens)
    own = width - common.tokens.shape[1]
    assert len(rows.kind) == common.tokens.numel() + len(chosen) * own  # nothing is computed twice
    assert torch.equal(rows.own(rows.kind.double()), rows.kind.double()[rows.sequence[:, width - own :]])
