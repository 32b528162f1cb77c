"""Pairs of a donor and a receiver, and whose answer, in which language, comes out of a patch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mechxl.data.corpus import Corpus
from mechxl.data.world import stream
from mechxl.instruments.selection import choose_steps
from mechxl.model.evaluation import Questions, answer_trie, ask_questions
from mechxl.refusals import InputError
from mechxl.run import Run

OUTCOMES = (
    "donor's value, receiver's language",
    "donor's value, donor's language",
    "receiver's value, receiver's language",
    "receiver's value, donor's language",
    "other",
)


@dataclass(frozen=True)
class Pairs:
    """Donors and receivers, pair by pair: facts, and the languages that they are told in."""

    donor_fact: Int[np.ndarray, " pair"]
    donor_language: Int[np.ndarray, " pair"]
    fact: Int[np.ndarray, " pair"]
    language: Int[np.ndarray, " pair"]

    def __len__(self) -> int:
        return len(self.fact)


def draw_pairs(
    run: Run, n: int, *, donor: int, receiver: int, step: int = -1, group: str = "mono", seed: int = 0
) -> tuple[Pairs, float]:
    """Pairs of one relation and different values, both answered rightly as they are, and the share that was kept.

    Donors and receivers are tellings of the group: each fact in a language that training tells it in.

    Args:
        run: whose model answers.
        n: pairs at most; seeded.
        donor: the donors' language.
        receiver: the receivers' language.
        step: of the checkpoint.
        group: mono or parallel.
        seed: of the draw.

    Raises:
        InputError: there is no such pair.
    """
    corpus, (step,) = run.corpus, choose_steps(run, step)
    world, told, of = corpus.world, corpus.mixture.told, corpus.mixture.group == group
    rng = stream(seed, f"pairs {group} {donor} {receiver}")
    donors, receivers = (np.flatnonzero(of & told[:, language]) for language in (donor, receiver))
    found: list[tuple[int, int]] = []
    for r in range(world.n_relations):
        here, there = (facts[world.relation[facts] == r] for facts in (donors, receivers))
        if len(here) and len(there):
            drawn = rng.integers(0, [[len(here)], [len(there)]], (2, 8 * n))
            found += zip(here[drawn[0]].tolist(), there[drawn[1]].tolist(), strict=True)
    drawn = np.array(found, dtype=int).reshape(-1, 2)
    different = world.value[drawn[:, 0]][:, [donor, receiver]] != world.value[drawn[:, 1]][:, [donor, receiver]]
    drawn = np.unique(drawn[different.all(axis=1)], axis=0)
    drawn = rng.permutation(drawn)[: 4 * n]
    model, trie = run.model(step), answer_trie(corpus)
    right = np.ones(len(drawn), dtype=bool)
    for column, language in enumerate((donor, receiver)):
        asked = Questions.of(corpus, drawn[:, column], np.full(len(drawn), language))
        right &= ask_questions(model, asked, trie).right
    if not right.any():
        names = corpus.lexicon.language_names
        raise InputError(
            f"{run.path}, step {step}: no pair of {group} facts, donor in {names[donor]}, receiver in "
            f"{names[receiver]}, with one relation, different values and both answers right (of {len(drawn)} drawn); "
            "take a later step or another group"
        )
    kept = drawn[right][:n]
    languages = (np.full(len(kept), language) for language in (donor, receiver))
    donor_language, language = languages
    return Pairs(kept[:, 0], donor_language, kept[:, 1], language), float(right.mean())


def outcomes(corpus: Corpus, pairs: Pairs, word: Int[np.ndarray, "place pair"]) -> Int[np.ndarray, "place pair"]:
    """Whose value in whose language each answer is, as an index into OUTCOMES; where words coincide, the first."""
    world, words = corpus.world, corpus.lexicon.value_words
    relation = world.relation[pairs.fact]
    cells = []
    for fact in (pairs.donor_fact, pairs.fact):
        for language in (pairs.language, pairs.donor_language):
            cells.append(word == words[relation, world.value[fact, language], language])
    return np.select([word < 0, *cells], [4, 0, 1, 2, 3], 4)
