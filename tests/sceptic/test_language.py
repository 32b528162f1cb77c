"""The language in the stream: the sceptic's probes and erasure against mechxl's findings."""

import numpy as np
import pytest

from tests.sceptic import answering
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


def by_value(reading, step, items, erasure=None):
    """How often the value is right, in whatever language."""
    hooks = erasure.hooks(items) if erasure else None
    answers = answering.decoded(reading, step, items, hooks=hooks)
    kinds = [answering.kind(reading, item, answer) for item, answer in zip(items, answers, strict=True)]
    return np.mean([kind.startswith("right") for kind in kinds])


def test_a_probe_reads_what_the_sceptics_reads_over_folds_of_the_same_entities(readings, found):
    """Folds are drawn, and with 60 entities they matter: theirs must be one of many."""
    reading, table = readings("plain"), found("plain", "language_identity")["probes"]
    facts, step = reading.seen(), reading.run.steps[-1]
    _, language, _, entity = crossed(reading, facts)
    streams = reading.stream(step, facts)
    for layer in (1, 2):
        x = streams[layer].reshape(len(language), -1)
        ours = [probe(x, language, entity, np.random.default_rng(seed)) for seed in range(4)]
        here = table.query(f"step == {step} and layer == {layer} and role == 'prompt_last' and labels == 'true'")
        for quantity, slack in (("bits", 0.15), ("accuracy", 0.05)):
            reads = [one[quantity] for one in ours]
            theirs = here[quantity].item()
            assert min(reads) - slack <= theirs <= max(reads) + slack, (layer, quantity, theirs, reads)


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


@pytest.mark.parametrize("asked", ["recall", "transfer"])
def test_answers_by_value_without_the_language_are_the_sceptics(asked, readings, found):
    """Erasers are fitted on one drawn half of the entities and asked of the other, there and here."""
    reading, tables = readings("plain"), found("plain", "language_identity")
    step, items_of = reading.run.steps[-1], {"recall": answering.recall_items, "transfer": answering.transfer_items}
    table = tables["erasure"].query(f"step == {step} and from_layer == 1 and asked == '{asked}'").set_index("erased")
    erased, plain = [], []
    for seed in range(3):
        fit, others = halves(reading, seed)
        items = [item for item in items_of[asked](reading) if item[0] in set(others.tolist())]
        plain.append(by_value(reading, step, items))
        erased.append(by_value(reading, step, items, Erasure(reading, step, 1, fit)))
    error = 0.5 / np.sqrt(table.loc["nothing", "entities"])
    assert table.loc["nothing", "value"] == pytest.approx(np.mean(plain), abs=3 * error)
    if "verified" not in tables:
        pytest.skip("the finding's erasure takes relations together as yet")
    ours = np.mean(erased) - np.mean(plain)
    assert table.loc["language", "change"] == pytest.approx(ours, abs=2.5 * error)
    if asked == "transfer":
        assert ours > 0.1
        assert table.loc["language", "change_low"] > 0
