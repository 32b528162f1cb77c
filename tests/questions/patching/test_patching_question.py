"""The question `patching`: planted circuits are found and measured, controls hold, every kind of run has an answer."""

import numpy as np
import pytest

from mechxl.data.roles import PROMPT_ROLES
from mechxl.errors import InputError
from mechxl.instruments.patching.plan import Place
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.questions import patching
from mechxl.questions.patching.answer import _grid
from mechxl.questions.patching.groups import GroupPairs, draw_groups
from mechxl.questions.patching.places import SAME_PROMPTS, PatchedPlaces
from mechxl.questions.patching.rows import OUTCOME_KEYS, choose, interchange_rows, valid_donors
from mechxl.run import Run
from tests.instruments.patching.planted import planted_model
from tests.instruments.runs import small_run
from tests.model.hooked import another_architecture
from tests.model.plain import small_corpus
from tests.runs import copied

ROLES = ["name_last", "prompt_last"]


@pytest.fixture(scope="module")
def planted_corpus():
    return small_corpus(
        world={"n_entities": 40, "n_values": 8, "n_unseen": 2},
        languages={"name_length": 1, "name_syllables": 100, "word_syllables": 60, "shared_names": 0.0},
    )


@pytest.mark.parametrize(("kind", "role"), [("value", "prompt_last"), ("entity", "name_last")])
@pytest.mark.parametrize(("shared", "block"), [(True, 0), (True, 1), (False, 1)])
def test_a_planted_circuit_is_found_and_its_causal_unification_is_what_was_planted(
    planted_corpus, kind, role, block, shared
):
    corpus, n_layers = planted_corpus, 3
    model = planted_model(corpus, kind, shared=shared, block=block, n_layers=n_layers)
    fact, language = corpus.tellings
    assert ask_questions(model, Questions.of(corpus, fact, language), answer_trie(corpus)).right.all()
    groups = draw_groups(corpus, 40)
    places = PatchedPlaces(corpus, groups, ROLES, _grid(n_layers, len(ROLES)), n_layers)
    rows = interchange_rows(places, model, fewest=5)
    known = [row for row in rows if row["group"] != "mono, not transferred"]  # the planted model knows every fact
    assert {row["n"] for row in known} == {len(one.forth) // 2 for one in groups}
    assert {row["n"] for row in rows if row not in known} == {0}
    rows = known
    written = {"component": "mlp_out", "layer": block + 1, "role": role}
    there = [row for row in rows if written.items() <= row.items()]
    assert len(there) == 6  # two groups, forth, back and both
    for row in there:
        assert row["ceiling"] == 1
        assert row["accuracy"] == float(shared)
        if np.isfinite(row["unification"]):
            accuracy, null = float(row["accuracy"]), float(row["null"])
            assert row["unification"] == pytest.approx((accuracy - null) / (1 - null))
            assert row["unification"] == 1 or not shared
    assert all(np.isfinite(row["unification"]) for row in there if row["direction"] == "both")
    if shared:
        added = [place for place in places.places if place.component in ("attn_out", "mlp_out")]
        parts = PatchedPlaces(corpus, groups, ROLES, added, n_layers)
        assert parts.named(choose(parts, model)) == written
        unified = {
            (row["component"], row["layer"], row["role"]) for row in rows if row["accuracy"] == 1 and not row["fixed"]
        }
        if kind == "value":
            assert unified == {("mlp_out", block + 1, role)}
        else:  # the name's own stream crosses from the start, as either language's name is read alike
            streams = {("resid_mid", n + 1, role) for n in range(block + 1)}
            streams |= {("resid_post", n + 1, role) for n in range(block + 1)}
            assert unified == streams | {("mlp_out", block + 1, role), ("attn_out", block + 2, "prompt_last")}
    else:
        assert all(row["accuracy"] == 0 for row in rows)


@pytest.fixture(scope="module")
def finding(answered):
    return answered("patching")


def test_controls_hold_on_a_trained_run(trained, finding):
    controls = finding.tables["controls"].set_index(["control", "group"])["value"]
    assert controls["self"].max() < 1e-5
    assert (controls["final"] == 1).all()
    assert controls["checkpoint_0"].max() < 0.1
    places = finding.tables["places"]
    end = places[(places["step"] == trained.steps[-1]) & places["accuracy"].notna()]
    assert len(end)
    fixed = end[end["fixed"] == "the same tokens in both languages up to here"]
    assert len(fixed)
    np.testing.assert_array_equal(fixed["accuracy"], fixed["ceiling"])
    assert (end[end["fixed"] == "the donor's own answer"]["accuracy"] == 0).all()
    assert (end[end["fixed"] == "never read"][["accuracy", "ceiling"]] == 0).all(axis=None)


def test_controls_hold_on_a_trained_run_with_answers_of_several_tokens(tmp_path):
    learned = {"steps": 300, "checkpoints": 2, "batch_size": 64, "warmup_steps": 20, "evaluate_every": 300}
    learned |= {"schedule": "constant", "betas": (0.9, 0.98)}
    many = {"n_entities": 60, "n_relations": 2, "n_values": 4, "n_unseen": 3}
    narrow = {"d_model": 32, "n_heads": 2, "d_mlp": 64}
    run = small_run(tmp_path / "run", world=many, model=narrow, tokenization={"kind": "character"}, training=learned)
    assert run.corpus.word_tokens[run.corpus.lexicon.value_words[0, 0, 0], 2] >= 0
    found = patching.compute(run).tables
    own, final = (found["controls"][found["controls"]["control"] == name] for name in ("self", "final"))
    assert own["value"].notna().any()
    assert own["value"].max() < 1e-5
    assert (final["value"].dropna() == 1).all()
    last = found["places"][found["places"]["step"] == run.steps[-1]]
    same = last[(last["fixed"] == "the same tokens in both languages up to here") & last["accuracy"].notna()]
    assert len(same)
    np.testing.assert_array_equal(same["accuracy"], same["ceiling"])


def test_one_half_of_the_pairs_is_measured_and_mono_facts_are_apart_by_whether_they_transfer(trained):
    corpus, model, n_layers = trained.corpus, trained.model(), trained.config.model.n_layers
    groups = draw_groups(corpus, 60)
    places = PatchedPlaces(corpus, groups, ROLES, [place for place in _grid(n_layers, 2) if place.role == 1], n_layers)
    rows = interchange_rows(places, model, fewest=1)
    trie = answer_trie(corpus)
    for group in groups:
        pairs = group.forth[1::2]
        donor, receiver = (pairs.donor_fact, pairs.donor_language), (pairs.fact, pairs.language)
        right = [ask_questions(model, Questions.of(corpus, *fact), trie).right for fact in (donor, receiver)]
        crossed = [ask_questions(model, Questions.of(corpus, fact, language), trie).right
                   for fact, language in ((donor[0], receiver[1]), (receiver[0], donor[1]))]  # fmt: skip
        (four,) = PatchedPlaces(corpus, [GroupPairs(group.group, pairs)], ROLES, places.places, n_layers).run(model)
        names = (
            {"mono, transferred": True, "mono, not transferred": False} if group.group == "mono" else {"parallel": 0}
        )
        for name, transfers in names.items():
            masks = [right[0] & right[1] & ((does == transfers) | (group.group == "parallel")) for does in crossed]
            across, ceiling = (
                np.concatenate([part.outcome[:-1, mask] == 0 for part, mask in zip(parts, masks, strict=True)], axis=1)
                for parts in ((four.forth, four.back), (four.forth_ceiling, four.back_ceiling))
            )
            measured = [row for row in rows if row["group"] == name and row["direction"] == "both"]
            assert measured[0]["n"] == (masks[0] | masks[1]).sum()
            assert measured[0]["kept"] == pytest.approx(across.shape[1] / 2 / len(pairs))
            if across.shape[1] and np.isfinite(measured[0]["null"]):
                assert [row["accuracy"] for row in measured] == pytest.approx(across.mean(axis=1))
                assert [row["ceiling"] for row in measured] == pytest.approx(ceiling.mean(axis=1))


def test_permuted_donors_are_as_valid_as_drawn_ones():
    corpus = small_corpus(world={"n_entities": 40, "n_values": 6, "shared_facts": 0.5})
    for pairs in (four for group in draw_groups(corpus, 40) for four in group.both_ways.in_order()):
        valid = valid_donors(corpus, pairs)
        assert valid.diagonal().all()
        assert not valid.all()
        for i, j in np.ndindex(valid.shape):
            languages = [pairs.donor_language[j], pairs.language[i]]
            donor, receiver = (
                set(corpus.world.value[fact, languages]) for fact in (pairs.donor_fact[j], pairs.fact[i])
            )
            assert valid[i, j] == (not donor & receiver)


def test_a_model_of_another_architecture_is_refused(trained):
    model = another_architecture(trained.model(), use_attn_scale=False)
    places = PatchedPlaces(trained.corpus, draw_groups(trained.corpus, 8), ROLES, [Place("attn_out", 0, 1)], 2)
    with pytest.raises(InputError, match="use_attn_scale = False"):
        places.run(model)


def test_the_place_chosen_is_one_that_is_not_fixed(finding):
    assert finding.notes["place"]["role"] in PROMPT_ROLES
    assert (finding.tables["curve"]["fixed"] == "").all()


def test_a_damaged_checkpoint_is_named(trained, tmp_path):
    copied(trained, tmp_path / "run")
    run = Run(tmp_path / "run")
    run.checkpoint(run.steps[1]).write_bytes(b"nothing")
    with pytest.raises(InputError, match=run.checkpoint(run.steps[1]).name):
        patching.compute(run)


def test_each_number_has_interval_null_and_n_or_a_reason(finding):
    for name in ("places", "curve", "heads"):
        table = finding.tables[name]
        defined = table[table["unification"].notna()]
        assert (defined["unification_low"] <= defined["unification"] + 1e-9).all()
        assert (defined["unification"] <= defined["unification_high"] + 1e-9).all()
        assert (defined["ceiling"] > defined["null"]).all()
        assert (defined["fixed"] == "").all()
        assert (defined["null"].between(defined["null_low"], defined["null_high"]) & (defined["n"] > 0)).all()
        assert (table[table["unification"].isna()]["reason"] != "").all()


def test_outcomes_are_shares_of_one(finding):
    curve = finding.tables["curve"]
    shares = curve[list(OUTCOME_KEYS)].dropna()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    for name in (*OUTCOME_KEYS, "logit_diff", "log_prob_donor", "log_prob_receiver_unpatched"):
        low, value, high = (curve.loc[shares.index, column] for column in (f"{name}_low", name, f"{name}_high"))
        assert ((low <= value + 1e-9) & (value <= high + 1e-9)).all()
    np.testing.assert_allclose(
        curve.loc[shares.index, "donor_receivers"], curve.loc[shares.index, "accuracy"], atol=1e-6
    )


def test_figures_have_captions_with_n_interval_and_one_run(finding):
    panels = patching.figures(finding)
    assert [panel.name for panel in panels] == ["curve", "grid", "outcomes", "heads", "controls"]
    for panel in panels:
        assert "n, pairs" in panel.caption, panel.name
        assert "interval" in panel.caption.lower(), panel.name
        assert "one run" in panel.caption, panel.name


def test_it_survives_being_written_and_read(finding, tmp_path):
    read = type(finding).from_json(finding.to_json("x"), "x")
    assert read is not None
    assert len(patching.figures(read)) == len(patching.figures(finding))


@pytest.mark.parametrize(
    "sections",
    [
        {"languages": {"shared_words": 1.0, "name_syllables": 12, "word_syllables": 24}},
        {"languages": {"count": 3, "name_syllables": 12, "word_syllables": 48, "word_order": "varied"}},
        {"mixture": {"parallel_fraction": 1.0}},
        {"mixture": {"parallel_fraction": 0.0}},
        {"tokenization": {"kind": "bpe", "vocab_size": 80}},
        {"world": {"n_entities": 12, "n_relations": 1, "n_values": 4, "n_unseen": 3, "shared_facts": 0.0}},
        {"world": {"n_entities": 2, "n_relations": 2, "n_values": 2, "n_unseen": 0}},
    ],
    ids=[
        "no tag, words shared",
        "three languages",
        "all parallel",
        "none parallel",
        "bpe",
        "no shared fact",
        "no pair",
    ],
)
def test_every_kind_of_run_has_an_answer(sections, tmp_path):
    found = patching.compute(small_run(tmp_path / "run", **sections))
    found.to_json("x")  # no NaN without a reason
    patching.figures(found)
    assert found.summary
    assert all(sentence.endswith(".") for sentence in found.summary)
    if sections.get("languages", {}).get("shared_words"):
        assert all(SAME_PROMPTS in sentence for sentence in found.summary[:3])
        assert found.tables["curve"]["unification"].isna().all()
