"""Transfer items, and what can be reached on them without a fact, against plain strings."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given

from mechxl.config import RunConfig, TokenizationConfig, parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.guesses import no_fact_accuracies
from mechxl.data.languages import Lexicon
from mechxl.data.mixture import Mixture
from mechxl.data.tokenization import build_tokenizer
from mechxl.data.transfer import TransferItems, matching_ceiling, transfer_items
from mechxl.data.world import World
from tests.data.settings import FEW, cue_states, said, small_corpus, small_settings

FEW_VALUES = {"n_entities": 10, "n_values": 2, "shared_facts": 0.5}
VALUE = "the value differs between the languages"
PROMPT = "the prompt is a training prompt"
TAG = "the asked language's tag is in no training sentence"
NAME = "the name is in no training sentence"
RELATION = "the relation's word is in no training sentence"
ANSWER = "the value's word is no answer in training"


def by_strings(config: RunConfig, corpus: Corpus, tag: bool) -> tuple[set[tuple[int, int, int]], Counter]:
    """Items (fact, asked, told) and the candidates left out by reason, from the texts of all training sentences."""
    told = corpus.mixture.told.tolist()
    sentences = [
        said(corpus, fact, language, shown)
        for fact, row in enumerate(told)
        for language, is_told in enumerate(row)
        for shown, _ in cue_states(config)
        if is_told
    ]
    prompts = {" ".join(words[:-1]) for words in sentences}
    heard = {word for words in sentences for word in words}
    answers = {words[-1] for words in sentences}
    items, left_out = set(), Counter()
    for fact, row in enumerate(told):
        if sum(row) != 1:
            continue
        home = row.index(True)
        for asked in range(len(row)):
            if asked == home:
                continue
            *prompt, value = said(corpus, fact, asked, tag)
            relation_first = config.languages.word_order == "varied" and asked % 2 == 1
            name, relation = (prompt[-1], prompt[-2]) if relation_first else (prompt[-2], prompt[-1])
            reasons = [
                (VALUE, corpus.world.value[fact, asked] != corpus.world.value[fact, home]),
                (PROMPT, " ".join(prompt) in prompts),
                (TAG, len(prompt) == 3 and prompt[0] not in heard),
                (NAME, name not in heard),
                (RELATION, relation not in heard),
                (ANSWER, value not in answers),
            ]
            first = next((reason for reason, holds in reasons if holds), None)
            if first is None:
                items.add((fact, asked, home))
            else:
                left_out[first] += 1
    return items, left_out


def triples(items: TransferItems) -> list[tuple[int, int, int]]:
    return list(zip(items.fact.tolist(), items.asked.tolist(), items.told.tolist(), strict=True))


@FEW
@given(small_settings())
def test_items_and_those_left_out(raw: dict):
    config, corpus = small_corpus(raw)
    for tag in (True, False):
        items = transfer_items(corpus, tag)
        expected, left_out = by_strings(config, corpus, tag)
        assert sorted(triples(items)) == sorted(expected)
        assert items.left_out == left_out
        assert bool(items.why_none) == (not expected)


@FEW
@given(small_settings(mixture={"parallel_fraction": 0.5}, languages={"shared_names": 0.5}, world=FEW_VALUES))
def test_matching_ceiling_counts_entities_alike_in_their_parallel_facts(raw: dict):
    config, corpus = small_corpus(raw)
    items = transfer_items(corpus)
    known = {entity: set() for entity in range(config.world.n_entities)}
    for fact, row in enumerate(corpus.mixture.told.tolist()):
        if all(row):
            known[int(corpus.world.entity[fact])].add(
                (int(corpus.world.relation[fact]), *corpus.world.value[fact].tolist())
            )
    scores = []
    for fact, asked, home in triples(items):
        entity = int(corpus.world.entity[fact])
        one, other = corpus.lexicon.names[entity, [asked, home]]
        alike = sum(facts == known[entity] for facts in known.values())
        scores.append(1.0 if corpus.lexicon.words[one] == corpus.lexicon.words[other] else 1 / alike)
    assert matching_ceiling(corpus, items) == pytest.approx(
        sum(scores) / len(scores) if scores else np.nan, nan_ok=True
    )


@FEW
@given(small_settings(mixture={"parallel_fraction": 0.5}, languages={"count": 3}))
def test_no_fact_accuracies_are_the_best_guesses(raw: dict):
    _, corpus = small_corpus(raw)
    items = transfer_items(corpus)
    world, weight = corpus.world, corpus.mixture.weight

    def score(relation: int, value: int, languages: list[int]) -> float:
        mass = Counter(dict.fromkeys(range(world.value_probability.shape[1]), 0.0))
        for fact, language in np.argwhere(weight > 0).tolist():
            if world.relation[fact] == relation and language in languages:
                mass[int(world.value[fact, language])] += weight[fact, language]
        best = [v for v, p in mass.items() if p == pytest.approx(max(mass.values()), rel=1e-9)]
        return (value in best) / len(best)

    expected = []
    for fact, asked, home in triples(items):
        relation, value = int(world.relation[fact]), int(world.value[fact, asked])
        expected.append([score(relation, value, languages) for languages in ([0, 1, 2], [asked], [home])])
    got = no_fact_accuracies(corpus, items)
    means = np.mean(expected, axis=0) if expected else [np.nan] * 3
    assert [got.by_relation, got.by_asked, got.by_told] == pytest.approx(list(means), nan_ok=True)


def corpus_of(n_entities: int = 400, n_relations: int = 4, **sections: dict) -> Corpus:
    return build_corpus(parse_config({"world": {"n_entities": n_entities, "n_relations": n_relations}, **sections}))


def test_default_asks_every_mono_fact_in_the_other_language():
    corpus = corpus_of()
    items = transfer_items(corpus)
    mono = np.flatnonzero(corpus.mixture.told.sum(axis=1) == 1).tolist()
    assert (sorted(items.fact.tolist()), items.left_out) == (mono, {})
    assert (items.asked + items.told == 1).all()
    assert matching_ceiling(corpus, items) == 1
    got = no_fact_accuracies(corpus, items)
    assert [got.by_relation, got.by_asked, got.by_told] == pytest.approx([1 / 16] * 3, abs=0.04)


def test_a_reader_of_the_language_scores_0_at_informativeness_1():
    mixture = {"informativeness": 1.0, "parallel_fraction": 0.0}
    corpus = corpus_of(languages={"cue": "tag", "shared_words": 1.0}, mixture=mixture)
    items = transfer_items(corpus)
    got = no_fact_accuracies(corpus, items)
    assert len(items.fact) == 1600
    assert got.by_asked == 0
    assert got.by_told == pytest.approx(1 / 8, abs=0.04)
    assert got.by_relation == pytest.approx(1 / 16, abs=0.03)
    hidden = transfer_items(corpus, tag=False)
    # hidden, the prompt is another one than training's: the tag is always shown there
    assert len(hidden.fact) == 1600


def test_hidden_prompts_that_training_says_are_no_items():
    languages = {"cue": "tag", "cue_dropout": 0.5, "shared_words": 1.0}
    corpus = corpus_of(languages=languages, mixture={"parallel_fraction": 0.0})
    hidden, shown = transfer_items(corpus, tag=False), transfer_items(corpus)
    assert (len(hidden.fact), hidden.left_out) == (0, {PROMPT: 1600})
    assert hidden.why_none == f"no transfer items: 1,600 because {PROMPT}"
    assert (len(shown.fact), shown.left_out) == (1600, {})


@pytest.mark.parametrize(
    ("sections", "left_out"),
    [
        ({"languages": {"cue": "tag", "cue_dropout": 1.0}}, {TAG: 1600}),
        ({"languages": {"shared_names": 0.0}}, {NAME: 1600}),
        ({"mixture": {"language_shares": [1.0, 0.0]}}, {RELATION: 1600}),
        ({"mixture": {"informativeness": 1.0}}, {ANSWER: 1600}),
        ({"languages": {"shared_words": 1.0}}, {PROMPT: 1600}),
    ],
)
def test_each_reason_on_its_own(sections: dict, left_out: dict[str, int]):
    # with no fact parallel, and one relation an entity, so that its name is said in one language only
    mixture = sections.get("mixture", {}) | {"parallel_fraction": 0.0}
    languages = sections.get("languages", {}) | {"name_length": 3}
    corpus = corpus_of(n_entities=1600, n_relations=1, languages=languages, mixture=mixture)
    assert transfer_items(corpus).left_out == left_out


def test_a_word_heard_as_a_name_only_is_no_answer():
    # A: anna likes tea, bert likes milk; B: anna mag anna, bert mag milch. Anna is told in A alone, bert in both.
    words = np.array(["anna", "bert", "likes", "mag", "milch", "milk", "tea"])
    lexicon = Lexicon(
        words=words,
        names=np.array([[0, 0], [1, 1]]),
        relation_words=np.array([[2, 3]]),
        value_words=np.array([[[6, 0], [5, 4]]]),
        tags=np.zeros(0, int),
        relation_first=np.array([False, False]),
        syllable_letters=0,
    )
    two = np.array([0, 1])
    world = World(two, np.zeros(2, int), np.stack([two, two], axis=1), np.full(2, 0.5), np.full((1, 2), 0.5))
    mixture = Mixture(np.array([[True, False], [True, True]]), np.array([[1 / 3, 0], [1 / 3, 1 / 3]]))
    tokenizer = build_tokenizer(TokenizationConfig(kind="word"), words, [], 0)
    assert transfer_items(Corpus(world, lexicon, mixture, tokenizer, 0.0)).left_out == {ANSWER: 1}


def test_values_that_differ_are_left_out_by_that_reason():
    raw = {"world": {"n_entities": 200, "shared_facts": 0.0}, "mixture": {"parallel_fraction": 0.0}}
    corpus = build_corpus(parse_config(raw))
    items = transfer_items(corpus)
    alike = corpus.world.value[:800, 0] == corpus.world.value[:800, 1]
    assert items.fact.tolist() == np.flatnonzero(alike).tolist()
    assert items.left_out == {VALUE: 800 - alike.sum()}


def test_no_mono_fact_is_named_as_the_reason():
    corpus = corpus_of(mixture={"parallel_fraction": 1.0})
    items = transfer_items(corpus)
    assert (len(items.fact), items.left_out) == (0, {})
    assert items.why_none == "no transfer items: no fact is mono"
    assert np.isnan(matching_ceiling(corpus, items))
    got = no_fact_accuracies(corpus, items)
    assert np.isnan([got.by_relation, got.by_asked, got.by_told]).all()


@pytest.mark.parametrize(("parallel", "ceiling"), [(0.0, 1 / 400), (0.98, None)])
def test_matching_ceiling_at_the_ends(parallel: float, ceiling: float | None):
    languages = {"shared_names": 0.0}
    corpus = corpus_of(languages=languages, mixture={"parallel_fraction": parallel})
    fact = np.flatnonzero(corpus.mixture.mono)
    home = corpus.mixture.told[fact].argmax(axis=1)
    got = matching_ceiling(corpus, TransferItems(fact, 1 - home, home, {}))
    if ceiling is None:
        # the three or four parallel values of an entity are nearly its own: 16^3 and 16^4 are many
        assert 0.8 < got <= 1
    else:
        assert got == pytest.approx(ceiling)  # nothing links any of the 400
