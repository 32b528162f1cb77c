"""What is known before training, computed exactly from the finite distribution of tellings.

This is the distribution that training draws from: tellings by weight, with the tag left out with its probability.
`told_distribution` lists its atoms; all other quantities are entropies of their columns.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.config import TrainingConfig
from mechxl.data.corpus import Corpus
from mechxl.random import generator

BITS = 1 / math.log(2)


@dataclass(frozen=True)
class Told:
    """The distribution of tellings in their cue states, one atom for each.

    Attributes:
        probability: sums to 1.
        fact: the fact told.
        language: the language it is told in.
        relation: the relation R.
        value: the value V, numbered within its relation.
        answer: the answer string A, as a word index.
        readers: S(prompt), the set of languages in which some fact has this prompt, as a bit mask.
    """

    probability: Float[np.ndarray, " atom"]
    fact: Int[np.ndarray, " atom"]
    language: Int[np.ndarray, " atom"]
    relation: Int[np.ndarray, " atom"]
    value: Int[np.ndarray, " atom"]
    answer: Int[np.ndarray, " atom"]
    readers: Int[np.ndarray, " atom"]


def told_distribution(corpus: Corpus) -> Told:
    """Every telling in every cue state of positive probability."""
    fact, language = corpus.tellings
    states = corpus.cue_states
    readers = [prompt_readers(corpus, tag)[fact, language] for tag, _ in states]
    weight = corpus.mixture.weight[fact, language]
    n = len(states)
    return Told(
        probability=np.concatenate([p * weight for _, p in states]),
        fact=np.tile(fact, n),
        language=np.tile(language, n),
        relation=np.tile(corpus.world.relation[fact], n),
        value=np.tile(corpus.world.value[fact, language], n),
        answer=np.tile(corpus.words_of(fact, language, tag=False)[:, 3], n),
        readers=np.concatenate(readers),
    )


def prompt_readers(corpus: Corpus, tag: bool) -> Int[np.ndarray, "fact language"]:
    """S(prompt) of every fact in every language: the languages in which some fact has this prompt, as a bit mask."""
    n_facts, count = corpus.world.value.shape
    fact, language = np.divmod(np.arange(n_facts * count), count)
    _, prompt = np.unique(corpus.prompt_keys(fact, language, tag), return_inverse=True)
    masks = np.zeros(prompt.max() + 1, dtype=int)
    np.bitwise_or.at(masks, prompt, 1 << language)
    return masks[prompt].reshape(n_facts, count)


def joint(*columns: Int[np.ndarray, " atom"]) -> Int[np.ndarray, " atom"]:
    """One column of labels 0 .. k - 1; two labels are equal if all the given columns are equal there."""
    label = np.zeros(len(columns[0]), dtype=int)
    for column in columns:
        _, index = np.unique(column, return_inverse=True)
        _, label = np.unique(label * (index.max(initial=0) + 1) + index, return_inverse=True)
    return label


def entropy(label: Int[np.ndarray, " atom"], probability: Float[np.ndarray, " atom"]) -> float:
    """H of a column of labels, in nats."""
    p = np.bincount(label, weights=probability)
    p = p[p > 0] / probability.sum()
    return float(-(p * np.log(p)).sum()) + 0.0


def conditional_entropy(
    target: Int[np.ndarray, " atom"], given: Int[np.ndarray, " atom"], probability: Float[np.ndarray, " atom"]
) -> float:
    """H(target | given), in nats."""
    return entropy(joint(target, given), probability) - entropy(joint(given), probability)


def mutual_information(
    one: Int[np.ndarray, " atom"],
    other: Int[np.ndarray, " atom"],
    given: Int[np.ndarray, " atom"],
    probability: Float[np.ndarray, " atom"],
) -> float:
    """I(one; other | given), in nats; never below 0."""
    information = conditional_entropy(one, given, probability) - conditional_entropy(
        one, joint(other, given), probability
    )
    return float(max(information, 0.0))


@dataclass(frozen=True)
class Informativeness:
    """I(value; language | relation) in bits, and its mean if languages are shuffled.

    Attributes:
        bits: the information, over the chosen tellings.
        shuffled: its mean over `shuffles` permutations of the mono facts' languages within their relation.
        tellings: number of tellings.
        shuffles: number of permutations.
    """

    bits: float
    shuffled: float
    tellings: int
    shuffles: int


def informativeness(corpus: Corpus, seed: int, mono_only: bool, shuffles: int = 100) -> Informativeness:
    """How much the language of a telling says about its value, given the relation.

    The shuffle permutes the languages of mono facts within a relation; values, frequencies and parallel tellings stay.
    NaN if there are no such tellings.

    Args:
        corpus: the tellings and their weights.
        seed: of the shuffles.
        mono_only: whether to use the tellings of mono facts only.
        shuffles: number of shuffles.
    """
    n_languages = corpus.world.n_languages
    fact, language = corpus.tellings
    is_mono = corpus.mixture.mono[fact]
    if mono_only:
        fact, language, is_mono = fact[is_mono], language[is_mono], is_mono[is_mono]
    if not len(fact):
        return Informativeness(float("nan"), float("nan"), 0, shuffles)
    weight = corpus.mixture.weight[fact, language]
    value, relation = corpus.world.value[fact, language], corpus.world.relation[fact]
    cell = joint(value, relation)
    relation_of_cell = np.zeros(cell.max() + 1, dtype=int)
    relation_of_cell[cell] = relation

    def bits(languages: Int[np.ndarray, " telling"]) -> float:
        table = np.bincount(
            cell * n_languages + languages, weights=weight, minlength=len(relation_of_cell) * n_languages
        )
        table = table.reshape(-1, n_languages) / weight.sum()
        by_relation = np.zeros((corpus.world.n_relations, n_languages))
        np.add.at(by_relation, relation_of_cell, table)
        h = [_plogp(table), _plogp(by_relation), _plogp(table.sum(axis=1)), _plogp(by_relation.sum(axis=1))]
        return float(max((h[0] - h[1] - h[2] + h[3]) * BITS, 0.0))

    rng = generator(seed, "shuffled languages")
    null = []
    for _ in range(shuffles):
        mixed = language.copy()
        for r in np.unique(relation):
            rows = np.flatnonzero(is_mono & (relation == r))
            mixed[rows] = language[rng.permutation(rows)]
        null.append(bits(mixed))
    return Informativeness(bits(language), float(np.mean(null)), len(fact), shuffles)


def _plogp(p: Float[np.ndarray, "..."]) -> float:
    """Sum of p log p over positive entries."""
    positive = p[p > 0]
    return float((positive * np.log(positive)).sum())


@dataclass(frozen=True)
class NoKnowledgeLosses:
    """The losses, in nats an answer, of models that know no fact.

    Attributes:
        answer: H(A), over answer strings.
        given_relation: H(A | R).
        given_readers: H(A | R, S), of a model that reads the relation, and what the prompt shows of the language.
        concept: H(V | R), over values instead of strings.
    """

    answer: float
    given_relation: float
    given_readers: float
    concept: float


def no_knowledge_losses(told: Told) -> NoKnowledgeLosses:
    """Entropies of the answer under the distribution of tellings."""
    p, relation = told.probability, told.relation
    return NoKnowledgeLosses(
        answer=entropy(joint(told.answer), p),
        given_relation=conditional_entropy(told.answer, relation, p),
        given_readers=conditional_entropy(told.answer, joint(relation, told.readers), p),
        concept=conditional_entropy(told.value, relation, p),
    )


def least_loss(corpus: Corpus) -> float:
    """The loss, in nats an answer, of a model that knows all facts: H(A | prompt) over tellings in their cue states.

    0 unless a prompt that training shows has several answers: where nothing in it says the language, and the answer
    differs between languages.
    """
    fact, language = corpus.tellings
    weight = corpus.mixture.weight[fact, language]
    answer = corpus.words_of(fact, language, tag=False)[:, 3]
    keys = np.concatenate([corpus.prompt_keys(fact, language, tag) for tag, _ in corpus.cue_states])
    _, prompt = np.unique(keys, return_inverse=True)
    states = len(corpus.cue_states)
    probability = np.concatenate([p * weight for _, p in corpus.cue_states])
    return max(conditional_entropy(np.tile(answer, states), prompt, probability), 0.0)


@dataclass(frozen=True)
class Visits:
    """Expected number of draws in a training.

    Attributes:
        mono: of a mono fact; NaN if there is none.
        parallel: of a parallel fact, all its tellings together; NaN if there is none.
        parallel_telling: of one telling of a parallel fact.
    """

    mono: float
    parallel: float
    parallel_telling: float


def draws_by_group(corpus: Corpus, training: TrainingConfig, step: int) -> tuple[float, float]:
    """To how many draws of all tellings the first `step` updates come: for mono facts, and for parallel ones."""
    both = min(step, training.late_step) if training.late_facts == "mono" else step
    alone = step - both
    share = float(corpus.mixture.weight[corpus.mixture.mono].sum()) if alone else 1.0
    return training.batch_size * (both + alone / share), float(training.batch_size * both)


def mean_visits(corpus: Corpus, draws: int | float) -> Visits:
    """How often `draws` draws with replacement visit a mono and a parallel fact, on average over such facts."""
    visits = draws * corpus.mixture.weight.sum(axis=1)

    def mean(facts: Bool[np.ndarray, " fact"]) -> float:
        return float(visits[facts].mean()) if facts.any() else float("nan")

    parallel = mean(corpus.mixture.parallel)
    return Visits(mean(corpus.mixture.mono), parallel, parallel / corpus.world.n_languages)
