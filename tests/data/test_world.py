"""Worlds: which facts there are, what their values are, and how often they are told."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given

from mechxl.config import WorldConfig, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.data.world import World, generate_world
from tests.data.settings import FEW, small_settings


def world_of(n_languages: int = 2, seed: int = 0, **settings) -> World:
    return generate_world(WorldConfig(**settings), n_languages, seed)


def by_rank(n: int, exponent: float) -> list[float]:
    weights = [rank**-exponent for rank in range(1, n + 1)]
    return [weight / sum(weights) for weight in weights]


@FEW
@given(small_settings())
def test_every_entity_has_one_fact_in_every_relation(raw: dict):
    config = parse_config(raw)
    settings = config.world
    world = generate_world(settings, config.languages.count, config.seeds.world)
    entities = settings.n_entities + settings.n_unseen
    pairs = [(e, r) for e in range(entities) for r in range(settings.n_relations)]
    assert list(zip(world.entity.tolist(), world.relation.tolist(), strict=True)) == pairs
    seen = np.array([entity < settings.n_entities for entity, _ in pairs])
    assert np.array_equal(world.seen, seen)
    assert world.value.shape == (len(pairs), config.languages.count)
    assert (world.value[~seen] == -1).all()
    assert (world.value[seen] >= 0).all()
    assert (world.value < settings.n_values).all()
    assert (world.n_facts, world.n_entities, world.n_relations) == (len(pairs), entities, settings.n_relations)


@FEW
@given(small_settings())
def test_frequencies_are_the_ranks_of_the_law(raw: dict):
    config = parse_config(raw)
    settings = config.world
    world = generate_world(settings, config.languages.count, config.seeds.world)
    exponent = {"uniform": 0.0, "zipf": settings.zipf_exponent}
    facts = settings.n_entities * settings.n_relations
    told = sorted(world.frequency[:facts], reverse=True)
    assert told == pytest.approx(by_rank(facts, exponent[settings.frequency]), abs=1e-12)
    assert not world.frequency[facts:].any()
    assert world.value_probability.shape == (settings.n_relations, settings.n_values)
    for row in world.value_probability:
        law = by_rank(settings.n_values, exponent[settings.value_distribution])
        assert sorted(row, reverse=True) == pytest.approx(law, abs=1e-12)


@pytest.mark.parametrize(("share", "n_languages"), [(0.0, 2), (0.3, 2), (0.5, 3), (0.77, 4), (1.0, 3)])
def test_an_exact_share_of_facts_is_the_same_in_every_language(share: float, n_languages: int):
    # among 10,000 values two draws agree by chance in 1 of 10,000 facts
    world = world_of(n_languages, n_entities=51, n_relations=3, n_values=10_000, shared_facts=share)
    alike = [len(set(row)) == 1 for row in world.value[: 51 * 3].tolist()]
    assert sum(alike) == int(share * 153 + 0.5)
    different = [row for row, same in zip(world.value[:153].tolist(), alike, strict=True) if not same]
    assert all(len(set(row)) == n_languages for row in different)


@FEW
@given(small_settings())
def test_at_least_the_share_is_the_same_and_all_of_it_at_1(raw: dict):
    config = parse_config(raw)
    world = generate_world(config.world, config.languages.count, config.seeds.world)
    facts = int(world.seen.sum())
    alike = sum(len(set(row)) == 1 for row in world.value[:facts].tolist())
    assert alike >= int(config.world.shared_facts * facts + 0.5)


def within_noise(count: int, n: int, p: float) -> bool:
    return abs(count - n * p) < 5 * (n * p * (1 - p)) ** 0.5


@pytest.mark.parametrize("distribution", ["uniform", "zipf"])
def test_values_are_independent_draws_of_their_probability(distribution: str):
    n, values = 20_000, 4
    world = world_of(
        2, n_entities=n, n_relations=2, n_values=values, n_unseen=0, shared_facts=0, value_distribution=distribution
    )
    table = world.value.reshape(n, 2, 2)  # entity, relation, language
    for relation in range(2):
        p = world.value_probability[relation]
        for language in range(2):
            counts = Counter(table[:, relation, language].tolist())
            assert all(within_noise(counts[v], n, p[v]) for v in range(values))
        across = Counter(map(tuple, table[:, relation].tolist()))
        assert all(within_noise(across[v, w], n, p[v] * p[w]) for v in range(values) for w in range(values))
    first, second = world.value_probability
    pairs = Counter(map(tuple, table[:, :, 0].tolist()))
    assert all(within_noise(pairs[v, w], n, first[v] * second[w]) for v in range(values) for w in range(values))


def test_zipf_ranks_are_a_permutation_for_each_relation_and_over_all_facts():
    settings = {"n_entities": 50, "n_relations": 3, "value_distribution": "zipf", "frequency": "zipf"}
    worlds = [world_of(seed=seed, **settings) for seed in range(20)]
    tops = [tuple(row.argmax() for row in world.value_probability) for world in worlds]
    assert len(set(tops)) > 15
    assert any(len(set(top)) > 1 for top in tops)  # relations have orders of their own
    commonest = [int(world.frequency.argmax()) for world in worlds]
    assert len(set(commonest)) > 15
    assert {fact % 3 for fact in commonest} == {0, 1, 2}


ZIPF = {"n_entities": 40, "value_distribution": "zipf", "frequency": "zipf", "shared_facts": 0.5}


@pytest.mark.parametrize(
    "change",
    [
        {"world": ZIPF | {"n_unseen": 3}},
        {"languages": {"cue": "tag", "cue_dropout": 0.5}},
        {"languages": {"script": "distinct", "word_order": "varied", "shared_names": 0.5, "seed": 9}},
        {"mixture": {"parallel_fraction": 0.1, "seed": 5}},
        {"tokenization": {"kind": "character"}},
        {"training": {"init_seed": 3, "order_seed": 4, "steps": 10}},
        {"languages": {"count": 3}},
    ],
)
def test_other_settings_leave_the_seen_facts_alone(change: dict):
    one, other = (build_corpus(parse_config({"world": ZIPF} | more)).world for more in ({}, change))
    assert np.array_equal(one.value[one.seen], other.value[other.seen][:, :2])
    assert np.array_equal(one.frequency[one.seen], other.frequency[other.seen])
    assert np.array_equal(one.value_probability, other.value_probability)


@pytest.mark.parametrize(
    "change", [{"n_unseen": 3}, {"frequency": "uniform"}, {"shared_facts": 1.0}, {"shared_facts": 0.9}]
)
def test_a_setting_of_the_world_changes_its_own_part_only(change: dict):
    one, other = world_of(**ZIPF), world_of(**(ZIPF | change))
    assert np.array_equal(one.value[one.seen, 0], other.value[other.seen, 0])


def test_who_is_told_what_does_not_depend_on_unseen_entities():
    raw = {"world": ZIPF, "mixture": {"informativeness": 0.5, "parallel_fraction": 0.3}}
    one, other = (build_corpus(parse_config(raw | {"world": ZIPF | {"n_unseen": n}})) for n in (0, 7))
    assert np.array_equal(one.mixture.told, other.mixture.told[: len(one.mixture.told)])
    assert np.allclose(one.mixture.weight, other.mixture.weight[: len(one.mixture.told)], atol=1e-15)


def test_seeds_make_worlds():
    one, same, other = (world_of(seed=seed, n_entities=40) for seed in (0, 0, 1))
    assert np.array_equal(one.value, same.value)
    assert not np.array_equal(one.value, other.value)
