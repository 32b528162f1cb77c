"""Who is told what: homes, allotment by largest remainder, alternation, and weights."""

from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechxl.config import parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.mixture import alternate, home, language_given_value, largest_remainder
from tests.data.settings import FEW, small_corpus, small_settings

whole_weights = st.lists(st.integers(0, 6), min_size=2, max_size=6).filter(any)


def ends(weights: list[int]) -> list[Fraction]:
    return [Fraction(sum(weights[:n]), sum(weights)) for n in range(len(weights) + 1)]


def overlaps(values: list[int], languages: list[int]) -> list[list[float]]:
    """The fraction of each value's interval inside each language's, in exact fractions."""
    return [
        [float(max(min(v1, l1) - max(v0, l0), Fraction(0)) / (v1 - v0)) for l0, l1 in pairwise(ends(languages))]
        for v0, v1 in pairwise(ends(values))
    ]


@FEW
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), whole_weights)
def test_home_is_the_overlap_of_intervals(values: list[int], languages: list[int]):
    probability, shares = np.array(values) / sum(values), np.array(languages) / sum(languages)
    table = home(probability, shares)
    assert table == pytest.approx(np.array(overlaps(values, languages)), abs=1e-9)
    assert table.sum(axis=1) == pytest.approx(np.ones(len(values)))
    assert probability @ table == pytest.approx(shares)


@pytest.mark.parametrize("exponent", [0, 1, 3, 10])
def test_homes_of_rare_values_are_whole(exponent: int):
    probability = np.arange(1.0, 31) ** -exponent
    probability /= probability.sum()
    for order in (probability, probability[::-1]):
        assert home(order, np.array([0.5, 0.3, 0.2])).sum(axis=1) == pytest.approx(np.ones(30))


@FEW
@given(small_settings(mixture={"unit": "fact"}), st.floats(0, 1))
def test_language_given_value_mixes_the_shares_with_homes_in_seeded_order(raw: dict, k: float):
    config, corpus = small_corpus(raw)
    shares, seed = np.array(config.shares), config.seeds.mixture
    tables = {x: language_given_value(corpus.world, shares, x, seed) for x in (0.0, k, 1.0)}
    orders = tables[k][1]
    for relation, probability in enumerate(corpus.world.value_probability):
        at_0, at_k, at_1 = (tables[x][0][relation] for x in (0.0, k, 1.0))
        assert sorted(orders[relation].tolist()) == list(range(config.world.n_values))
        assert at_0 == pytest.approx(np.tile(shares, (len(probability), 1)))
        assert at_1[orders[relation]] == pytest.approx(home(probability[orders[relation]], shares))
        assert at_k == pytest.approx((1 - k) * at_0 + k * at_1)
        assert probability @ at_k == pytest.approx(shares)


@FEW
@given(st.lists(st.integers(0, 8), min_size=2, max_size=4).filter(any), st.integers(0, 6), st.data())
def test_largest_remainder_is_the_nearest_whole_allotment(weights: list[int], n: int, data: st.DataObject):
    parts = len(weights)
    target = n * np.array(weights) / sum(weights)
    owed = np.array(data.draw(st.lists(st.integers(-4, 4), min_size=parts, max_size=parts))) / 4
    carry = np.where(target > 0, owed, 0.0)
    tie = np.array(data.draw(st.permutations(range(parts))), float)
    got = largest_remainder(n, target, carry, tie)
    assert got.sum() == n
    assert not got[target == 0].any()
    assert (got >= 0).all()
    allowed = [
        cut for cut in product(range(n + 1), repeat=parts) if sum(cut) == n and not any(np.array(cut)[target == 0])
    ]
    squares = [((np.array(cut) - target - carry) ** 2).sum() for cut in allowed]
    assert ((got - target - carry) ** 2).sum() == pytest.approx(min(squares))
    plain = largest_remainder(n, target, np.zeros(parts), tie)
    assert (abs(plain - target) < 1).all()


