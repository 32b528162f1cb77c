"""Edits of the stream against plain hooks and decoding; LEACE by what it promises; steering by the means it moves."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mechxl.data.corpus import crossed
from mechxl.data.roles import role_positions
from mechxl.instruments.erasure.intervention import (
    edited_answers,
    edited_streams,
    fit_prompts,
    prompt_slots,
)
from mechxl.instruments.erasure.leace import affine_maps, erasers, within_eraser
from mechxl.instruments.erasure.steering import directions, mean_streams, slots_in_relations
from mechxl.model.answers import Questions, answer_trie, ask_questions
from tests.model.plain import hooked_greedy, learned_model, small_corpus, small_model

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


def stream_hook(layer):
    """TransformerLens's name of the residual stream after `layer` blocks."""
    return f"blocks.{layer - 1}.hook_resid_post" if layer else "blocks.0.hook_resid_pre"


def test_slots_are_the_prompt_word_by_word_and_the_last_token_is_one_of_its_own(corpus):
    fact, language = crossed(facts_of(corpus), 2)
    slots = prompt_slots(corpus, fact, language)
    roles = ["name_first", "name_last", "relation_first", "relation_last", "prompt_last"]
    places = role_positions(corpus, fact, language, roles)
    rows = np.arange(len(fact))
    for role, at in zip(roles, places.T, strict=True):
        inside = at != places[:, -1]
        named = [slots.names[slot] for slot in slots.index[rows, at][inside]]
        assert all(name.startswith(role.split("_")[0]) for name in named)
        if role.endswith("first"):
            assert all(name.endswith(" 1") for name in named)
    assert slots.names[slots.last] == "last"
    assert (slots.index[rows, places[:, -1]] == slots.last).all()  # of a name too, where the relation comes first
    assert ((slots.index == slots.last).sum(axis=1) == 1).all()
    lengths = corpus.sequences(fact, language).prompt_length
    np.testing.assert_array_equal((slots.index >= 0).sum(axis=1), lengths - 1)  # all but BOS
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in slots.index)


def test_answers_under_edits_are_those_of_the_hooked_model(corpus):
    """Without edits those of plain decoding; with edits those of TransformerLens's forward with hooks of our own."""
    model = learned_model(corpus, steps=30)
    fact, language = corpus.tellings
    questions, trie = Questions.of(corpus, fact, language), answer_trie(corpus)
    slots = prompt_slots(corpus, fact, language)
    plain = ask_questions(model, questions, trie)
    np.testing.assert_array_equal(edited_answers(model, questions, slots.index, {}, trie), plain.word)
    turned = torch.as_tensor(np.linalg.qr(rng().standard_normal((model.cfg.d_model,) * 2))[0])

    def edit(x, slot):
        return torch.where((slot == slots.last)[:, None], x @ turned.to(x), x)

    expected = []
    for prompt, length in zip(questions.tokens, questions.prompt_length.tolist(), strict=True):

        def hook(stream, hook, last=length - 1):
            stream[:, last] = stream[:, last] @ turned.to(stream)
            return stream

        with model.hooks(fwd_hooks=[(stream_hook(layer), hook) for layer in (0, 1)]):
            expected.append(hooked_greedy(model, prompt[:length].tolist(), trie.longest))
    found = edited_answers(model, questions, slots.index, {0: edit, 1: edit}, trie)
    np.testing.assert_array_equal(found, trie.read(np.array(expected)))
    assert (found != plain.word).any()


def test_an_edit_is_a_plain_hook_at_these_positions_alone(corpus):
    model = small_model(corpus, n_layers=2)
    fact, language = crossed(facts_of(corpus)[:7], 2)
    slots = prompt_slots(corpus, fact, language)
    slot = int(slots.index[0, 2])
    tokens = torch.as_tensor(np.maximum(corpus.sequences(fact, language).prompts(), 0))
    edit = affine_maps({slot: (2 * torch.eye(model.cfg.d_model).double(), -torch.ones(model.cfg.d_model).double())})
    found = edited_streams(model, tokens, slots.index, {1: edit}, [1, 2])

    def hook(stream, hook):
        for row in range(len(stream)):
            for position in range(stream.shape[1]):
                if slots.index[row, position] == slot:
                    stream[row, position] = 2 * stream[row, position] + 1
        return stream

    with torch.no_grad(), model.hooks(fwd_hooks=[(stream_hook(1), hook)]):
        kept = model.run_with_cache(tokens)[1]
    torch.testing.assert_close(found[2], kept["blocks.1.hook_resid_post"], rtol=0, atol=1e-10)
    torch.testing.assert_close(found[1], kept["blocks.0.hook_resid_post"], rtol=0, atol=1e-10)


