"""The question `learning`: planted priors and plateaus, and rates against the run's own metrics."""

import numpy as np
import pandas as pd
import pytest
import torch

from mechxl.config import RunConfig, WorldConfig
from mechxl.data.corpus import build_corpus
from mechxl.data.information import told_distribution
from mechxl.measures.statistics import EntityBootstrap
from mechxl.model.hooked import build_model
from mechxl.questions import learning
from mechxl.questions.learning import answer
from mechxl.questions.learning import words as in_words
from mechxl.questions.learning.prior import divergences, unseen_prior


def constant_model(corpus, probability):
    """A model that answers every prompt with the given distribution over words."""
    model = build_model(RunConfig().model, corpus.tokenizer, 8, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        logits = torch.full((model.cfg.d_vocab,), -100.0)
        for word, p in probability.items():
            logits[int(corpus.word_tokens[word, 0])] = float(np.log(p))
        model.unembed.b_U.copy_(logits)
    return model


@pytest.mark.parametrize("zipf", [False, True])
def test_a_model_that_answers_p_of_a_given_r_is_at_no_distance_from_it(zipf):
    distribution = "zipf" if zipf else "uniform"
    world = WorldConfig(n_entities=40, n_relations=1, n_values=5, n_unseen=6, value_distribution=distribution)
    corpus = build_corpus(RunConfig(world=world))
    told = told_distribution(corpus)
    p = {int(word): float(told.probability[told.answer == word].sum()) for word in np.unique(told.answer)}
    prior = unseen_prior(corpus, told, None)
    bootstrap = EntityBootstrap(corpus.world.entity[prior.questions.fact], 100, np.random.default_rng(0))
    found = divergences(constant_model(corpus, p), prior, bootstrap)
    assert found["given_relation"] == pytest.approx(0, abs=1e-5)
    # P(A | R, S) puts all its mass on one language's words, of which the model gives each language about half
    by_language = []
    for language in range(2):
        share = told.probability[told.language == language].sum()
        by_language.append(-np.log(share))
    assert found["given_readers"] == pytest.approx(np.mean(by_language), abs=1e-5)
    assert found["given_relation_n"] == 6 * 2


def test_without_unseen_entities_the_prior_says_why():
    corpus = build_corpus(RunConfig(world=WorldConfig(n_entities=40, n_unseen=0)))
    prior = unseen_prior(corpus, told_distribution(corpus), None)
    bootstrap = EntityBootstrap(np.zeros(0, dtype=int), 10, np.random.default_rng(0))
    row = divergences(build_model(RunConfig().model, corpus.tokenizer, 8, 0), prior, bootstrap)
    assert np.isnan(row["given_relation"])
    assert row["reason"] == "no unseen entities"


def planted_tables(losses, recall):
    return {
        "curves": pd.DataFrame({"step": np.arange(len(losses)) * 10, "loss": losses, "recall_accuracy": recall}),
        "no_knowledge": pd.DataFrame({"given": ["nothing", "R", "R, S"], "loss": [5.0, 3.0, 2.0]}),
    }


def test_a_planted_plateau_is_found_and_ends_where_recall_begins():
    losses, recall = [5.5, 2.01, 3.01, 2.05, 2.0, 1.99, 2.01, 1.0], [0.0, 0.0, 0.05, 0.07, 0.07, 0.08, 0.2, 0.9]
    table = answer._plateaus(planted_tables(losses, recall), guess=0.07)
    assert table["evaluations"].tolist() == [0, 1, 3]
    assert table[["first", "last", "recall_begins"]].to_numpy()[2].tolist() == [30, 50, 60]
    assert table["least_off"].to_numpy()[2] == pytest.approx(0.0)
    assert table["rests"].tolist() == [False, False, True]


def planted_prior(step, to_relation, to_readers):
    rows = {"step": [step], "reason": [""], "given_relation_n": [8], "given_readers_n": [8]}
    for name, value in (("given_relation", to_relation), ("given_readers", to_readers)):
        rows |= {name: [value], f"{name}_low": [value - 0.01], f"{name}_high": [value + 0.01]}
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("losses", "to_relation", "to_readers", "words"),
    [
        (
            [5.5, 3.5, 2.05, 2.0, 1.99, 1.0],
            1.0,
            0.1,
            ["rests", "H(A | R, S)", "3 evaluations", "nearer to P(A | R, S) than"],
        ),
        (
            [5.5, 3.5, 2.60, 2.0, 1.50, 1.0],
            0.1,
            1.0,
            ["passes", "H(A | R, S)", "1 evaluation)", "nearer to P(A | R) than"],
        ),
        ([5.5, 3.05, 3.0, 2.99, 2.50, 1.0], 0.1, 0.1, ["rests", "H(A | R) ", "the same as P(A | R, S) here"]),
    ],
)
def test_a_planted_plateau_is_said_in_words(losses, to_relation, to_readers, words):
    tables = planted_tables(losses, [0.0, 0.05, 0.07, 0.07, 0.08, 0.9])
    tables |= {"plateaus": answer._plateaus(tables, guess=0.07), "prior": planted_prior(30, to_relation, to_readers)}
    (said,) = in_words._plateau_words(tables)
    for word in [*words, "Recall first exceeds the best guess without facts (7.0%) by 5% at step 50"]:
        assert word in said


