"""How readable the language is, against a slow implementation in plain dictionaries."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise, permutations
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.extractability import Extractability, extractability
from tests.data.settings import FEW, cue_states, said, small_corpus, small_settings

FOUR = {"n_entities": 4, "n_unseen": 1}
Prompt = tuple[float, int, int, tuple[int, ...]]  # probability, entity, language, tokens


def prompts_of(config: RunConfig, corpus: Corpus) -> list[Prompt]:
    """Every seen fact in every language and cue state, all languages and facts alike; tokens from the text."""
    count, facts = config.languages.count, config.world.n_entities * config.world.n_relations
    return [
        (
            state / (count * facts),
            int(corpus.world.entity[fact]),
            language,
            tuple(corpus.tokenizer.encode(" ".join(said(corpus, fact, language, shown)[:-1])).ids[1:]),
        )
        for fact in range(facts)
        for language in range(count)
        for shown, state in cue_states(config)
    ]


def information(pairs: Iterable[tuple[float, int, object]]) -> float:
    """I(language; x) in bits of (probability, language, x)."""
    joint, one, other = defaultdict(float), defaultdict(float), defaultdict(float)
    for p, language, x in pairs:
        joint[language, x] += p
        one[language] += p
        other[x] += p
    return sum(p * log2(p / (one[language] * other[x])) for (language, x), p in joint.items())


def code_length(prompts: list[Prompt], order: tuple[int, ...], vocabulary: int, languages: int, unit: float) -> float:
    """Bits a prompt of multinomial naive Bayes with add 1/2, an entity's renderings coded before they are learned.

    A prompt counts as many times as its cue state's probability says (`unit`: the probability of one rendering).
    """
    counts: list[dict[int, float]] = [defaultdict(lambda: 0.5) for _ in range(languages)]
    totals = [0.5 * vocabulary] * languages
    bits = mass = 0.0
    for entity in order:
        mine = [prompt for prompt in prompts if prompt[1] == entity]
        for p, _, language, tokens in mine:
            likelihood = [1.0] * languages
            for token in tokens:
                for a in range(languages):
                    likelihood[a] *= counts[a][token] / totals[a]
            bits -= p * log2(likelihood[language] / sum(likelihood))
            mass += p
        for p, _, language, tokens in mine:
            for token in tokens:
                counts[language][token] += p / unit
                totals[language] += p / unit
    return bits / mass


@FEW
@given(small_settings())
def test_bits_of_positions_and_prefixes(raw: dict):
    config, corpus = small_corpus(raw)
    prompts = prompts_of(config, corpus)
    found = extractability(corpus, seed=0)
    longest = max(len(tokens) for *_, tokens in prompts)
    at = [[(p, a, tokens[k] if k < len(tokens) else None) for p, _, a, tokens in prompts] for k in range(longest)]
    first = [[(p, a, tokens[: k + 1]) for p, _, a, tokens in prompts] for k in range(longest)]
    assert found.language_bits == pytest.approx(log2(config.languages.count))
    assert found.position_bits == pytest.approx([information(pairs) for pairs in at], abs=1e-9)
    # a prompt that has ended is told from one that goes on
    ended = [[(p, a, (x, len(x) <= k)) for p, a, x in pairs] for k, pairs in enumerate(first)]
    assert found.prefix_bits == pytest.approx([information(pairs) for pairs in ended], abs=1e-9)
    assert all(b >= a - 1e-9 for a, b in pairwise(found.prefix_bits))
    assert found.prefix_bits[-1] <= found.language_bits + 1e-9


@FEW
@given(small_settings())
def test_tokens_of_one_language(raw: dict):
    config, corpus = small_corpus(raw)
    heard, mass = defaultdict(set), defaultdict(float)
    for p, _, language, tokens in prompts_of(config, corpus):
        for token in tokens:
            heard[token].add(language)
            mass[token] += p
    own = [token for token, languages in heard.items() if len(languages) == 1]
    found = extractability(corpus, seed=0)
    assert found.one_language_types == pytest.approx(len(own) / len(heard))
    assert found.one_language_tokens == pytest.approx(sum(mass[token] for token in own) / sum(mass.values()))


@FEW
@given(st.one_of(small_settings(world=FOUR), small_settings(world=FOUR, tokenization={"kind": "bpe"})))
def test_code_length_is_that_of_some_order_of_the_entities(raw: dict):
    config, corpus = small_corpus(raw)
    prompts = prompts_of(config, corpus)
    count, vocabulary = config.languages.count, corpus.tokenizer.get_vocab_size()
    unit = 1 / (count * 4 * config.world.n_relations)
    found = extractability(corpus, seed=0)
    orders = [code_length(prompts, order, vocabulary, count, unit) for order in permutations(range(4))]
    assert min(abs(found.code_length - bits) for bits in orders) < 1e-9
    assert (found.coded_entities, found.entities) == (4, 4)


def extractability_of(world: dict | None = None, kind: str = "syllable", **languages) -> Extractability:
    raw = {"world": {"n_entities": 200} | (world or {}), "languages": languages, "tokenization": {"kind": kind}}
    return extractability(build_corpus(parse_config(raw)), seed=0)


@pytest.mark.parametrize("kind", ["word", "syllable"])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_shown_tag_says_all_at_the_first_position(kind: str, count: int):
    found = extractability_of(kind=kind, count=count, cue="tag", shared_words=1.0)
    assert found.position_bits[0] == pytest.approx(log2(count))
    assert found.position_bits[1:] == pytest.approx([0] * (len(found.position_bits) - 1), abs=1e-9)
    assert found.prefix_bits == pytest.approx([log2(count)] * len(found.prefix_bits))


def test_a_tag_left_out_half_of_the_time_says_half():
    found = extractability_of(cue="tag", cue_dropout=0.5, shared_words=1.0)
    assert found.position_bits[0] == pytest.approx(0.5)
    assert found.prefix_bits[-1] == pytest.approx(0.5)


def test_nothing_to_read_costs_a_whole_code():
    found = extractability_of(count=4, shared_words=1.0)
    assert found.code_length == pytest.approx(2)
    assert max(found.position_bits) == pytest.approx(0, abs=1e-9)
    assert (found.one_language_types, found.one_language_tokens) == (0, 0)


def test_default_shows_the_language_at_the_relation():
    found = extractability_of()
    # name of two tokens, shared, then the relation's word
    assert found.position_bits == pytest.approx([0, 0, 1], abs=1e-9)
    assert found.one_language_tokens == pytest.approx(1 / 3)
    assert 0 < found.code_length < 0.2
    apart = extractability_of(shared_names=0.0)
    assert apart.position_bits == pytest.approx([1, 1, 1])
    assert (apart.one_language_types, apart.one_language_tokens) == pytest.approx((1, 1))


def test_the_code_is_cheaper_where_the_language_is_plainer():
    hidden, dropped, shown = (
        extractability_of(cue="tag", shared_words=1.0, cue_dropout=dropout).code_length for dropout in (1.0, 0.5, 0.0)
    )
    assert hidden == pytest.approx(1)
    assert 0.5 < dropped < 0.6
    assert 0 < shown < 0.1


def test_code_length_is_taken_over_5000_entities_at_most():
    world = {"n_entities": 5003, "n_relations": 1, "n_values": 2}
    found = extractability_of(world, kind="word", name_length=3)
    assert (found.coded_entities, found.entities) == (5000, 5003)
