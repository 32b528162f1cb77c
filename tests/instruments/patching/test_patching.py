"""The patching engine against TransformerLens's own patching functions and plain hooks, and its controls."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import t
from transformer_lens import patching as theirs

from mechxl.data.roles import role_positions
from mechxl.errors import InputError
from mechxl.instruments.patching.engine import run_patches
from mechxl.instruments.patching.pairs import OUTCOMES, Pairs, answered_rightly, draw_pairs, outcomes
from mechxl.instruments.patching.patch import choose_prompt_roles, patch
from mechxl.instruments.patching.plan import Place
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.model.blocks import COMPONENTS, Past, blocks_from, embed, unembed
from mechxl.model.weights import weights_of
from tests.model.hooked import another_architecture
from tests.model.plain import learned_model, small_corpus, small_model

CORPORA = {
    "default": {},
    "character": {"tokenization": {"kind": "character"}},
    "tags": {"languages": {"name_syllables": 12, "word_syllables": 24, "cue": "tag"}},
    "varied": {"languages": {"name_syllables": 12, "word_syllables": 24, "word_order": "varied"}},
}
CORPUS = {name: small_corpus(**sections) for name, sections in CORPORA.items()}
ROLES = ["name_first", "name_last", "prompt_last"]


def some_pairs(corpus, n=12, donor=0, receiver=1):
    """Facts of one relation and different values, whatever the model answers."""
    world, rng = corpus.world, np.random.default_rng(0)
    found = []
    while len(found) < n:
        one, other = rng.choice(np.flatnonzero(world.seen), 2)
        if world.relation[one] == world.relation[other] and world.value[one, 0] != world.value[other, 0]:
            found.append((one, other))
    donors, receivers = np.array(found).T
    return Pairs(donors, np.full(n, donor), receivers, np.full(n, receiver))


def prompts(corpus, fact, language):
    return torch.as_tensor(corpus.sequences(fact, language).prompts())


def test_the_block_by_block_forward_is_the_hooked_one_component_by_component():
    corpus = CORPUS["tags"]
    model = small_model(corpus, n_layers=2)
    fact = np.arange(8)
    tokens = prompts(corpus, fact, fact % 2)
    with torch.no_grad():
        logits, (_, cache) = model(tokens), model.run_with_cache(tokens)
    seen = {}

    def keep(component, layer, content, positions):
        seen[component, layer] = content
        return content

    weights = weights_of(model)
    resid = blocks_from(weights, embed(weights, tokens), 0, keep)
    assert {component for component, _ in seen} == set(COMPONENTS)
    for (component, layer), content in seen.items():
        inner = "attn." if component in ("q", "k", "v", "z", "pattern") else ""
        torch.testing.assert_close(content, cache[f"blocks.{layer}.{inner}hook_{component}"], rtol=0, atol=1e-10)
    torch.testing.assert_close(unembed(weights, resid[:, -1]), logits[:, -1], rtol=0, atol=1e-10)
    past = Past(*([seen[name, block][:, :2] for block in range(2)] for name in "kv"))
    asked = torch.arange(len(tokens)) % 2 + 2
    for block in range(2):
        part = blocks_from(
            weights, seen["resid_pre", block][:, 2:], block, lambda *given: given[2], past=past, asked=asked
        )
        torch.testing.assert_close(part[:, 0], resid[torch.arange(len(tokens)), asked], rtol=0, atol=1e-10)


THEIRS = {
    "resid_pre": theirs.get_act_patch_resid_pre,
    "resid_mid": theirs.get_act_patch_resid_mid,
    "attn_out": theirs.get_act_patch_attn_out,
    "mlp_out": theirs.get_act_patch_mlp_out,
    "q": theirs.get_act_patch_attn_head_q_by_pos,
    "k": theirs.get_act_patch_attn_head_k_by_pos,
    "v": theirs.get_act_patch_attn_head_v_by_pos,
    "z": theirs.get_act_patch_attn_head_out_by_pos,
    "pattern": theirs.get_act_patch_attn_head_pattern_by_pos,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("component", list(THEIRS))
def test_grids_equal_transformer_lens_patching(component):
    corpus, model = CORPUS["default"], small_model(CORPUS["default"], n_layers=2, n_heads=2)
    pairs = some_pairs(corpus)
    words = corpus.lexicon.value_words[corpus.world.relation[pairs.fact]]
    row = np.arange(len(pairs))
    targets = [
        torch.as_tensor(corpus.word_tokens[words[row, corpus.world.value[fact, 1], 1], 0])
        for fact in (pairs.donor_fact, pairs.fact)
    ]

    def metric(logits):
        last = logits[torch.arange(len(logits)), -1]
        return (last.gather(1, targets[0][:, None]) - last.gather(1, targets[1][:, None])).mean()

    donors, receivers = (
        prompts(corpus, pairs.donor_fact, pairs.donor_language),
        prompts(corpus, pairs.fact, pairs.language),
    )
    _, cache = model.run_with_cache(donors)
    with torch.no_grad():
        grid = THEIRS[component](model, receivers, cache, metric)
    by_head = grid.ndim == 3
    heads = range(2) if by_head else [None]
    places = [Place(component, block, role, head) for block in range(2) for role in range(3) for head in heads]
    found = run_patches(weights_of(model), corpus, pairs, ROLES, places).logit_diff.mean(axis=1)
    for place, ours in zip(places, found, strict=True):
        position = place.role + 1
        head = () if place.head is None else (place.head,)
        at = (*head, position) if component == "pattern" else (position, *head)  # theirs has the head first there
        expected = grid[(place.block, *at)]
        assert float(expected) == pytest.approx(ours, abs=1e-5)


@pytest.mark.parametrize("name", list(CORPORA))
@pytest.mark.parametrize("component", ["resid_post", "q", "z"])
def test_answers_of_several_tokens_under_a_patch_equal_a_plain_hook_and_decoding_pair_by_pair(name, component):
    corpus = CORPUS[name]
    model = learned_model(corpus, steps=30)
    pairs, trie = some_pairs(corpus, n=6), answer_trie(corpus)
    roles = choose_prompt_roles(corpus, "all")
    places = [Place(component, 0, role) for role in range(len(roles))]
    found = run_patches(weights_of(model), corpus, pairs, roles, places)
    hook_name = "blocks.0.hook_resid_post" if component == "resid_post" else f"blocks.0.attn.hook_{component}"
    at = [role_positions(corpus, f, told, roles) for f, told in
          ((pairs.donor_fact, pairs.donor_language), (pairs.fact, pairs.language))]  # fmt: skip
    for place in places:
        for pair in range(len(pairs)):
            one = slice(pair, pair + 1)
            donor, receiver = (
                prompts(corpus, fact[one], language[one])
                for fact, language in ((pairs.donor_fact, pairs.donor_language), (pairs.fact, pairs.language))
            )
            with torch.no_grad():
                _, cache = model.run_with_cache(donor)
            source = cache[hook_name][0, at[0][pair, place.role]]

            def put(content, hook, source, position):
                content[:, position] = source
                return content

            hooks: list[Any] = [(hook_name, partial(put, source=source, position=at[1][pair, place.role]))]
            tokens, decoded = receiver, []
            for _ in range(trie.longest):
                with torch.no_grad():
                    logits = model.run_with_hooks(tokens, fwd_hooks=hooks)
                decoded.append(int(logits[0, -1].argmax()))
                tokens = torch.cat([tokens, torch.tensor([[decoded[-1]]])], dim=1)
            assert trie.read(np.array([decoded]))[0] == found.word[place.role, pair]


def test_patterns_of_long_prompts_are_patched_beside_pairs_that_end_earlier():
    """A pattern fits pairs of one length only; the others run along, and may end before the patched position."""
    corpus = small_corpus(tokenization={"kind": "bpe", "vocab_size": 60})
    weights, pairs = weights_of(small_model(corpus, n_layers=2)), some_pairs(corpus)
    ends, donor_ends = (
        corpus.sequences(fact, language).prompt_length
        for fact, language in ((pairs.fact, pairs.language), (pairs.donor_fact, pairs.donor_language))
    )
    short_first = np.lexsort([ends == donor_ends, ends])
    pairs = Pairs(pairs.donor_fact[short_first], pairs.donor_language, pairs.fact[short_first], pairs.language)
    roles = choose_prompt_roles(corpus, "all")
    places = [Place("pattern", 0, role, head=0) for role in range(len(roles))]
    together = run_patches(weights, corpus, pairs, roles, places)
    assert not together.there[-1, 0]
    assert ends[short_first[0]] < ends[short_first[together.there[-1]]].min()
    for row in np.flatnonzero(together.there.all(axis=0)):
        one = slice(row, row + 1)
        pair = Pairs(pairs.donor_fact[one], pairs.donor_language[one], pairs.fact[one], pairs.language[one])
        alone = run_patches(weights, corpus, pair, roles, places)
        np.testing.assert_allclose(together.logit_diff[:, one], alone.logit_diff, atol=1e-9)


@pytest.mark.parametrize("name", list(CORPORA))
def test_a_run_patched_into_itself_changes_nothing(name):
    corpus = CORPUS[name]
    model = learned_model(corpus, steps=30)
    some = some_pairs(corpus)
    pairs = Pairs(some.fact, some.language, some.fact, some.language)
    roles = choose_prompt_roles(corpus, "all")
    places = [Place(component, 0, role) for component in COMPONENTS for role in range(len(roles))]
    found = run_patches(weights_of(model), corpus, pairs, roles, places)
    questions = Questions.of(corpus, some.fact, some.language)
    plain = ask_questions(model, questions, answer_trie(corpus))
    assert (found.word[found.there] == np.broadcast_to(plain.word, found.word.shape)[found.there]).all()
    gap = np.abs(found.log_prob[..., 1] - plain.log_prob)[found.there]
    assert gap.max() < 1e-5


def test_the_final_residual_at_the_last_position_gives_the_donors_own_first_token():
    corpus = CORPUS["character"]
    model = learned_model(corpus, steps=40)
    pairs = some_pairs(corpus)
    last = len(choose_prompt_roles(corpus, "all")) - 1
    weights = weights_of(model)
    found = run_patches(weights, corpus, pairs, choose_prompt_roles(corpus, "all"), [Place("resid_post", 0, last)])
    own = ask_questions(model, Questions.of(corpus, pairs.donor_fact, pairs.donor_language), answer_trie(corpus))
    first = corpus.word_tokens[:, 0]
    both = (found.word[0] >= 0) & (own.word >= 0)
    assert both.any()
    assert (first[found.word[0][both]] == first[own.word[both]]).all()


def test_a_relations_own_embedding_changes_nothing(trained):
    """In one language the embedding of the relation's word is the receiver's own already: its patch changes nothing."""
    found = patch(trained, donor="A", receiver="A", at="resid_post", layers=[0], n=32, group="parallel")
    pairs = found["outcome"].sel(layer=0, role="prompt_last").values
    assert (pairs == OUTCOMES.index("receiver's value, receiver's language")).all()


def test_outcomes_name_value_and_language():
    corpus = CORPUS["default"]
    pairs, world, words = some_pairs(corpus), corpus.world, corpus.lexicon.value_words
    relation = world.relation[pairs.fact]
    given = [
        words[relation, world.value[fact, language], language]
        for fact in (pairs.donor_fact, pairs.fact)
        for language in (pairs.language, pairs.donor_language)
    ]
    found = outcomes(corpus, pairs, np.stack([*given, np.full(len(pairs), -1)]))
    np.testing.assert_array_equal(found, np.array([0, 1, 2, 3, 5])[:, None] + np.zeros(len(pairs), dtype=int))


def test_where_facts_are_not_shared_the_donors_value_is_its_own_languages():
    corpus = small_corpus(world={"n_entities": 40, "shared_facts": 0.0})
    pairs, world, words = draw_pairs(corpus, 40, donor=0, receiver=1), corpus.world, corpus.lexicon.value_words
    relation, own, there = world.relation[pairs.fact], *world.value[pairs.donor_fact][:, [0, 1]].T
    found = outcomes(corpus, pairs, np.stack([words[relation, value, 1] for value in (own, there)]))
    assert (own != there).any()
    assert (found[0] == 0).all()
    np.testing.assert_array_equal(found[1], np.where(own == there, 0, 4))


@pytest.mark.parametrize("group", ["mono", "parallel"])
def test_pairs_are_of_one_relation_different_values_and_told_and_no_entity_is_in_two(group):
    corpus = small_corpus(world={"n_entities": 60})
    world, pairs = corpus.world, draw_pairs(corpus, 20, donor=0, receiver=1, group=group)
    assert len(pairs) == 20
    assert (world.relation[pairs.donor_fact] == world.relation[pairs.fact]).all()
    assert (world.value[pairs.donor_fact, 0] != world.value[pairs.fact, 1]).all()
    entities = np.concatenate([world.entity[pairs.donor_fact], world.entity[pairs.fact]])
    assert len(np.unique(entities)) == 40
    for fact, language in ((pairs.donor_fact, 0), (pairs.fact, 1)):
        assert corpus.mixture.told[fact, language].all()
        assert (corpus.mixture.group[fact] == group).all()
    rest = draw_pairs(corpus, 60, donor=0, receiver=1, group=group, without=entities.tolist())
    assert not np.isin(world.entity[np.concatenate([rest.donor_fact, rest.fact])], entities).any()


def test_pairs_of_patch_are_answered_rightly(trained):
    found = patch(trained, donor="A", receiver="B", at="attn_out", n=40, group="parallel")
    assert 0 < found.attrs["kept"] <= 1
    for name, language in (("donor_fact", 0), ("fact", 1)):
        fact = found[name].values
        assert answered_rightly(trained.model(), trained.corpus, fact, np.full(len(fact), language)).all()


def test_all_pairs_fewer_than_asked_for_and_the_share_with_its_interval(trained, capsys):
    chosen = {"donor": "A", "receiver": "B", "group": "parallel", "layers": [1, 2], "roles": "prompt_last"}
    every = patch(trained, **chosen, pairs="all")
    assert capsys.readouterr().err == ""
    most = patch(trained, **chosen, n=10_000)
    n, drawn = every.sizes["pair"], len(draw_pairs(trained.corpus, 10**6, donor=0, receiver=1, group="parallel"))
    said = (
        f"mechxl: patch: {n} of 10,000 pairs. The parallel facts give {drawn} pairs in which no entity occurs twice; "
    )
    assert capsys.readouterr().err == f"{said}in {drawn - n} of them the model's unpatched answer is wrong.\n"
    np.testing.assert_array_equal(every["fact"], most["fact"])
    hits = (every["outcome"] == 0).sum("pair")
    for layer in (1, 2):
        one, hit = every.sel(layer=layer).squeeze(), int(hits.sel(layer=layer).squeeze())
        share, z2 = hit / n, t.ppf(0.975, n - 1) ** 2  # Wilson 1927, with Student's quantile
        ends = np.roots([float(n - 1 + z2), -float(2 * share * (n - 1) + z2), float(share**2 * (n - 1))])
        assert (int(one["n"]), float(one["accuracy"])) == (n, pytest.approx(share))
        if 0 < hit < n:
            assert [float(one["low"]), float(one["high"])] == pytest.approx(sorted(ends.real))
        assert 0 <= one["low"] <= share <= one["high"] <= 1
    entity = trained.corpus.world.entity
    f, g = int(every["donor_fact"][0]), int(every["fact"][0])
    twice = patch(trained, donor="A", receiver="B", pairs=[(f, g), (f, g)], layers=[1])
    assert entity[f] != entity[g]
    assert np.isnan(twice["low"]).all()  # an entity in two pairs: they are not independent
    assert not np.isnan(twice["accuracy"]).any()


def test_pairs_that_are_given_are_run_as_drawn_ones_and_answers_are_words(trained):
    drawn = patch(trained, donor="A", receiver="B", n=12, group="parallel")
    pairs = [(int(f), int(g)) for f, g in zip(drawn["donor_fact"].values, drawn["fact"].values, strict=True)]
    given = patch(trained, donor="A", receiver="B", pairs=pairs)
    for name in ("outcome", "answer", "log_prob_donor", "there"):
        np.testing.assert_array_equal(given[name].values, drawn[name].values)
    assert given.attrs["kept"] == 1
    words, value = trained.corpus.lexicon.value_words, trained.corpus.world.value
    relation = trained.corpus.world.relation
    for at, (f, g) in enumerate(pairs):
        wanted = trained.corpus.lexicon.words[words[relation[g], value[f, 0], 1]]
        answers, outcome = given["answer"].values[..., at], given["outcome"].values[..., at]
        assert (answers[outcome == 0] == wanted).all()
        assert (answers[outcome != 0] != wanted).all()


def test_pairs_that_are_given_are_kept_whatever_is_answered(trained):
    pairs = [(0, 4), (8, 12)]
    found = patch(trained, donor="A", receiver="B", pairs=pairs, step=0, roles="prompt_last")
    assert found.attrs["kept"] == 0
    assert found.sizes["pair"] == 2


@pytest.mark.parametrize(
    ("pairs", "named"),
    [
        ([(0, 1)], "relations 0 and 1"),
        ([(0, 0)], "the same value"),
        ([(0, 100_000)], "there are 0 to 335"),
        ([(0, 240)], "fact 240: has no value"),
        ([0, 4], "pairs: must be"),
        ([(0.5, 4)], "pairs: must be"),
        ([], "pairs: must be"),
    ],
)
def test_pairs_that_can_not_be_patched_are_refused(trained, pairs, named):
    with pytest.raises(InputError, match=named):
        patch(trained, donor="A", receiver="B", pairs=pairs)


def test_roles_at_one_position_are_run_once_and_equal(trained, monkeypatch):
    from mechxl.instruments.patching.restart import Restart

    ran, answers = [], Restart.answers
    monkeypatch.setattr(
        Restart, "answers", lambda self, final: (ran.extend(self.place_numbers), answers(self, final))[1]
    )
    found = patch(trained, donor="A", receiver="B", at="resid_mid", n=16, group="parallel")
    one, other = (found["log_prob_donor"].sel(role=role).values for role in ("relation_first", "prompt_last"))
    np.testing.assert_array_equal(one, other)
    assert len(ran) == 3 + 1 + 1  # three positions, of five roles; in the last block the last, and one for all others


def test_a_donor_from_another_checkpoint_is_that_models_activation(trained):
    step, corpus = trained.steps[-2], trained.corpus
    chosen = {"donor": "A", "receiver": "B", "at": "resid_post", "layers": [2], "roles": "prompt_last", "n": 16}
    found = patch(trained, **chosen, group="parallel", donor_step=step)
    fact = found["donor_fact"].values
    tokens = prompts(corpus, fact, np.zeros(len(fact), dtype=int))
    weights, earlier = weights_of(trained.model()), weights_of(trained.model(step))
    with torch.no_grad():
        resid = blocks_from(earlier, embed(earlier, tokens), 0, lambda component, layer, content, positions: content)
        logits = unembed(weights, resid[:, -1]).double()
    relation = corpus.world.relation[fact]
    both = [
        corpus.word_tokens[corpus.lexicon.value_words[relation, corpus.world.value[of, 1], 1], 0]
        for of in (fact, found["fact"].values)
    ]
    picked = [logits.gather(1, torch.as_tensor(token)[:, None])[:, 0] for token in both]
    np.testing.assert_allclose(found["logit_diff"].values.reshape(-1), picked[0] - picked[1], atol=1e-5)


@pytest.mark.parametrize("component", ["attn_out", "z", "pattern"])
def test_mean_ablation_equals_a_hook_that_writes_the_donors_mean(component):
    corpus, model = CORPUS["default"], small_model(CORPUS["default"], n_layers=2, n_heads=2)
    pairs, head = some_pairs(corpus), None if component == "attn_out" else 1
    found = run_patches(weights_of(model), corpus, pairs, ROLES, [Place(component, 1, 2, head)], mean=True)
    name = f"blocks.1.{'' if component == 'attn_out' else 'attn.'}hook_{component}"
    with torch.no_grad():
        _, cache = model.run_with_cache(prompts(corpus, pairs.donor_fact, pairs.donor_language))
        at = {"attn_out": (slice(None), 3), "z": (slice(None), 3, 1), "pattern": (slice(None), 1, 3)}[component]

        def put(content, hook):
            content[at] = cache[name][at].mean(0)
            return content

        logits = model.run_with_hooks(prompts(corpus, pairs.fact, pairs.language), fwd_hooks=[(name, put)])[:, -1]
    own = corpus.word_tokens[
        corpus.lexicon.value_words[corpus.world.relation[pairs.fact], corpus.world.value[pairs.fact, 1], 1], 0
    ]
    expected = logits.log_softmax(-1).gather(1, torch.as_tensor(own)[:, None])[:, 0]
    np.testing.assert_allclose(found.log_prob[0, :, 1], expected, atol=1e-8)


def test_a_pattern_fits_prompts_of_its_own_length_only():
    corpus = small_corpus(tokenization={"kind": "bpe", "vocab_size": 80})
    pairs, length = some_pairs(corpus, n=40), []
    for fact, language in ((pairs.donor_fact, pairs.donor_language), (pairs.fact, pairs.language)):
        length.append(corpus.sequences(fact, language).prompt_length)
    assert 0 < (length[0] == length[1]).sum() < 40
    found = run_patches(weights_of(small_model(corpus)), corpus, pairs, ["prompt_last"], [Place("pattern", 0, 0)])
    np.testing.assert_array_equal(found.there[0], length[0] == length[1])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"at": "resid"}, "resid_pre, resid_mid"),
        ({"roles": ["cue"]}, "name_first"),
        ({"layers": [3]}, "there are 0 to 2"),
        ({"at": "z", "heads": [2]}, "there are 0 to 1"),
        ({"heads": [0]}, "resid_post has none"),
        ({"donor": "C"}, "there are: A, B"),
        ({"step": 5}, "step"),
        ({"step": 0}, "answers both facts rightly.*parallel"),
        ({"group": "unseen"}, "there are: mono, parallel"),
    ],
)
def test_bad_input_names_what_would_fit(trained, change, named):
    with pytest.raises(InputError, match=named):
        patch(trained, **({"donor": "A", "receiver": "B", "n": 8} | change))


@pytest.mark.parametrize(
    ("field", "value"),
    [("parallel_attn_mlp", True), ("positional_embedding_type", "rotary"), ("attn_scale", 2.0)],
)
def test_a_model_of_another_architecture_is_refused_and_the_setting_named(trained, monkeypatch, field, value):
    other = another_architecture(trained.model(), **{field: value})
    monkeypatch.setattr(type(trained), "model", lambda run, step=-1: other)
    with pytest.raises(InputError, match=f"{field} = {value}"):
        patch(trained, donor="A", receiver="B", n=8)
