"""Recall and transfer, and what is known before training, as the sceptic computes them, against mechxl's findings."""

import numpy as np
import pytest

from tests.sceptic import answering, information
from tests.sceptic.conftest import NAMES

KINDS = ("right", "right_value_other_language", "wrong_value", "other")


def answered(reading, step, items, tag=True):
    """The kind of each answer, and log p of the right one."""
    answers = answering.decoded(reading, step, items, tag)
    kinds = [answering.kind(reading, item, answer) for item, answer in zip(items, answers, strict=True)]
    prompts = [reading.prompt(*item, tag) for item in items]
    log_prob = answering.log_probs(reading.model(step), prompts, [reading.answer(*item) for item in items])
    return kinds, log_prob


@pytest.mark.parametrize("name", NAMES)
def test_recall_and_transfer_are_the_sceptics_by_kind_group_and_pair_of_languages(name, readings, found):
    reading, curves = readings(name), found(name, "learning")["curves"].set_index("step")
    for step in reading.run.steps[1:]:
        row = curves.loc[step]
        for what, items in (
            ("recall", answering.recall_items(reading)),
            ("transfer", answering.transfer_items(reading)),
        ):
            assert row[f"{what}_n"] == len(items)
            kinds, log_prob = answered(reading, step, items)
            theirs = {kind: row[f"{what}_kinds.{kind}"] for kind in KINDS}
            ours = {kind: kinds.count(kind) / len(items) for kind in KINDS}
            if not answering.all_values_occur(reading):  # facts.parquet lacks the words of values that no fact has
                assert theirs["wrong_value"] > ours["wrong_value"] - 1e-6
                for shares in (theirs, ours):
                    shares["wrong_value"] += shares.pop("other")
            assert theirs == pytest.approx(ours, abs=1e-6)
            assert row[f"{what}_log_prob"] == pytest.approx(log_prob.mean(), abs=1e-4)
            right = np.array([kind == "right" for kind in kinds])
            if what == "recall":
                for group in ("mono", "parallel"):
                    ours = right[[reading.group[fact] == group for fact, _ in items]].mean()
                    assert row[f"recall_by_group.{group}"] == pytest.approx(ours, abs=1e-6)
                for number, language in enumerate(reading.languages):
                    ours = right[[asked == number for _, asked in items]].mean()
                    assert row[f"recall_by_language.{language}"] == pytest.approx(ours, abs=1e-6)
            else:
                told = [int(reading.told[fact].argmax()) for fact, _ in items]
                for pair in {(one, asked) for one, (_, asked) in zip(told, items, strict=True)}:
                    here = [(one, asked) == pair for one, (_, asked) in zip(told, items, strict=True)]
                    column = "transfer_by_pair." + "→".join(reading.languages[number] for number in pair)
                    assert row[column] == pytest.approx(right[here].mean(), abs=1e-6)


def test_with_the_tag_hidden_recall_is_the_sceptics_and_transfer_has_no_items_of_prompts_that_training_shows(
    readings, found
):
    """All words are shared, so that a hidden prompt is the same in both languages: training shows it."""
    reading = readings("told")
    row = found("told", "learning")["curves"].iloc[-1]
    items = answering.recall_items(reading)
    kinds, log_prob = answered(reading, reading.run.steps[-1], items, tag=False)
    assert row["recall_hidden_accuracy"] == pytest.approx(kinds.count("right") / len(items), abs=1e-6)
    assert row["recall_hidden_log_prob"] == pytest.approx(log_prob.mean(), abs=1e-4)
    assert answering.transfer_items(reading, tag=False) == []
    assert row["transfer_hidden_n"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_losses_without_knowledge_and_accuracies_without_facts_are_the_sceptics(name, readings, found):
    reading, tables = readings(name), found(name, "learning")
    losses = tables["no_knowledge"].set_index("given")["loss"]
    for given, ours in information.no_knowledge_losses(reading).items():
        assert losses[given] == pytest.approx(ours, abs=1e-5), given
    accuracies = tables["no_fact"].set_index(["kind", "guess"])["accuracy"]
    for kind, items in (("recall", answering.recall_items(reading)), ("transfer", answering.transfer_items(reading))):
        for guess, ours in information.no_fact_accuracies(reading, items).items():
            if (kind, guess) in accuracies:  # told in another language: of transfer alone
                assert accuracies[kind, guess] == pytest.approx(ours, abs=1e-6), (kind, guess)
    assert len(accuracies) == 5


def test_informativeness_is_the_sceptics(readings, found):
    bits = found("plain", "language_identity")["data"].set_index("quantity")["bits"]
    for quantity, mono in (("mono facts", True), ("all tellings", False)):
        ours = information.value_language_bits(readings("plain"), mono)
        assert bits[f"I(value; language | relation), {quantity}"] == pytest.approx(ours, abs=1e-6)


def test_a_mono_fact_that_tells_its_language_tells_all_that_there_is(readings):
    """At informativeness 1 a value is told in one language, but for the one whose interval the languages divide."""
    reading = readings("told")
    bits = information.value_language_bits(reading, mono=True)
    assert 0.6 < bits <= 1
