"""Edits of the stream against plain hooks and decoding; LEACE by what it promises; steering by the means it moves."""

import numpy as np
import pytest
import torch

from mechxl.data.corpus import crossed
from mechxl.data.roles import role_positions
from mechxl.instruments.erasure.intervention import (
    edited_answers,
    edited_streams,
    fit_prompts,
    prompt_slots,
    stream_hook,
)
from mechxl.instruments.erasure.leace import erasers
from mechxl.instruments.erasure.steering import directions, random_directions, steering
from mechxl.model.answers import Questions, answer_trie, ask_questions
from tests.model.plain import learned_model, small_corpus, small_model

CORPORA = {
    "default": {},
    "character": {"tokenization": {"kind": "character"}},
    "varied tags": {"languages": {"name_syllables": 12, "word_syllables": 24, "word_order": "varied", "cue": "tag"}},
    "bpe": {"tokenization": {"kind": "bpe", "vocab_size": 60}},
}
CORPUS = {name: small_corpus(**sections) for name, sections in CORPORA.items()}


def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=list(CORPORA))
def corpus(request):
    return CORPUS[request.param]


def facts_of(corpus):
    return np.flatnonzero(corpus.world.seen)


def test_slots_are_the_prompt_word_by_word(corpus):
    fact, language = crossed(facts_of(corpus), 2)
    slots = prompt_slots(corpus, fact, language)
    longest = corpus.word_tokens.shape[1]
    roles = ["name_first", "name_last", "relation_first", "relation_last", "prompt_last"]
    places = role_positions(corpus, fact, language, roles)
    rows = np.arange(len(fact))
    for role, at in zip(roles, places.T, strict=True):
        named = [slots.names[slot] for slot in slots.index[rows, at]]
        if role != "prompt_last":
            assert all(name.startswith(role.split("_")[0]) for name in named)
        if role.endswith("first"):
            assert all(name.endswith(" 1") for name in named)
    np.testing.assert_array_equal(slots.last, slots.index[rows, places[:, -1]])
    lengths = corpus.sequences(fact, language).prompt_length
    np.testing.assert_array_equal((slots.index >= 0).sum(axis=1), lengths - 1)  # all but BOS
    assert (slots.index < 3 * longest).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in slots.index)


def test_without_edits_answers_are_the_plain_ones(corpus):
    model = learned_model(corpus, steps=30)
    fact, language = corpus.tellings
    questions, trie = Questions.of(corpus, fact, language), answer_trie(corpus)
    slots = prompt_slots(corpus, fact, language).index
    plain = ask_questions(model, questions, trie)
    np.testing.assert_array_equal(edited_answers(model, questions, slots, {}, trie), plain.word)
    same = {0: {0: lambda x: x, 1: lambda x: x}, 1: {1: lambda x: x}}
    np.testing.assert_array_equal(edited_answers(model, questions, slots, same, trie), plain.word)


def test_an_edit_is_a_plain_hook_at_these_positions_alone(corpus):
    model = small_model(corpus, n_layers=2)
    fact, language = crossed(facts_of(corpus)[:7], 2)
    slots = prompt_slots(corpus, fact, language)
    slot = int(slots.index[0, 2])
    tokens = torch.as_tensor(np.maximum(corpus.sequences(fact, language).prompts(), 0))
    found = edited_streams(model, tokens, slots.index, {1: {slot: lambda x: 2 * x + 1}}, [1, 2])

    def hook(stream, hook):
        for row in range(len(stream)):
            for position in range(stream.shape[1]):
                if slots.index[row, position] == slot:
                    stream[row, position] = 2 * stream[row, position] + 1
        return stream

    kept = {}
    with torch.no_grad(), model.hooks(fwd_hooks=[(stream_hook(1), hook)]):
        kept = model.run_with_cache(tokens)[1]
    torch.testing.assert_close(found[2], kept["blocks.1.hook_resid_post"], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[1], kept["blocks.0.hook_resid_post"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("from_layer", [0, 1, 2])
def test_after_erasure_no_linear_reader_can_tell_the_languages_of_what_it_was_fitted_on(corpus, from_layer):
    """LEACE's promise (Belrose et al. 2023, theorem 3.1): class means coincide, at every slot and layer from there."""
    model = small_model(corpus, n_layers=2)
    on = fit_prompts(corpus, facts_of(corpus), rng())
    layers = list(range(from_layer, 3))
    before = edited_streams(model, on.tokens, on.slots.index, {}, layers)
    after = edited_streams(model, on.tokens, on.slots.index, erasers(model, on, from_layer, "language", rng()), layers)
    for layer in layers:
        for slot in np.unique(on.slots.index[on.slots.index >= 0]):
            gaps = []
            for streams in (before, after):
                means = []
                for language in range(2):
                    row, place = np.nonzero((on.slots.index == slot) & (on.language == language)[:, None])
                    means.append(streams[layer][row, place].mean(0) if len(row) else None)
                if means[0] is None or means[1] is None:
                    continue
                gaps.append(float((means[0] - means[1]).norm()))
            assert not gaps or gaps[1] < 1e-10, (layer, slot, gaps)


def test_controls_take_off_the_rank_or_the_variance_that_the_language_does():
    corpus = CORPUS["default"]
    model = small_model(corpus, n_layers=1, d_model=24)
    on = fit_prompts(corpus, facts_of(corpus), rng())
    slot = int(on.slots.last[0])
    stream = edited_streams(model, on.tokens, on.slots.index, {}, [1])[1]
    row, place = np.nonzero(on.slots.index == slot)
    x = stream[row, place]
    removed = {}
    for what in ("language", "random_rank", "random_variance", "values"):
        edit = erasers(model, on, 1, what, rng())[1][slot]
        removed[what] = edit(x) - x
    for what in ("language", "random_rank", "values"):
        assert int(torch.linalg.matrix_rank(removed[what], atol=1e-6)) == 1
    energy = {what: float((r**2).sum(1).mean()) for what, r in removed.items()}
    assert energy["random_variance"] == pytest.approx(energy["language"], rel=1e-6)


def test_a_slot_that_holds_no_language_is_left_alone():
    """Names are shared and come first: their stream is the same in both languages."""
    corpus = CORPUS["default"]
    on = fit_prompts(corpus, facts_of(corpus), rng())
    edits = erasers(small_model(corpus, n_layers=2), on, 0, "language", rng())
    names = {slot for by_slot in edits.values() for slot in by_slot}
    assert {on.slots.names[slot] for slot in names} == {"relation 1"}


def test_steering_moves_one_languages_mean_onto_the_others(corpus):
    model = small_model(corpus, n_layers=2)
    on = fit_prompts(corpus, facts_of(corpus), rng())
    towards = directions(model, on, 1, 0, 1)
    edited = edited_streams(model, on.tokens, on.slots.index, {1: steering(towards, 1.0)}, [1])[1]
    plain = edited_streams(model, on.tokens, on.slots.index, {}, [1])[1]
    for slot in towards:
        source, target = (np.nonzero((on.slots.index == slot) & (on.language == a)[:, None]) for a in (0, 1))
        torch.testing.assert_close(edited[source].mean(0), plain[target].mean(0), rtol=0, atol=1e-6)
    other = random_directions(towards, rng())
    assert all(float(other[slot].norm()) == pytest.approx(float(towards[slot].norm())) for slot in towards)
    never = steering(towards, 0.0)
    torch.testing.assert_close(
        edited_streams(model, on.tokens, on.slots.index, {1: never}, [1])[1], plain, rtol=0, atol=0
    )
