"""The question `language_identity` on a small trained run: what holds by construction, and that all is there."""

import numpy as np
import pandas as pd
import pytest

from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.data.information import informativeness
from mechxl.measures.statistics import EntityBootstrap
from mechxl.questions import language_identity
from mechxl.questions.common import distinct_roles
from mechxl.questions.language_identity import words
from mechxl.questions.language_identity.answer import _in_the_data
from mechxl.questions.language_identity.verified import answered_in, probe_within, verdict
from mechxl.run import Run
from mechxl.training.loop import train_run
from tests.instruments.runs import small_run

SMALL = {"model": {"n_layers": 1}, "training": {"checkpoints": 2}}
NARROW = {
    "model": {"n_layers": 1, "d_model": 16, "d_mlp": 32}
}  # fewer dimensions than facts, and quick to fit probes in


@pytest.fixture(scope="module")
def finding(answered):
    return answered("language_identity")


def test_shared_names_before_any_word_of_a_language_hold_nothing_and_relation_words_everything(trained, finding):
    probes, known = finding.tables["probes"], finding.tables["known"].set_index("role")
    assert known.loc["name_last", "prefix_bits"] == pytest.approx(0, abs=1e-9)
    assert known.loc["prompt_last", "token_bits"] == pytest.approx(1)
    names = probes[(probes["role"] == "name_last") & (probes["labels"] == "true") & (probes["layer"] >= 0)]
    assert names["bits"].abs().max() < 1e-6
    assert (names["accuracy"] - 0.5).abs().max() < 1e-6
    first = probes[(probes["role"] == "prompt_last") & (probes["layer"] == 0) & (probes["labels"] == "true")]
    assert first["bits"].min() > 0.99
    assert set(first["step"]) == set(trained.steps)
    shuffled = probes[(probes["labels"] == "shuffled")]
    assert shuffled["bits"].max() < 0.01


def test_roles_at_one_position_are_probed_once(trained):
    roles, same = distinct_roles(trained.corpus, np.flatnonzero(trained.corpus.world.seen))
    assert roles == ["name_first", "name_last", "prompt_last"]
    assert same == {"relation_first": "prompt_last", "relation_last": "prompt_last"}


def test_erasing_nothing_changes_nothing_and_all_controls_stand_beside(trained, finding):
    table = finding.tables["erasure"]
    assert set(table["erased"]) == {"nothing", "language", "random_rank", "random_variance", "values"}
    nothing = table[(table["erased"] == "nothing") & (table["n"] > 0)]
    assert (nothing["change"] == 0).all()
    assert (nothing.groupby(["step", "asked"])["value"].nunique() == 1).all()  # the layer plays no part in it
    last = nothing[(nothing["step"] == trained.steps[-1]) & (nothing["asked"] == "recall")]
    assert (last["value"] >= last["exact"]).all()
    assert set(table["way"]) == {"within"}
    assert table[table["erased"] == "language"]["rank"].max() == trained.corpus.world.n_relations


def test_a_probe_within_relations_tells_the_language_before_erasure_and_less_after(trained, finding):
    place = ["step", "erased", "from_layer", "told_by", "layer"]
    table = finding.tables["verified"].set_index(place)["value"].sort_index()
    step = trained.steps[-1]
    assert (table[step, "nothing", 0, "probe"] > 0.95).all()
    assert table[step, "nothing", 0, "answers"].item() > 0.9
    assert table[step, "language", 0, "probe", 1] < 0.6  # of 30 entities; names alone are left in the stream
    assert table[step, "language", 0, "answers"].item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("low", "high", "both_sides", "expected"),
    [
        (0.49, 0.52, True, "gone"),
        (0.51, 0.549, True, "gone"),
        (0.49, 0.56, True, "unclear"),
        (0.56, 0.60, True, "told"),
        (0.30, 0.40, True, "told"),  # answers in the other language tell it too
        (0.30, 0.40, False, "gone"),
        (np.nan, np.nan, True, "unclear"),
    ],
)
def test_the_verdict_follows_from_the_interval(low, high, both_sides, expected):
    assert verdict(low, high, 0.5, both_sides) == expected


def test_pooled_probes_miss_and_probes_within_relations_find_a_language_of_opposite_signs():
    rng = np.random.default_rng(0)
    entity, relation, language = (x.ravel() for x in np.meshgrid(range(60), (0, 1), (0, 1), indexing="ij"))
    x = rng.standard_normal((len(entity), 4))
    x[:, 0] += 4 * np.where(relation == language, 1, -1)
    assert probe_within(x, language, entity, relation).accuracy > 0.97
    assert probe_within(x, language, entity, np.zeros_like(relation)).accuracy < 0.65
    constant = np.ones_like(x) + 1e-8 * np.where(language == 0, 1, -1)[:, None]
    assert probe_within(constant, language, entity, relation).accuracy < 0.65  # that is rounding