def planted(entities=150, d=6, noise=0.3):
    """Streams in two languages and two relations; the language's offset has the opposite sign in the other relation."""
    generator = np.random.default_rng(1)
    entity, relation, language = (np.array(x) for x in zip(*product(range(entities), (0, 1), (0, 1)), strict=True))
    name = generator.standard_normal((entities, d))[entity]
    sign = np.where(relation == 0, 1.0, -1.0) * np.where(language == 0, 1.0, -1.0)
    x = name + 2 * sign[:, None] * np.eye(d)[0] + 3 * relation[:, None] * np.eye(d)[1]
    return x + noise * generator.standard_normal(x.shape), entity, relation, language


def read_within(x, entity, relation, language):
    """How well logistic regression reads the language within a relation, of entities that it was not trained on."""
    new = entity >= entity.max() // 2
    scores = []
    for r in (0, 1):
        train, test = (relation == r) & ~new, (relation == r) & new
        scores.append(LogisticRegression(max_iter=200).fit(x[train], language[train]).score(x[test], language[test]))
    return float(np.mean(scores))


def test_pooled_erasure_leaves_what_is_told_with_opposite_signs_and_erasure_within_relations_does_not():
    x, entity, relation, language = planted()
    on = entity < 100
    other = ~on
    assert read_within(x[other], entity[other] - 100, relation[other], language[other]) > 0.9
    after = {}
    for way, given in (("pooled", np.zeros_like(relation)), ("within", relation)):
        eraser, _ = within_eraser(torch.as_tensor(x[on]), given[on], language[on])
        assert eraser is not None
        erased = eraser(torch.as_tensor(x)).numpy()
        after[way] = read_within(erased[other], entity[other] - 100, relation[other], language[other])
    assert after["pooled"] > 0.9
    assert after["within"] < 0.65


