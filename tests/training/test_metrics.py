"""A row of metrics is the plain mean over all tellings and items, and null where there are none."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens import HookedTransformer

from mechxl.data.corpus import Corpus
from mechxl.data.transfer import transfer_items
from mechxl.model.answers import KINDS
from mechxl.training.metrics import Evaluation
from tests.model.plain import (
    answer_tokens,
    encode,
    expected_kind,
    hooked_answer,
    hooked_greedy,
    learned_model,
    prompt_text,
    small_corpus,
    small_model,
    value_word,
    word,
)

CORPORA: dict[str, dict[str, dict[str, Any]]] = {
    "two languages": {"world": {"frequency": "zipf"}},
    "three languages, hidden tags": {
        "languages": {"count": 3, "cue": "tag", "cue_dropout": 0.3, "word_order": "varied"},
        "mixture": {"exposure": "per_fact", "parallel_fraction": 0.3},
        "world": {"frequency": "zipf", "zipf_exponent": 2.0},
    },
    "tags never shown": {"languages": {"cue": "tag", "cue_dropout": 1.0}},
    "tags always shown": {"languages": {"cue": "tag"}},
}


def asked(corpus: Corpus, model: HookedTransformer, fact: int, language: int, tag: bool) -> tuple[str, float]:
    """(kind, log p) of the hooked model's answer to one question; words are one token here."""
    prompt = encode(corpus, prompt_text(corpus, fact, language, tag))
    said = corpus.tokenizer.decode(hooked_greedy(model, prompt, 1), skip_special_tokens=False)
    right = answer_tokens(corpus, value_word(corpus, fact, language))
    return expected_kind(corpus, fact, language, said), hooked_answer(model, prompt, right)


def plain_rates(name: str, answers: list[tuple[str, float]]) -> dict[str, Any]:
    """Of nothing, NaN, which a row calls None."""
    kinds = [kind for kind, _ in answers]
    n = len(kinds) or math.nan
    share = {kind: kinds.count(kind) / n for kind in KINDS}
    return {
        f"{name}_accuracy": share["right"],
        f"{name}_value_accuracy": share["right"] + share["right_value_other_language"],
        f"{name}_n": len(kinds),
        f"{name}_log_prob": sum(log_p for _, log_p in answers) / n,
        f"{name}_kinds": share,
    }


def accuracy(answers: list[tuple[str, float]]) -> float:
    return plain_rates("", answers)["_accuracy"]


def plain_row(corpus: Corpus, model: HookedTransformer, dropout: float) -> dict[str, Any]:
    names = "ABCDEFGH"[: corpus.world.value.shape[1]]
    tellings = [(int(f), int(a)) for f, a in np.argwhere(corpus.mixture.told)]
    parallel = np.asarray(corpus.mixture.told.all(axis=1))
    loss = 0.0
    row: dict[str, Any] = {}
    for suffix, tag in (("", True), ("_hidden", False)) if len(corpus.lexicon.tags) else (("", True),):
        recall = {(f, a): asked(corpus, model, f, a, tag) for f, a in tellings}
        probability = 1.0 if not len(corpus.lexicon.tags) else 1 - dropout if tag else dropout
        loss -= probability * sum(corpus.mixture.weight[cell] * recall[cell][1] for cell in tellings)
        row |= plain_rates(f"recall{suffix}", list(recall.values()))
        row[f"recall{suffix}_by_group"] = {
            group: accuracy([answer for (f, _), answer in recall.items() if parallel[f] == flag])
            for group, flag in (("parallel", True), ("mono", False))
        }
        row[f"recall{suffix}_by_language"] = {
            name: accuracy([answer for (_, a), answer in recall.items() if a == at]) for at, name in enumerate(names)
        }
        items = transfer_items(corpus, tag)
        cells = list(zip(items.fact, items.told, items.asked, strict=True))
        transfer = [asked(corpus, model, f, a, tag) for f, _, a in cells]
        row |= plain_rates(f"transfer{suffix}", transfer)
        pairs: dict[str, list[tuple[str, float]]] = {}  # a pair without items has no rate
        for answer, (_, told, at) in zip(transfer, cells, strict=True):
            pairs.setdefault(f"{names[told]}→{names[at]}", []).append(answer)
        row[f"transfer{suffix}_by_pair"] = {pair: accuracy(answers) for pair, answers in pairs.items()}
    return {"loss": loss} | row