@FEW
@given(st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_alternate_spreads_each_label_over_the_whole_sequence(counts: list[int]):
    labels = alternate(np.array(counts), np.arange(len(counts), dtype=float)).tolist()
    n, parts = sum(counts), len(counts)
    assert [labels.count(part) for part in range(parts)] == counts
    for end in range(n + 1):
        for part, count in enumerate(counts):
            even, slack = end * count / max(n, 1), 0.5 + parts / 2 * count / max(n, 1)
            assert abs(labels[:end].count(part) - even) <= slack + 1e-9


def test_alternate_by_hand():
    assert alternate(np.array([3, 3]), np.array([0.2, 0.1])).tolist() == [1, 0, 1, 0, 1, 0]
    assert alternate(np.array([2, 1]), np.array([0.0, 1.0])).tolist() == [0, 1, 0]
    assert alternate(np.array([4, 1, 1]), np.array([0.0, 1.0, 2.0])).tolist() == [0, 0, 1, 2, 0, 0]


def cells(corpus: Corpus, relation: int) -> dict[int, np.ndarray]:
    """The seen facts of a relation by the first language's value."""
    world = corpus.world
    own = np.flatnonzero(world.relation == relation)
    own = own[world.value[own, 0] >= 0]
    return {int(v): own[world.value[own, 0] == v] for v in np.unique(world.value[own, 0])}


@FEW
@given(small_settings(mixture={"unit": "fact"}))
def test_totals_of_a_relation_are_within_one_fact_of_their_shares(raw: dict):
    config, corpus = small_corpus(raw)
    mixture, shares = config.mixture, np.array(config.shares)
    told = corpus.mixture.told
    table, _ = language_given_value(corpus.world, shares, mixture.informativeness, config.seeds.mixture)
    for relation in range(config.world.n_relations):
        by_value = cells(corpus, relation)
        facts = np.concatenate(list(by_value.values()))
        assert abs(told[facts].all(axis=1).sum() - mixture.parallel_fraction * len(facts)) < 1 + 1e-9
        expected, got = np.zeros(len(shares)), np.zeros(len(shares))
        for value, cell in by_value.items():
            mono = cell[told[cell].sum(axis=1) == 1]
            assert not told[mono][:, table[relation, value] == 0].any()
            expected += len(mono) * table[relation, value]
            got += told[mono].sum(axis=0)
        assert (abs(got - expected) < 1 + 1e-9).all(), (got, expected)


@FEW
@given(small_settings())
def test_each_seen_fact_is_told_in_one_language_or_in_all(raw: dict):
    config, corpus = small_corpus(raw)
    told, group = corpus.mixture.told, corpus.mixture.group.tolist()
    seen = config.world.n_entities * config.world.n_relations
    for fact, row in enumerate(told.tolist()):
        languages = sum(row)
        assert languages in (1, config.languages.count) if fact < seen else languages == 0
        assert group[fact] == {0: "unseen", 1: "mono", config.languages.count: "parallel"}[languages]


@FEW
@given(small_settings())
def test_weights_are_the_frequencies_shared_as_exposure_says(raw: dict):
    config, corpus = small_corpus(raw)
    weight, told = corpus.mixture.weight, corpus.mixture.told
    plain = np.zeros(weight.shape)
    for fact, language in zip(*np.nonzero(told), strict=True):
        tellings = int(told[fact].sum()) if config.mixture.exposure == "per_fact" else 1
        plain[fact, language] = corpus.world.frequency[fact] / tellings
    assert weight.sum() == pytest.approx(1)
    assert weight == pytest.approx(plain / plain.sum(), abs=1e-15)


@pytest.mark.parametrize("exposure", ["per_telling", "per_fact"])
def test_exposure_counts_tellings_or_facts(exposure: str):
    raw = {"world": {"n_entities": 100}, "languages": {"count": 3}, "mixture": {"exposure": exposure}}
    mixture = build_corpus(parse_config(raw)).mixture
    # 400 facts, half of them told three times
    assert mixture.weight[mixture.parallel].sum() == pytest.approx({"per_telling": 3 / 4, "per_fact": 1 / 2}[exposure])


@FEW
@given(small_settings(mixture={"unit": "entity"}))
def test_an_entitys_mono_facts_share_a_language(raw: dict):
    config, corpus = small_corpus(raw)
    told, entity = corpus.mixture.told, corpus.world.entity
    by_entity: dict[int, set[int]] = {}
    for fact in np.flatnonzero(told.sum(axis=1) == 1):
        by_entity.setdefault(int(entity[fact]), set()).add(int(told[fact].argmax()))
    assert all(len(languages) == 1 for languages in by_entity.values())
    if config.mixture.parallel_fraction == 0:
        counts = [sum(own == {language} for own in by_entity.values()) for language in range(config.languages.count)]
        assert sum(counts) == config.world.n_entities
        assert (abs(counts - config.world.n_entities * np.array(config.shares)) < 1).all()
    for relation in range(config.world.n_relations):
        facts = np.concatenate(list(cells(corpus, relation).values()))
        target = config.mixture.parallel_fraction * len(facts)
        assert abs(told[facts].all(axis=1).sum() - target) < 1 + 1e-9


@pytest.mark.parametrize(("shares", "k"), [((0.5, 0.3, 0.2), 0.0), ((0.5, 0.3, 0.2), 0.6), ((0.7, 0.2, 0.1), 1.0)])
def test_cells_follow_their_shares_and_alternate_down_the_frequencies(shares: tuple[float, ...], k: float):
    world = {"n_entities": 400, "n_relations": 2, "n_values": 5, "frequency": "zipf"}
    mixture = {"parallel_fraction": 0.4, "language_shares": shares, "informativeness": k}
    config = parse_config({"world": world, "languages": {"count": 3}, "mixture": mixture})
    corpus = build_corpus(config)
    told, frequency = corpus.mixture.told, corpus.world.frequency
    table, _ = language_given_value(corpus.world, np.array(shares), k, config.seeds.mixture)
    for relation in range(2):
        for value, cell in cells(corpus, relation).items():
            falling = cell[np.argsort(-frequency[cell])]
            parallel = told[falling].all(axis=1)
            n = np.arange(1, len(falling) + 1)
            assert (abs(np.cumsum(parallel) - n * parallel.mean()) <= 1.5).all()
            mono = falling[~parallel]
            assert (abs(told[mono].sum(axis=0) - len(mono) * table[relation, value]) < 2).all()
            n = np.arange(1, len(mono) + 1)[:, None]
            assert (abs(np.cumsum(told[mono], axis=0) - n * told[mono].mean(axis=0)) <= 2).all()