def test_the_map_within_relations_is_the_least_change_that_makes_all_means_equal():
    """Brute force: among affine maps that send every offset to 0, least squares under that constraint, solved plainly.

    With P the map's matrix and S the covariance of x, the change is tr((I - P) S (I - P)^T) where P offsets = 0; its
    Lagrangian gives P = I - D (D^T S^-1 D)^-1 D^T S^-1 for a basis D of the offsets.
    """
    x, _, relation, language = planted(entities=40)
    eraser, rank = within_eraser(torch.as_tensor(x), relation, language)
    offsets = []
    for r, a in product((0, 1), (0, 1)):
        offsets.append(x[(relation == r) & (language == a)].mean(0) - x[relation == r].mean(0))
    assert rank == 2 == np.linalg.matrix_rank(np.array(offsets), tol=1e-6)
    assert eraser is not None
    basis = np.linalg.svd(np.array(offsets))[2][:2].T
    inverse = np.linalg.inv(np.cov(x.T))
    expected = np.eye(6) - basis @ np.linalg.inv(basis.T @ inverse @ basis) @ basis.T @ inverse
    np.testing.assert_allclose(eraser.P.numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(eraser.P.numpy() @ np.array(offsets).T, 0, atol=1e-10)
    np.testing.assert_allclose(eraser(torch.as_tensor(x)).numpy().mean(0), x.mean(0), atol=1e-10)


def test_a_direction_that_did_not_vary_where_the_map_was_fitted_is_left_alone():
    """All that varies there is rounding of float32, which whitening would blow up."""
    x, _, relation, language = planted(entities=40)
    flat = np.concatenate([x, 1e-7 * rng().standard_normal((len(x), 1))], axis=1)
    eraser, _ = within_eraser(torch.as_tensor(flat), relation, language)
    assert eraser is not None
    kept = eraser.P.numpy()
    np.testing.assert_allclose(kept[-1], np.eye(7)[-1], atol=1e-6)
    np.testing.assert_allclose(kept[:, -1], np.eye(7)[-1], atol=1e-6)


@pytest.mark.parametrize("from_layer", [0, 2])
def test_after_erasure_no_linear_reader_can_tell_the_languages_of_what_it_was_fitted_on(corpus, from_layer):
    """Belrose et al. 2023, theorem 3.1: class means coincide within each relation, at every slot and layer."""
    model = small_model(corpus, n_layers=2)
    on = fit_prompts(corpus, facts_of(corpus), rng())
    layers = list(range(from_layer, 3))
    before = edited_streams(model, on.tokens, on.slots.index, {}, layers)
    erased = erasers(model, on, from_layer, "language", rng())
    after = edited_streams(model, on.tokens, on.slots.index, erased.edits, layers)
    largest = {"before": 0.0, "after": 0.0}
    relations = np.unique(on.relation)
    for layer, slot, r in product(layers, np.unique(on.slots.index[on.slots.index >= 0]), relations):
        for name, streams in (("before", before), ("after", after)):
            means = []
            for language in range(2):
                chosen = (on.slots.index == slot) & ((on.language == language) & (on.relation == r))[:, None]
                row, place = np.nonzero(chosen)
                means.append(streams[layer][row, place].mean(0) if len(row) else None)
            if means[0] is not None and means[1] is not None:
                largest[name] = max(largest[name], float((means[0] - means[1]).norm()))
    assert largest["after"] < 1e-7 < 1e-3 < largest["before"]
    assert on.slots.last in erased.rank[from_layer]


def test_controls_take_off_the_rank_or_the_variance_that_the_language_does():
    corpus = CORPUS["default"]
    model = small_model(corpus, n_layers=1, d_model=24)
    on = fit_prompts(corpus, facts_of(corpus), rng())
    slot = on.slots.last
    stream = edited_streams(model, on.tokens, on.slots.index, {}, [1])[1]
    row, place = np.nonzero(on.slots.index == slot)
    x = stream[row, place]
    removed = {}
    for what in ("language", "random_rank", "random_variance", "values"):
        erased = erasers(model, on, 1, what, rng())
        removed[what] = erased.edits[1](x, torch.full((len(x),), slot)) - x
        assert set(erased.rank[1]) == {slot}  # names are shared and come first: their stream is the same in both
    rank = corpus.world.n_relations  # x (languages - 1)
    for what in ("language", "random_rank", "values"):
        assert int(torch.linalg.matrix_rank(removed[what], atol=1e-6)) == rank
    energy = {what: float((r**2).sum(1).mean()) for what, r in removed.items()}
    assert energy["random_variance"] == pytest.approx(energy["language"], rel=1e-6)


def test_what_has_as_many_directions_as_the_stream_takes_everything():
    corpus = CORPUS["default"]
    model = small_model(corpus, n_layers=1, d_model=4)
    on = fit_prompts(corpus, facts_of(corpus), rng())
    many = replace(on, relation=on.fact)  # each fact a relation of its own: more offsets than dimensions
    assert erasers(model, many, 1, "language", rng()).everything
    assert not erasers(model, on, 1, "language", rng(), way="pooled").everything


def test_steering_moves_one_languages_mean_onto_the_others_within_each_relation(corpus):
    model, world = small_model(corpus, n_layers=2), corpus.world
    on = fit_prompts(corpus, facts_of(corpus), rng())
    plain = edited_streams(model, on.tokens, on.slots.index, {}, [1])[1]
    means, count = mean_streams(on, plain, world.n_relations, 2)
    towards = directions(means, count, 0, 1)
    places = slots_in_relations(on.slots, on.relation)
    edited = edited_streams(model, on.tokens, places, {1: towards.edit(1.0)}, [1])[1]
    assert towards.known[:, on.slots.last].all()
    for r, slot in zip(*np.nonzero(towards.known), strict=True):
        source, target = (
            np.nonzero((on.slots.index == slot) & ((on.language == a) & (on.relation == r))[:, None]) for a in (0, 1)
        )
        torch.testing.assert_close(edited[source].mean(0), plain[target].mean(0), rtol=0, atol=1e-6)
    other = towards.random(rng())
    torch.testing.assert_close(other.table.norm(dim=2), towards.table.norm(dim=2))
    assert (towards.table[~torch.as_tensor(towards.known)] == 0).all()
    never = edited_streams(model, on.tokens, places, {1: towards.edit(0.0)}, [1])[1]
    torch.testing.assert_close(never, plain, rtol=0, atol=0)
