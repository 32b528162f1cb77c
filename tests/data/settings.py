"""Random small settings, and a plain renderer of sentences: what the tests of the data compare the code with."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import Corpus, build_corpus

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
FEW = settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
KINDS = ["word", "syllable", "character", "byte", "bpe"]


@st.composite
def small_settings(draw: st.DrawFn, **fixed: dict[str, Any]) -> dict[str, Any]:
    """Settings of a small corpus; `fixed` sets fields of a section, as in `small_settings(languages={"count": 2})`.

    Plain values: the type checks of mechxl's own functions use `random`, which Hypothesis forbids inside strategies.
    """
    some = st.sampled_from([0.0, 0.5, 1.0])
    shape = st.sampled_from(["uniform", "zipf"])
    count = fixed.get("languages", {}).get("count") or draw(st.sampled_from([2, 2, 3, 4, 8]))
    weights = draw(st.one_of(st.just([]), st.lists(st.integers(0, 5), min_size=count, max_size=count).filter(any)))
    name_length, word_length = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 2]))
    unit = fixed.get("mixture", {}).get("unit") or draw(st.sampled_from(["fact", "fact", "entity"]))
    cue = fixed.get("languages", {}).get("cue") or draw(st.sampled_from(["none", "tag"]))
    raw: dict[str, Any] = {
        "seed": draw(st.integers(0, 10**6)),
        "world": {
            "n_entities": draw(st.integers(2, 10)),
            "n_relations": draw(st.integers(1, 3)),
            "n_values": draw(st.integers(2, 5)),
            "n_unseen": draw(st.sampled_from([0, 0, 1, 3])),
            "shared_facts": draw(some),
            "value_distribution": draw(shape),
            "frequency": draw(shape),
            "zipf_exponent": draw(st.sampled_from([0.5, 1.0, 2.0])),
        },
        "languages": {
            "count": count,
            "name_syllables": draw(st.integers(14, 36) if name_length == 1 else st.integers(4, 10)),
            "name_length": name_length,
            "word_syllables": draw(st.integers(20, 96) if word_length == 1 else st.integers(5, 10)),
            "word_length": word_length,
            "shared_names": draw(some),
            "shared_words": draw(some),
            "word_order": draw(st.sampled_from(["same", "varied"])),
            "script": draw(st.sampled_from(["shared", "distinct"])),
            "cue": cue,
            "cue_dropout": draw(st.sampled_from([0.0, 0.3, 1.0])) if cue == "tag" else 0.0,
        },
        "mixture": {
            "parallel_fraction": draw(st.one_of(some, st.floats(0, 1))),
            "informativeness": draw(st.one_of(some, st.floats(0, 1))) if unit == "fact" else 0.0,
            "language_shares": [weight / sum(weights) for weight in weights],
            "unit": unit,
            "exposure": draw(st.sampled_from(["per_telling", "per_fact"])),
        },
        "tokenization": {"kind": draw(st.sampled_from(KINDS)), "vocab_size": draw(st.integers(4, 200))},
    }
    for section, values in fixed.items():
        raw[section] |= values
    return raw


def small_corpus(raw: dict[str, Any]) -> tuple[RunConfig, Corpus]:
    """The settings and their corpus; the vocabulary of a BPE is brought into what its words allow."""
    config = parse_config(raw)
    if config.tokenization.kind == "bpe":
        words = build_corpus(parse_config(raw | {"tokenization": {"kind": "word"}})).lexicon.words.tolist()
        # every word ends as a token of its own, so that as many merges as words can be reached
        size = smallest_vocabulary(words) + config.tokenization.vocab_size % len(words)
        config = parse_config(raw | {"tokenization": {"kind": "bpe", "vocab_size": size}})
    return config, build_corpus(config)


def smallest_vocabulary(words: list[str]) -> int:
    """Tokens of a BPE without merges: 3 special ones, each letter, and each letter that continues a word, marked ##."""
    return 3 + len(set("".join(words))) + len({letter for word in words for letter in word[1:]})


def said(corpus: Corpus, fact: int, language: int, tag: bool = True) -> list[str]:
    """The words of a fact in a language, looked up one by one; an unseen entity's fact has no value's word."""
    world, lexicon = corpus.world, corpus.lexicon
    relation, value = world.relation[fact], world.value[fact, language]
    indices = [lexicon.names[world.entity[fact], language], lexicon.relation_words[relation, language]]
    if lexicon.relation_first[language]:
        indices.reverse()
    if tag and len(lexicon.tags):
        indices.insert(0, lexicon.tags[language])
    if value >= 0:
        indices.append(lexicon.value_words[relation, value, language])
    return [str(lexicon.words[index]) for index in indices]


def cue_states(config: RunConfig) -> list[tuple[bool, float]]:
    """(tag shown, probability) of the forms that training shows, those of probability 0 left out."""
    if config.languages.cue == "none":
        return [(False, 1.0)]
    dropout = config.languages.cue_dropout
    return [state for state in ((True, 1 - dropout), (False, dropout)) if state[1] > 0]
