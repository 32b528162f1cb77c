"""Batches: what is drawn, how often, and what is asked of the model at each position."""

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from mechxl.data.corpus import Corpus
from mechxl.training.batches import TrainingBatch, TrainingBatches
from tests.model.plain import encode, prompt_text, small_corpus, value_word

EOS = 2
CORPORA = {
    "plain": {},
    "hidden tags": {"languages": {"cue": "tag", "cue_dropout": 0.3}},
    "tags always hidden": {"languages": {"cue": "tag", "cue_dropout": 1.0}},
    "zipf": {"world": {"frequency": "zipf"}, "mixture": {"exposure": "per_fact"}},
    "characters": {"tokenization": {"kind": "character"}, "languages": {"word_length": 2, "word_order": "varied"}},
    "bpe": {
        "tokenization": {"kind": "bpe", "vocab_size": 90},
        "languages": {"word_length": 2, "cue": "tag", "cue_dropout": 0.5},
    },
}


def sentences(corpus: Corpus) -> dict[tuple[int, ...], tuple[int, int, bool]]:
    """(fact, language, tag shown) of every telling in both cue states, by its whole token sequence."""
    states = (True, False) if len(corpus.lexicon.tags) else (True,)
    table = {}
    for fact, language in np.argwhere(corpus.mixture.told):
        for tag in states:
            text = f"{prompt_text(corpus, fact, language, tag)} {value_word(corpus, fact, language)}"
            table[(*encode(corpus, text), EOS)] = int(fact), int(language), tag
    return table


def whole_rows(batch: TrainingBatch) -> list[tuple[int, ...]]:
    """Each row's input with its last target after it: the sentence, as far as a batch shows it."""
    rows = []
    width = batch.tokens.shape[1]
    for row, tokens in enumerate(batch.tokens.tolist()):
        positions = range(width)[batch.positions] if isinstance(batch.positions, slice) else batch.positions[row]
        longer = [*tokens, 0]
        for position, target in zip(positions, batch.targets[row].tolist(), strict=True):
            if target:
                longer[int(position) + 1] = target
        rows.append(tuple(token for token in longer if token))
    return rows


def drawn(corpus: Corpus, batch: TrainingBatch) -> list[tuple[int, int, bool]]:
    """What each row says; EOS is in the input of some rows, and in the targets where every token is trained."""
    table = {tokens[:-1]: said for tokens, said in sentences(corpus).items()}
    return [table[row[:-1] if row[-1] == EOS else row] for row in whole_rows(batch)]


@pytest.mark.parametrize("objective", ["answer", "all"])
@pytest.mark.parametrize("name", CORPORA)
def test_targets_are_the_next_tokens_of_the_sentences(name, objective):
    corpus = small_corpus(**CORPORA[name])
    batch = TrainingBatches(corpus, objective, 64, 5, "cpu")[2]
    width = batch.tokens.shape[1]
    for row, (fact, language, tag) in enumerate(drawn(corpus, batch)):
        prompt = encode(corpus, prompt_text(corpus, fact, language, tag))
        answer = encode(corpus, value_word(corpus, fact, language))[1:]
        sentence = [*prompt, *answer, EOS]
        positions = range(width)[batch.positions] if isinstance(batch.positions, slice) else batch.positions[row]
        asked, is_answer = {}, {}
        for column, position in enumerate(positions):
            if target := int(batch.targets[row, column]):
                assert int(position) + 1 not in asked
                asked[int(position) + 1] = target
                is_answer[int(position) + 1] = bool(batch.is_answer[row, column])
            else:
                assert not batch.is_answer[row, column]
        answers = range(len(prompt), len(prompt) + len(answer))
        expected = answers if objective == "answer" else range(1, len(sentence))
        assert asked == {at: sentence[at] for at in expected}
        assert is_answer == {at: at in answers for at in expected}
        read = min(width, len(sentence))
        assert batch.tokens[row, :read].tolist() == sentence[:read]
        assert not batch.tokens[row, read:].any()


@pytest.mark.parametrize("name", ["plain", "hidden tags", "tags always hidden", "zipf"])
def test_draws_follow_the_weights_and_tags_their_probability(name):
    corpus = small_corpus(**CORPORA[name])
    batches = TrainingBatches(corpus, "all", 256, 7, "cpu")
    said = [one for step in range(150) for one in drawn(corpus, batches[step])]
    cells = np.argwhere(corpus.mixture.told)
    count = {tuple(cell): 0 for cell in cells.tolist()}
    for fact, language, _ in said:
        count[fact, language] += 1
    weight = np.array([corpus.mixture.weight[fact, language] for fact, language in count])
    assert weight.sum() == pytest.approx(1)
    assert chisquare(list(count.values()), weight * len(said)).pvalue > 1e-3
    dropout = CORPORA[name].get("languages", {}).get("cue_dropout", 0.0)
    hidden = sum(not tag for _, _, tag in said)
    assert binomtest(hidden, len(said), dropout).pvalue > 1e-3
    if 0 < dropout < 1:  # a telling is hidden anew at every draw
        first = tuple(cells[0].tolist())
        assert {tag for fact, language, tag in said if (fact, language) == first} == {True, False}


def test_a_step_has_the_same_rows_whenever_it_is_asked():
    corpus = small_corpus(**CORPORA["hidden tags"])
    forward = TrainingBatches(corpus, "answer", 16, 3, "cpu")
    expected = [forward.rows(step).tolist() for step in range(201)]
    assert len({tuple(rows) for rows in expected}) == 201
    jumping = TrainingBatches(corpus, "answer", 16, 3, "cpu")
    for step in (200, 3, 63, 64, 0, 200, 128):
        assert jumping.rows(step).tolist() == expected[step], step
    assert TrainingBatches(corpus, "answer", 16, 4, "cpu").rows(0).tolist() != expected[0]


def test_steps_are_independent_draws():
    """Batches of one draw each repeat a telling in the next step as often as independence has it."""
    corpus = small_corpus(world={"n_entities": 2, "n_relations": 1, "n_values": 2})
    batches = TrainingBatches(corpus, "answer", 1, 11, "cpu")
    rows = np.concatenate([batches.rows(step) for step in range(2000)])
    n = int(corpus.mixture.told.sum())
    assert binomtest(int((rows[1:] == rows[:-1]).sum()), len(rows) - 1, 1 / n).pvalue > 1e-3
