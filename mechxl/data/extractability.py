"""How certainly and how easily a reader can tell the language of a prompt, from the prompt's tokens alone.

Every fact counts equally in every language, told or not, so that the mixture has no influence. The tag is left out with
its probability. Positions count the prompt's tokens after BOS.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechxl.data.corpus import Corpus, crossed
from mechxl.data.information import BITS, entropy, joint, mutual_information
from mechxl.random import generator

MOST_ENTITIES_CODED = 5000


@dataclass(frozen=True)
class Extractability:
    """What a prompt's tokens say about its language.

    Attributes:
        language_bits: H(language).
        position_bits: information in each position by itself.
        prefix_bits: information in the first k tokens, k = 1, 2, ...
        one_language_types: share of the distinct prompt tokens that occur in one language only.
        one_language_tokens: share of the prompts' tokens that are such tokens.
        code_length: prequential code length of the bag-of-tokens classifier, in bits per prompt.
        coded_entities: number of entities that the code length is computed on.
        entities: number of entities of the world, without the unseen ones.
    """

    language_bits: float
    position_bits: list[float]
    prefix_bits: list[float]
    one_language_types: float
    one_language_tokens: float
    code_length: float
    coded_entities: int
    entities: int


@dataclass(frozen=True)
class RenderedPrompts:
    """All facts as prompts in every language and cue state.

    Attributes:
        tokens: the prompt without BOS, padded with -1.
        language: its language.
        entity: its fact's entity.
        probability: sums to 1; prompts in a cue state share the state's probability.
        renderings: facts times languages: the number of prompts in each cue state.
    """

    tokens: Int[np.ndarray, "prompt position"]
    language: Int[np.ndarray, " prompt"]
    entity: Int[np.ndarray, " prompt"]
    probability: Float[np.ndarray, " prompt"]
    renderings: int


def all_prompts(corpus: Corpus) -> RenderedPrompts:
    """Every fact in every language and cue state; BOS is dropped, the rest padded with -1.

    Facts that some language lacks words for are left out, so that every fact counts in every language.
    """
    world = corpus.world
    fact, language = crossed(np.flatnonzero(world.seen & world.complete), world.n_languages)
    parts = [corpus.sequences(fact, language, tag).prompts()[:, 1:] for tag, _ in corpus.cue_states]
    width = max(part.shape[1] for part in parts)
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts]
    n = len(parts)
    return RenderedPrompts(
        tokens=np.concatenate(padded),
        language=np.tile(language, n),
        entity=np.tile(corpus.world.entity[fact], n),
        probability=np.concatenate([np.full(len(fact), p / len(fact)) for _, p in corpus.cue_states]),
        renderings=len(fact),
    )


def extractability(corpus: Corpus, seed: int) -> Extractability:
    """All measures of how easily a reader can tell the language from a prompt."""
    prompts = all_prompts(corpus)
    tokens, language, p = prompts.tokens, prompts.language, prompts.probability
    everywhere = np.zeros(len(p), dtype=int)
    positions = range(tokens.shape[1])
    position_bits = [mutual_information(language, tokens[:, k], everywhere, p) * BITS for k in positions]
    prefix_bits, prefix = [], everywhere
    for k in positions:
        prefix = joint(prefix, tokens[:, k])
        prefix_bits.append(mutual_information(language, prefix, everywhere, p) * BITS)

    row, place = np.nonzero(tokens >= 0)
    mass = np.zeros((tokens.max() + 1, corpus.world.n_languages))
    np.add.at(mass, (tokens[row, place], language[row]), p[row])
    used, own = mass.sum(axis=1) > 0, (mass > 0).sum(axis=1) == 1
    code_length, coded = prequential_code_length(prompts, corpus.tokenizer.get_vocab_size(), seed)
    return Extractability(
        language_bits=entropy(language, p) * BITS,
        position_bits=position_bits,
        prefix_bits=prefix_bits,
        one_language_types=float(own.sum() / used.sum()),
        one_language_tokens=float(mass[own].sum() / mass.sum()),
        code_length=code_length,
        coded_entities=coded,
        entities=len(np.unique(prompts.entity)),
    )


def prequential_code_length(prompts: RenderedPrompts, vocabulary: int, seed: int) -> tuple[float, int]:
    """Code length, in bits per prompt, of an online multinomial naive Bayes classifier over bags of tokens.

    Counts start at 1/2. Entities come in seeded order, at most 5,000 of them; all prompts of an entity are coded before
    the classifier learns them. Languages are equally likely a priori, as they are among the prompts. A prompt in a cue
    state counts by that state's probability, both in the code and in what is learned.

    Returns:
        The code length, and the number of entities coded.
    """
    entities = np.unique(prompts.entity)
    order = generator(seed, "order of entities coded").permutation(entities)[:MOST_ENTITIES_CODED]
    count = int(prompts.language.max()) + 1
    by_entity = np.argsort(prompts.entity, kind="stable")
    starts = np.searchsorted(prompts.entity[by_entity], [order, order + 1])
    learned = np.full((vocabulary, count), 0.5)
    totals = learned.sum(axis=0)
    weight = prompts.probability * prompts.renderings
    bits = mass = 0.0
    for start, stop in starts.T:
        rows = by_entity[start:stop]
        tokens, language, w = prompts.tokens[rows], prompts.language[rows], weight[rows]
        present = tokens >= 0
        log_likelihood = np.where(present[:, :, None], np.log(learned[tokens] / totals), 0.0).sum(axis=1)
        log_likelihood -= log_likelihood.max(axis=1, keepdims=True)
        log_evidence = np.log(np.exp(log_likelihood).sum(axis=1))
        bits += float((w * (log_evidence - log_likelihood[np.arange(len(rows)), language])).sum()) * BITS
        mass += float(w.sum())
        row, place = np.nonzero(present)
        np.add.at(learned, (tokens[row, place], language[row]), w[row])
        np.add.at(totals, language[row], w[row])
    return bits / mass, len(order)