def same(found: Any, expected: Any) -> bool:
    """Whether a row's entry is as expected; null stands for NaN."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    return found is None if math.isnan(expected) else found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", CORPORA)
def test_a_row_is_the_plain_means(name):
    corpus = small_corpus(**CORPORA[name])
    model = learned_model(corpus)
    dropout = CORPORA[name].get("languages", {}).get("cue_dropout", 0.0)
    row, expected = Evaluation(corpus, 0, 0, "cpu").row(model), plain_row(corpus, model, dropout)
    assert row.keys() - expected.keys() == ({"transfer_reason"} if dropout == 1 else set())
    for key, value in expected.items():
        assert same(row[key], value), (key, row[key], value)
    assert 0 < row["recall_accuracy"] < 1
    json.dumps(row, allow_nan=False)


def always_says(corpus: Corpus, text: str) -> HookedTransformer:
    model = small_model(corpus)
    with torch.no_grad():
        model.unembed.b_U[answer_tokens(corpus, text)] += 1000.0
    return model


@pytest.mark.parametrize("language", [0, 1])
def test_rates_of_a_model_that_always_says_one_word(language):
    """They are shares of the tellings and items of that relation, that value and that language."""
    corpus = small_corpus(world={"n_entities": 40})
    relation, value = 1, 2
    model = always_says(corpus, word(corpus, corpus.lexicon.value_words[relation, value, language]))
    row = Evaluation(corpus, 0, 0, "cpu").row(model)
    world, items = corpus.world, transfer_items(corpus)
    for name, fact, asked_in in (
        ("recall", *np.nonzero(corpus.mixture.told)),
        ("transfer", items.fact, items.asked),
    ):
        of_relation, of_value = world.relation[fact] == relation, world.value[fact, 0] == value
        here = asked_in == language
        shares = [
            (of_relation & of_value & here).mean(),
            (of_relation & of_value & ~here).mean(),
            (of_relation & ~of_value & here).mean(),
        ]
        assert min(shares) > 0
        assert [row[f"{name}_kinds"][kind] for kind in KINDS] == pytest.approx([*shares, 1 - sum(shares)])
        assert row[f"{name}_accuracy"] == pytest.approx(shares[0])
        assert row[f"{name}_value_accuracy"] == pytest.approx(shares[0] + shares[1])
        assert row[f"{name}_n"] == len(fact)
    told, other = "AB"[language], "BA"[language]
    assert row["transfer_by_pair"][f"{told}→{other}"] == 0
    assert row["transfer_by_pair"][f"{other}→{told}"] > 0


@pytest.mark.parametrize("most", [40, 100])
def test_a_sample_is_about_as_large_as_asked_and_the_last_step_asks_all(most):
    corpus = small_corpus(world={"n_entities": 200}, mixture={"parallel_fraction": 0.3}, languages={"name_length": 3})
    model = small_model(corpus)
    total = int(corpus.mixture.told.sum()) + len(transfer_items(corpus).fact)
    assert total > 5 * most
    evaluation = Evaluation(corpus, most, 0, "cpu")
    row, again = evaluation.row(model), Evaluation(corpus, most, 0, "cpu").row(model)
    assert row == again
    assert most - 5 <= row["recall_n"] + row["transfer_n"] <= most
    fact, language = evaluation.questions.recall[""].fact, evaluation.questions.recall[""].language
    assert len(set(zip(fact, language, strict=True))) == row["recall_n"]
    assert corpus.mixture.told[fact, language].all()
    parallel = np.asarray(corpus.mixture.told.all(axis=1))
    share, exact = parallel[fact].mean(), corpus.mixture.told[parallel].sum() / corpus.mixture.told.sum()
    assert share == pytest.approx(exact, abs=1.5 / len(fact))
    other = Evaluation(corpus, most, 1, "cpu").questions.recall[""].fact
    assert other.tolist() != fact.tolist()
    assert evaluation.row(model, everything=True) == Evaluation(corpus, 0, 0, "cpu").row(model)


def test_a_sample_estimates_the_loss_of_all():
    """Parallel and mono tellings are sampled apart, and each group stands for its weight."""
    corpus = small_corpus(world={"n_entities": 400}, languages={"name_length": 3}, mixture={"parallel_fraction": 0.2})
    model = learned_model(corpus)
    exact = Evaluation(corpus, 0, 0, "cpu").row(model)["loss"]
    samples = [Evaluation(corpus, 200, seed, "cpu").row(model)["loss"] for seed in range(30)]
    error = np.std(samples, ddof=1) / np.sqrt(len(samples))
    assert abs(np.mean(samples) - exact) < 4 * error
    assert 0 < error < 0.1 * exact


@pytest.mark.parametrize(
    ("sections", "suffix", "reason"),
    [
        ({"mixture": {"parallel_fraction": 1.0}}, "", "no fact is mono"),
        ({"languages": {"shared_words": 1.0}}, "", "the prompt is a training prompt"),
        ({"languages": {"cue": "tag", "cue_dropout": 1.0}}, "", "tag is in no training sentence"),
        (
            {"languages": {"shared_words": 1.0, "cue": "tag", "cue_dropout": 0.5}},
            "_hidden",
            "the prompt is a training prompt",
        ),
    ],
)
def test_without_items_there_is_a_reason_and_no_number(sections, suffix, reason):
    corpus = small_corpus(**sections)
    row = Evaluation(corpus, 0, 0, "cpu").row(small_model(corpus))
    json.dumps(row, allow_nan=False)
    assert row[f"transfer{suffix}_n"] == 0
    assert row[f"transfer{suffix}_accuracy"] is None
    assert row[f"transfer{suffix}_log_prob"] is None
    assert set(row[f"transfer{suffix}_kinds"].values()) == {None}
    assert row[f"transfer{suffix}_by_pair"] == {}
    assert reason in row[f"transfer{suffix}_reason"]
    if suffix:
        assert row["transfer_n"] > 0
        assert "transfer_reason" not in row
