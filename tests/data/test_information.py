"""What is known before training, against dictionaries of (probability, strings) and against closed forms."""

from collections import defaultdict
from collections.abc import Callable, Hashable
from itertools import chain, permutations, product
from math import log, log2

import numpy as np
import pytest
from hypothesis import given

from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.guesses import floors, recall_guesses
from mechxl.data.information import (
    informativeness,
    least_loss,
    mean_visits,
    no_knowledge_losses,
    told_distribution,
)
from mechxl.data.transfer import transfer_items
from tests.data.settings import FEW, cue_states, said, small_corpus, small_settings


class Atom:
    """A telling in a cue state, as strings."""

    def __init__(self, corpus: Corpus, fact: int, language: int, shown: bool, probability: float):
        *prompt, self.answer = said(corpus, fact, language, shown)
        self.prompt = " ".join(prompt)
        self.fact, self.language, self.probability = fact, language, probability
        self.relation = int(corpus.world.relation[fact])
        self.value = int(corpus.world.value[fact, language])


def atoms_of(config: RunConfig, corpus: Corpus) -> list[Atom]:
    weight = corpus.mixture.weight
    return [
        Atom(corpus, fact, language, shown, weight[fact, language] * p)
        for fact, language in np.argwhere(weight > 0).tolist()
        for shown, p in cue_states(config)
    ]


def readers_of(config: RunConfig, corpus: Corpus) -> dict[str, frozenset[int]]:
    """S: for each prompt, the languages in which some fact, told or not, is asked so."""
    readers = defaultdict(set)
    for fact, row in enumerate(corpus.world.value.tolist()):
        for language, value in enumerate(row):
            for shown, _ in cue_states(config):
                words = said(corpus, fact, language, shown)
                readers[" ".join(words[:-1] if value >= 0 else words)].add(language)
    return {prompt: frozenset(languages) for prompt, languages in readers.items()}


def entropy(atoms: list[Atom], of: Callable[[Atom], Hashable]) -> float:
    mass = defaultdict(float)
    for atom in atoms:
        mass[of(atom)] += atom.probability
    total = sum(mass.values())
    return -sum(p / total * log(p / total) for p in mass.values())


def given_that(atoms: list[Atom], of: Callable[[Atom], Hashable], on: Callable[[Atom], Hashable]) -> float:
    return entropy(atoms, lambda a: (of(a), on(a))) - entropy(atoms, on)


def information(atoms: list[Atom]) -> float:
    """I(value; language | relation) in bits."""
    about = given_that(atoms, lambda a: a.value, lambda a: a.relation)
    return (about - given_that(atoms, lambda a: a.value, lambda a: (a.relation, a.language))) / log(2)


@FEW
@given(small_settings())
def test_no_knowledge_losses_are_entropies_of_strings(raw: dict):
    config, corpus = small_corpus(raw)
    atoms, readers = atoms_of(config, corpus), readers_of(config, corpus)
    told = told_distribution(corpus)
    losses = no_knowledge_losses(told)
    assert sum(told.probability) == pytest.approx(1)
    assert losses.answer == pytest.approx(entropy(atoms, lambda a: a.answer), abs=1e-9)
    assert losses.given_relation == pytest.approx(given_that(atoms, lambda a: a.answer, lambda a: a.relation), abs=1e-9)
    by_reading = given_that(atoms, lambda a: a.answer, lambda a: (a.relation, readers[a.prompt]))
    assert losses.given_readers == pytest.approx(by_reading, abs=1e-9)
    assert losses.concept == pytest.approx(given_that(atoms, lambda a: a.value, lambda a: a.relation), abs=1e-9)
    assert least_loss(corpus) == pytest.approx(given_that(atoms, lambda a: a.answer, lambda a: a.prompt), abs=1e-9)