def test_no_plateau_and_no_recall_are_said():
    tables = planted_tables([5.5, 4.5, 4.0], [0.0, 0.0, 0.0])
    tables |= {"plateaus": answer._plateaus(tables, guess=0.07), "prior": pd.DataFrame()}
    (said,) = in_words._plateau_words(tables)
    assert "comes within 3% of no no-knowledge loss" in said
    assert "Recall does not yet exceed" in said


def test_rates_equal_the_runs_own_metrics_and_lie_in_their_intervals(trained):
    finding = learning.compute(trained)
    metrics = trained.metrics.set_index("step")
    rates = finding.tables["rates"]
    for kind in ("recall", "transfer"):
        pooled = rates[(rates["group"] == "all") & (rates["kind"] == kind)].set_index("step")
        assert pooled["accuracy"].to_numpy() == pytest.approx(metrics.loc[pooled.index, f"{kind}_accuracy"].to_numpy())
        assert ((pooled["low"] <= pooled["accuracy"]) & (pooled["accuracy"] <= pooled["high"])).all()
    assert set(finding.tables["rates"]["group"]) >= {"parallel", "mono", "in A", "in B", "A→B", "B→A"}
    assert [panel.name for panel in learning.figures(finding)] == ["loss", "rates", "kinds", "prior"]
    assert finding.to_json("x")


@pytest.mark.parametrize(
    ("dropout", "begins"),
    [(0.0, "always shows"), (0.5, "leaves the tag out of 50%"), (1.0, "never shows")],
)
def test_where_languages_have_tags_both_columns_are_said(dropout, begins):
    """With cue_dropout 1 recall was .302 with the tag and 1 without: training corresponds to the tag hidden."""
    rows = [("recall", 0.302, ""), ("recall_hidden", 1.0, ""), ("transfer_hidden", np.nan, "no transfer items")]
    rates = pd.DataFrame(
        [
            {"kind": kind, "group": "all", "step": 300, "n": 80, "entities": 20, "reason": reason, "accuracy": accuracy,
             "low": accuracy, "high": accuracy}
            for kind, accuracy, reason in rows
        ]
    )  # fmt: skip
    (said,) = in_words._hidden({"rates": rates}, {"tags": True, "cue_dropout": dropout})
    assert begins in said
    assert "With the tag hidden, at step 300: recall 100.0% [100.0%, 100.0%] of 80 tellings" in said
    assert "transfer not defined (no transfer items)" in said
    assert in_words._hidden({"rates": rates}, {"tags": False}) == []
