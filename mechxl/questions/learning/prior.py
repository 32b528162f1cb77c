"""The model's prior: what it answers about unseen entities, against the marginals of the answers that training has.

Unseen entities are in no training sentence, so that their answers show what the model knows apart from all facts: P(A
| R), or P(A | R, S) if it also reads which languages the prompt can be in. The loss alone can't tell plateaus that lie
2 % apart.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from mechxl.data.corpus import Corpus, crossed
from mechxl.data.information import Told, prompt_readers
from mechxl.measures.statistics import EntityBootstrap
from mechxl.model.answers import Questions, answer_log_probs
from mechxl.random import generator

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer


@dataclass(frozen=True)
class Prior:
    """Prompts of unseen entities with the marginals of their answers.

    Attributes:
        questions: the prompts.
        words: candidate answers of each prompt's relation, -1 padded.
        given_relation: P(A | R) over the candidates.
        given_readers: P(A | R, S) over the candidates; NaN where training has no telling with this S.
    """

    questions: Questions
    words: Int[np.ndarray, "question candidate"]
    given_relation: Float[np.ndarray, "question candidate"]
    given_readers: Float[np.ndarray, "question candidate"]


def unseen_prior(corpus: Corpus, distribution: Told, most: int | None) -> Prior:
    """Prompts of unseen entities in every language (tag shown), with P(A | R) and P(A | R, S) of the tellings.

    Args:
        corpus: what training tells.
        distribution: of its tellings.
        most: unseen entities at most, a seeded sample; None: all.
    """
    unseen = np.flatnonzero(~corpus.world.seen)
    entities = np.unique(corpus.world.entity[unseen])
    if most is not None and len(entities) > most:
        entities = generator(0, "unseen entities asked").permutation(entities)[:most]
    fact, language = crossed(unseen[np.isin(corpus.world.entity[unseen], entities)], corpus.world.n_languages)
    readers = prompt_readers(corpus, tag=True)[fact, language]
    relation = corpus.world.relation[fact]
    answers = [np.unique(distribution.answer[distribution.relation == r]) for r in range(corpus.world.n_relations)]
    words = np.full((len(fact), max(len(a) for a in answers)), -1)
    by_relation, by_readers = np.zeros(words.shape), np.full(words.shape, np.nan)
    for r, s in sorted(set(zip(relation.tolist(), readers.tolist(), strict=True))):
        asked = (relation == r) & (readers == s)
        count = len(answers[r])
        words[asked, :count] = answers[r]
        of_relation = distribution.relation == r
        of_readers = of_relation & (distribution.readers == s)
        for table, mask in ((by_relation, of_relation), (by_readers, of_readers)):
            mass = np.bincount(
                np.searchsorted(answers[r], distribution.answer[mask]),
                weights=distribution.probability[mask],
                minlength=count,
            )
            table[asked] = 0.0 if mass.sum() > 0 else np.nan
            table[asked, :count] = mass / mass.sum() if mass.sum() > 0 else np.nan
    return Prior(Questions.of(corpus, fact, language), words, by_relation, by_readers)


def divergences(model: "HookedTransformer", prior: Prior, bootstrap: EntityBootstrap) -> dict[str, float | str | int]:
    """Mean KL(P || model), in nats, for both marginals, with intervals over unseen entities."""
    row: dict[str, float | str | int] = {"reason": ""}
    questions = prior.questions
    log_q = answer_log_probs(model, questions, prior.words) if len(questions) else np.zeros(prior.words.shape)
    for name, p in (("given_relation", prior.given_relation), ("given_readers", prior.given_readers)):
        known = ~np.isnan(p).any(axis=1)
        row[f"{name}_n"] = int(known.sum())
        if not known.any():
            row |= {name: np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
            row["reason"] = "training never shows such prompts" if len(questions) else "no unseen entities"
            continue
        kl = np.where(p[known] > 0, p[known] * (np.log(np.where(p[known] > 0, p[known], 1)) - log_q[known]), 0).sum(
            axis=1
        )
        mean, low, high = bootstrap.mean(kl, questions.corpus.world.entity[questions.fact][known])
        row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return row