@FEW
@given(small_settings())
def test_recall_without_facts_is_that_of_the_best_guesses(raw: dict):
    config, corpus = small_corpus(raw)
    atoms = atoms_of(config, corpus)

    def best_guess(known: Callable[[Atom], Hashable]) -> float:
        mass: dict[Hashable, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        for atom in atoms:
            mass[known(atom)][atom.value] += atom.probability
        scores = []
        for telling in {(atom.fact, atom.language): atom for atom in atoms}.values():
            of_values = mass[known(telling)]
            best = [value for value, p in of_values.items() if p >= max(of_values.values()) * (1 - 1e-9)]
            scores.append((telling.value in best) / len(best))
        return float(np.mean(scores))

    expected = best_guess(lambda a: a.relation), best_guess(lambda a: (a.relation, a.language))
    assert recall_guesses(corpus) == pytest.approx(expected)
    assert floors(corpus, transfer_items(corpus))["recall"] == pytest.approx(max(expected))


@FEW
@given(small_settings())
def test_informativeness_is_the_information_in_the_tellings(raw: dict):
    config, corpus = small_corpus(raw)
    atoms = atoms_of(config, corpus)
    told = defaultdict(set)
    for atom in atoms:
        told[atom.fact].add(atom.language)
    mono = [atom for atom in atoms if len(told[atom.fact]) == 1]
    for some, mono_only in ((atoms, False), (mono, True)):
        found = informativeness(corpus, seed=0, mono_only=mono_only, shuffles=3)
        assert found.bits == pytest.approx(information(some) if some else np.nan, abs=1e-9, nan_ok=True)
        assert found.tellings == len({(atom.fact, atom.language) for atom in some})
        if some:
            assert 0 <= found.shuffled <= log2(config.languages.count) + 1e-9


@pytest.mark.parametrize("mono_only", [True, False])
def test_shuffled_mean_is_that_of_all_permutations_within_relations(mono_only: bool):
    world = {"n_entities": 5, "n_relations": 2, "n_values": 3, "frequency": "zipf", "shared_facts": 0.5}
    config = parse_config({"world": world, "mixture": {"parallel_fraction": 0.2, "exposure": "per_fact"}})
    corpus = build_corpus(config)
    atoms = atoms_of(config, corpus)
    mono = [atom for atom in atoms if corpus.mixture.told[atom.fact].sum() == 1]
    by_relation = [[atom for atom in mono if atom.relation == relation] for relation in range(2)]
    assert [len(atoms) for atoms in by_relation] == [4, 4]
    bits = []
    for mixed in product(*(permutations([atom.language for atom in atoms]) for atoms in by_relation)):
        for atom, language in zip(chain(*by_relation), chain(*mixed), strict=True):
            atom.language = language  # the value that was told stays
        bits.append(information(mono if mono_only else atoms))
    found = informativeness(corpus, seed=0, mono_only=mono_only, shuffles=4000)
    assert np.std(bits) > 0.01
    assert found.shuffled == pytest.approx(np.mean(bits), abs=5 * np.std(bits) / 4000**0.5)


def corpus_of(**sections: dict) -> Corpus:
    return build_corpus(parse_config(sections))


def binary(p: float) -> float:
    return -sum(x * log2(x) for x in (p, 1 - p) if x)


def test_default_losses():
    losses = no_knowledge_losses(told_distribution(build_corpus(RunConfig())))
    # words of two languages: log 2 more for who can't read the language, log 4 more for who can't read the relation
    assert losses.given_relation == pytest.approx(losses.given_readers + log(2), abs=1e-4)
    assert losses.answer == pytest.approx(losses.given_relation + log(4), abs=1e-4)
    assert losses.given_readers == pytest.approx(log(16), abs=0.02)
    assert losses.given_readers <= losses.concept <= log(16)


def test_shares_and_zipf_losses():
    shares, p = (0.7, 0.2, 0.1), np.arange(1, 9) ** -1.0 / (np.arange(1, 9) ** -1.0).sum()
    corpus = corpus_of(
        world={"n_entities": 4000, "n_relations": 1, "n_values": 8, "value_distribution": "zipf"},
        languages={"count": 3, "name_length": 3},
        mixture={"language_shares": shares, "parallel_fraction": 0.0},
    )
    losses = no_knowledge_losses(told_distribution(corpus))
    in_language = -sum(s * log(s) for s in shares)
    assert losses.concept == pytest.approx(float(-(p * np.log(p)).sum()), abs=0.03)
    assert losses.given_relation - losses.given_readers == pytest.approx(in_language, abs=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_a_hidden_tag_hides_the_language_where_all_words_are_shared(dropout: float):
    corpus = corpus_of(
        world={"n_entities": 4000, "n_relations": 1},
        languages={"name_length": 3, "shared_words": 1.0, "cue": "tag", "cue_dropout": dropout},
        mixture={"informativeness": 1.0, "parallel_fraction": 0.0},
    )
    losses = no_knowledge_losses(told_distribution(corpus))
    # who reads the language chooses among 8 values, who does not among 16
    assert losses.given_readers == pytest.approx(dropout * log(16) + (1 - dropout) * log(8), abs=0.01)
    assert (losses.given_relation, losses.answer) == pytest.approx((log(16), log(16)), abs=0.01)


@pytest.mark.parametrize("k", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(("exposure", "mono"), [("per_telling", 1 / 3), ("per_fact", 1 / 2)])
def test_informativeness_of_equal_shares_and_uniform_values(k: float, exposure: str, mono: float):
    mixture = {"informativeness": k, "exposure": exposure}
    corpus = corpus_of(world={"n_entities": 4000}, languages={"name_length": 3}, mixture=mixture)
    # a mono value is told at home with probability (1 + k) / 2, a parallel one in both alike
    assert informativeness(corpus, 0, mono_only=True, shuffles=1).bits == pytest.approx(
        1 - binary((1 + k) / 2), abs=0.01
    )
    everything = informativeness(corpus, 0, mono_only=False, shuffles=1).bits
    assert everything == pytest.approx(1 - binary((1 + k * mono) / 2), abs=0.01)


def test_full_informativeness_of_unequal_shares_is_their_entropy():
    shares = (0.5, 0.25, 0.25)
    corpus = corpus_of(languages={"count": 3}, mixture={"informativeness": 1.0, "language_shares": shares})
    bits = informativeness(corpus, 0, mono_only=True, shuffles=1).bits
    assert bits == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_allotment_leaves_less_information_than_chance_at_k_0(seed: int):
    for mono_only in (True, False):
        found = informativeness(build_corpus(RunConfig(seed=seed)), seed, mono_only=mono_only)
        assert found.shuffles == 100
        assert 0 <= found.bits < found.shuffled / 5
        assert found.shuffled < 0.05


def test_parallel_facts_say_nothing():
    corpus = corpus_of(world={"n_entities": 50}, mixture={"parallel_fraction": 1.0})
    everything = informativeness(corpus, 0, mono_only=False)
    assert (everything.bits, everything.shuffled) == pytest.approx((0, 0), abs=1e-9)
    mono = informativeness(corpus, 0, mono_only=True)
    assert np.isnan([mono.bits, mono.shuffled]).all()
    assert mono.tellings == 0


@pytest.mark.parametrize(("exposure", "mono", "parallel"), [("per_telling", 0.5, 1.5), ("per_fact", 1.0, 1.0)])
def test_mean_visits(exposure: str, mono: float, parallel: float):
    # 400 facts, half of them told in three languages
    corpus = corpus_of(world={"n_entities": 100}, languages={"count": 3}, mixture={"exposure": exposure})
    visits = mean_visits(corpus, 4000)
    assert (visits.mono, visits.parallel) == pytest.approx((10 * mono, 10 * parallel))
    assert visits.parallel_telling == pytest.approx(10 * parallel / 3)
    assert np.isnan(mean_visits(corpus_of(mixture={"parallel_fraction": 1.0}), 10).mono)