def test_answers_that_do_not_depend_on_the_asked_language_are_in_it_by_chance_exactly():
    has = np.eye(3, dtype=bool)[[0, 1, 2, 0]]
    fact, language = (x.ravel() for x in np.meshgrid(range(20), range(3), indexing="ij"))
    word = np.random.default_rng(0).integers(0, 4, 20)[fact]
    over = EntityBootstrap(fact, 200, np.random.default_rng(1))
    alike = answered_in(word, language, fact, has, over).iloc[0]
    assert (alike["value"], alike["verdict"]) == (pytest.approx(1 / 3), "gone")
    told = answered_in(language, language, fact, has, over).iloc[0]
    assert (told["value"], told["verdict"]) == (1.0, "told")
    assert answered_in(word, language, fact, np.ones((4, 3), bool), over).iloc[0]["verdict"] == "undefined"


CHECK = {"told_by": "probe", "layer": 1, "value": 0.9, "low": 0.85, "high": 0.95, "chance": 0.5, "n": 10, "entities": 5}


@pytest.mark.parametrize(
    ("verdicts", "everything", "said"),
    [
        (("gone", "gone"), False, "The language is erased"),
        (("gone", "told"), False, "The language could not be erased"),
        (("unclear", "gone"), False, "Too few entities were asked"),
        (("gone", "gone"), True, "without erasing everything"),
    ],
)
def test_no_sentence_says_erased_where_it_could_not_be_verified(finding, verdicts, everything, said):
    step = finding.notes["erasure_steps"][-1]
    checks = pd.DataFrame([CHECK, CHECK | {"told_by": "answers"}]).assign(reason="", everything=everything, step=step)
    checks = checks.assign(verdict=verdicts, erased="language", from_layer=1)
    before = checks.assign(erased="nothing", from_layer=0)
    sentences = words._erasure(finding.tables | {"verified": pd.concat([before, checks])}, finding.notes)
    assert said in sentences[0]
    holds = said == "The language is erased"
    assert holds == ("no conclusion" not in sentences[0])
    assert holds == any("With it erased" in sentence for sentence in sentences)
    assert holds == ("is erased" in " ".join(sentences))


def test_steering_0_times_is_the_model_itself(trained, finding):
    table = finding.tables["steering"]
    none = table[table["strength"] == 0]
    assert none[["target", "source", "target_right", "source_right"]].drop_duplicates().shape[0] == 1


def test_figures_have_captions_with_n_and_intervals(finding):
    panels = language_identity.figures(finding)
    assert [panel.name for panel in panels] == ["known", "heat", "curves", "values", "erasure", "steering"]
    for panel in panels:
        assert "n = " in panel.caption or "n: " in panel.caption, panel.name
        assert "interval" in panel.caption.lower(), panel.name
        assert "one run" in panel.caption or "same run" in panel.caption, panel.name


def test_it_survives_being_written_and_read(finding, tmp_path):
    read = type(finding).from_json(finding.to_json("x"), "x")
    assert read is not None
    assert len(language_identity.figures(read)) == len(language_identity.figures(finding))


@pytest.mark.parametrize(
    "sections",
    [
        {"languages": {"cue": "tag", "shared_words": 1.0, "name_syllables": 12, "word_syllables": 24}},
        {"languages": {"count": 3, "name_syllables": 12, "word_syllables": 48, "word_order": "varied"}, **NARROW},
        {"mixture": {"parallel_fraction": 1.0}, "tokenization": {"kind": "character"}, **NARROW},
        {"mixture": {"parallel_fraction": 0.0}, **NARROW},
        {"world": {"n_entities": 12, "n_relations": 1, "n_values": 4, "n_unseen": 3, "shared_facts": 0.0}},
    ],
    ids=["tag, words shared", "three languages", "all parallel, characters", "none parallel", "no shared fact"],
)
def test_every_kind_of_run_has_an_answer(sections, tmp_path):
    run = small_run(tmp_path / "run", **SMALL | sections)
    found = language_identity.compute(run)
    found.to_json("x")  # no NaN without a reason
    assert language_identity.figures(found)
    assert all(sentence.endswith(".") for sentence in found.summary)
    words_coincide = run.config.languages.shared_words == 1
    assert ("coincide" in found.summary[-1]) == words_coincide  # then there is no language to steer to


def test_fewer_entities_than_folds_is_said(tmp_path):
    run: Run = train_run(
        parse_config(
            {
                "world": {"n_entities": 2, "n_relations": 2, "n_values": 2, "n_unseen": 0},
                "mixture": {"parallel_fraction": 1.0},
                "model": SMALL["model"],
                "training": {"steps": 2, "checkpoints": 2, "batch_size": 4, "warmup_steps": 1, "evaluate_every": 2},
            }
        ),
        tmp_path / "run",
        quiet=True,
    )
    found = language_identity.compute(run)
    assert "2 entities, but 3 folds" in " ".join(found.summary)
    found.to_json("x")
    assert language_identity.figures(found) == []


def test_the_seed_of_a_run_seeds_the_shuffled_languages_of_the_data():
    config = RunConfig(seed=3, world={"n_entities": 60, "n_unseen": 4})  # type: ignore[arg-type]
    corpus = build_corpus(config)
    null = _in_the_data(config, corpus).set_index("quantity")["null"]
    by_seed = {seed: informativeness(corpus, seed, mono_only=True).shuffled for seed in (0, 3)}
    assert by_seed[0] != by_seed[3]
    assert null["I(value; language | relation), mono facts"] == by_seed[3]
