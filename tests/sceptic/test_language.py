"""The language in the stream: the sceptic's probes and erasure against mechxl's findings."""

import numpy as np
import pytest

from tests.sceptic import answering
from tests.sceptic.conftest import NAMES
from tests.sceptic.language import Erasure, concept, pooled_concept, probe, probe_within

LAYER = "blocks.0.hook_resid_post"  # after layer 1


def crossed(reading, facts):
    """The questions about facts in all languages, and of each its language, relation and entity."""
    items = [(int(fact), language) for fact in facts for language in range(reading.n_languages)]
    fact, language = np.array(items).T
    return items, language, reading.relation[fact], reading.entity[fact]


def halves(reading, seed):
    """Facts of half of the entities, and of the others."""
    seen, rng = reading.seen(), np.random.default_rng(seed)
    entities = rng.permutation(np.unique(reading.entity[seen]))
    first = np.isin(reading.entity[seen], entities[: len(entities) // 2])
    return seen[first], seen[~first]


def without_the_language(reading, step, seed):
    """Of one draw of halves: answers by value, what a fresh probe reads, and the language of the answers."""
    fit, others = halves(reading, seed)
    items, language, relation, entity = crossed(reading, others)
    erasure, found = Erasure(reading, step, 1, fit), {}
    for erased, hooks in (("nothing", None), ("language", erasure.hooks(items))):
        answers = dict(zip(items, answering.decoded(reading, step, items, hooks=hooks), strict=True))
        for asked, among in (
            ("recall", answering.recall_items(reading)),
            ("transfer", answering.transfer_items(reading)),
        ):
            kinds = [answering.kind(reading, item, answers[item]) for item in among if item in answers]
            found[asked, erased] = np.mean([kind.startswith("right") for kind in kinds])
    spoken = {item: languages_of(reading, answer) for item, answer in answers.items()}
    told = [item[1] in languages for item, languages in spoken.items() if len(languages) == 1]
    found["answers"] = np.mean(told) if told else np.nan
    for layer in (1, 2):
        x = erasure.last(items, f"blocks.{layer - 1}.hook_resid_post")
        found["probe", layer] = probe_within(x, language, relation, entity, np.random.default_rng(seed))
    return found


def languages_of(reading, answer):
    """The languages that an answer is a value's word of."""
    return {language for (_, _, language), word in reading.answers.items() if answer[: len(word)] == word}


@pytest.mark.parametrize(("name", "first"), [*((name, False) for name in NAMES), ("varied", True)])
def test_a_probe_reads_what_the_sceptics_reads_and_its_interval_holds_refitted_ones(name, first, readings, found):
    """Theirs is a mean over three draws of the folds; so is the sceptic's, of other draws.

    The bound is three standard errors of the difference of such means, by the sceptic's own scatter, and what the two
    choices of a penalty may differ by.
    """
    reading, table = readings(name), found(name, "language_identity")["probes"]
    facts, step = reading.seen(), reading.run.steps[0 if first else -1]
    _, language, _, entity = crossed(reading, facts)
    streams = reading.stream(step, facts)
    for layer in (1,) if reading.n_languages > 2 else (1, 2):
        x = streams[layer].reshape(len(language), -1)
        ours = [probe(x, language, entity, np.random.default_rng(seed)) for seed in range(3)]
        here = table.query(f"step == {step} and layer == {layer} and role == 'prompt_last' and labels == 'true'").iloc[
            0
        ]
        assert here["interval"] == "refitted"
        for quantity, slack in (("bits", 0.06), ("accuracy", 0.03)):
            reads = np.array([one[quantity] for one in ours])
            error = reads.std(ddof=1) * np.sqrt(2 / 3)
            assert here[quantity] == pytest.approx(reads.mean(), abs=3 * error + slack), (layer, quantity, reads)
            low, high = here[f"{quantity}_low"], here[f"{quantity}_high"]
            assert low - slack / 2 <= reads.mean() <= high + slack / 2, (layer, quantity, reads)


@pytest.mark.parametrize("name", ["plain", "varied"])
def test_leace_with_relations_pooled_leaves_the_language_and_within_relations_it_does_not(name, readings):
    """The relation's word tells the language. Other entities are read: the fitted sample's error leaves a trace."""
    reading = readings(name)
    step, (fit, others) = reading.run.steps[-1], halves(reading, 0)
    items, language, relation, entity = crossed(reading, others)
    rng = np.random.default_rng(0)
    pooled, within = (Erasure(reading, step, 1, fit, of) for of in (pooled_concept, concept))
    assert probe_within(pooled.last(items, LAYER), language, relation, entity, rng) > 0.95
    assert probe_within(within.last(items, LAYER), language, relation, entity, rng) < 0.8


def test_what_an_erasure_within_relations_is_fitted_on_has_equal_means_in_all_languages(readings):
    """The theorem: with equal means no linear reader beats chance. It holds to rounding on what was fitted."""
    reading = readings("plain")
    step, (fit, _) = reading.run.steps[-1], halves(reading, 0)
    items, language, relation, _ = crossed(reading, fit)
    erased = Erasure(reading, step, 1, fit).last(items, LAYER)
    for one in np.unique(relation):
        means = [erased[(relation == one) & (language == asked)].mean(axis=0) for asked in (0, 1)]
        np.testing.assert_allclose(means[0], means[1], atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_answers_and_probes_without_the_language_are_the_sceptics(name, readings, found):
    """Erasers are fitted on one drawn half of the entities and asked of the other, there and here.

    The bound is three standard errors of the difference between one draw and the mean of two, each of a share of as
    many entities as theirs.
    """
    reading, tables = readings(name), found(name, "language_identity")
    step = reading.run.steps[-1]
    places = f"step == {step} and from_layer == 1"
    effects = tables["erasure"].query(places).set_index(["asked", "erased"])
    checks = tables["verified"].query(f"{places} and erased == 'language'")
    draws = [without_the_language(reading, step, seed) for seed in range(2)]

    def near(theirs, ours, entities):
        share = np.clip(ours, 1 / entities, 1 - 1 / entities)
        error = np.sqrt(share * (1 - share) / entities)
        return theirs == pytest.approx(ours, abs=3 * error * np.sqrt(1 + 1 / len(draws)))

    for asked in ("recall", "transfer"):
        for erased in ("nothing", "language"):
            row, ours = effects.loc[(asked, erased)], np.mean([draw[asked, erased] for draw in draws])
            assert near(row["value"], ours, row["entities"]), (asked, erased, row["value"], ours)
    for layer in (1, 2):
        row = checks.query(f"told_by == 'probe' and layer == {layer} and slot == 'last'").iloc[0]
        ours = np.mean([draw["probe", layer] for draw in draws])
        assert near(row["value"], ours, row["entities"]), (layer, row["value"], ours)
    row = checks.query("told_by == 'answers'").iloc[0]
    ours = np.mean([draw["answers"] for draw in draws])
    if np.isnan(ours):  # all words are shared
        assert row["verdict"] == "undefined"
    else:
        assert near(row["value"], ours, row["entities"]), (row["value"], ours)
