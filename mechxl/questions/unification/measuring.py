"""What the question `unification` takes of one group of facts, at one checkpoint and layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.data.corpus import Corpus, crossed
from mechxl.data.transfer import transfer_items
from mechxl.measures.anisotropy import anisotropy
from mechxl.measures.auc import auc
from mechxl.measures.by_fact import score_by_fact
from mechxl.measures.checkerboard import checkerboard
from mechxl.measures.cka import cka
from mechxl.measures.controls import controls
from mechxl.measures.measured import Measured, not_measured
from mechxl.measures.procrustes import draw_split, procrustes
from mechxl.measures.retrieval import retrieval
from mechxl.measures.sample import Partners, Sample, draw_sample, entity_permutations
from mechxl.measures.score import score
from mechxl.measures.vectors import centre, undefined, unit
from mechxl.random import generator

DRAWS = 1000
PERMUTATIONS = 1000
FEW_PERMUTATIONS = 200  # of the measures that cost more
MOST_ENTITIES = 1000
FEW_ENTITIES = (
    300  # of the measures that cost more; half of them have a mono fact in a relation, which Procrustes needs
)

VARIANTS = (
    ("mono", "whole"),
    ("mono", "per_language"),
    ("mono", "none"),
    ("parallel", "whole"),
    ("unseen", "whole"),
)
CHEAP = ("S", "W", "X", "score", "alignment", "separation", "normalised", "retrieval", "mexa")
COSTLY = ("cka", "procrustes", "checkerboard")
SMALL_IS_CLOSE = ("procrustes",)


@dataclass(frozen=True)
class Group:
    """Facts measured together, with the random draws that every layer and checkpoint shares.

    Attributes:
        facts: which facts.
        sample: all of them.
        few: places of the facts that the costly measures take.
        few_sample: these.
        split: which of these are fitted on (`procrustes.draw_split`).
        one_token: whether in some language all prompts of a relation end in one token.
    """

    facts: Int[np.ndarray, " fact"]
    sample: Sample
    few: Int[np.ndarray, " few"]
    few_sample: Sample
    split: Any
    one_token: bool


def groups(corpus: Corpus, thorough: bool) -> dict[str, Group]:
    """The mono, parallel and unseen facts that there are; thorough: all of them, else those of some entities."""
    names = ("mono", "parallel", "unseen")
    chosen = {name: np.flatnonzero(corpus.mixture.group == name) for name in names}
    return {name: _group(corpus, facts, thorough) for name, facts in chosen.items() if len(facts)}


def _group(corpus: Corpus, facts: Int[np.ndarray, " fact"], thorough: bool) -> Group:
    world = corpus.world
    if not thorough:
        facts = facts[_of_entities(world.entity[facts], MOST_ENTITIES)]
    few = np.arange(len(facts)) if thorough else np.flatnonzero(_of_entities(world.entity[facts], FEW_ENTITIES))
    samples = []
    for part, draws, permutations in ((facts, DRAWS, PERMUTATIONS), (facts[few], 0, FEW_PERMUTATIONS)):
        value = world.value[part]
        told = value if (value >= 0).all() else None
        drawn = generator(0, "unification")
        sizes = {"draws": draws, "permutations": permutations}
        samples.append(
            draw_sample(world.relation[part], world.entity[part], world.n_languages, drawn, value=told, **sizes)
        )
    return Group(
        facts, samples[0], few, samples[1], draw_split(samples[1], generator(0, "split")), _one_token(corpus, facts)
    )


def _of_entities(entity: Int[np.ndarray, " fact"], most: int) -> Bool[np.ndarray, " fact"]:
    """Which facts are of a seeded sample of entities."""
    kept = generator(0, "entities measured").permutation(np.unique(entity))[:most]
    return np.isin(entity, kept)


def _one_token(corpus: Corpus, facts: Int[np.ndarray, " fact"]) -> bool:
    """Whether in some language all prompts of a relation end in one token, as where its word stands last."""
    s = corpus.sequences(*crossed(facts, corpus.world.n_languages))
    last = s.tokens[np.arange(len(s.tokens)), s.prompt_length - 1].reshape(len(facts), -1)
    relation = corpus.world.relation[facts]
    return any((last[relation == r] == last[relation == r][:1]).all(axis=0).any() for r in np.unique(relation))


def measure(
    h: Float[np.ndarray, "fact language d"], group: Group, centring: str, *, costly: bool, by_token: bool
) -> dict[str, Measured]:
    """All measures of a group's activations by name.

    Args:
        h: activations at the prompt's last token.
        group: whose they are.
        centring: of those measures that are of cosines.
        costly: whether CKA, Procrustes, the checkerboard, the controls and the spectrum are taken too.
        by_token: whether h depends on the token and its position alone (layer 0).
    """
    names = CHEAP if centring == "whole" else CHEAP[:7]
    whole = costly and centring == "whole"
    reason = undefined(h, group.sample.relation)
    if by_token and group.one_token:
        reason = "every fact of a relation ends in the same token by construction"
    if reason:
        found: dict[str, Measured] = {name: not_measured(group.sample, reason) for name in names}
        return found | {name: not_measured(group.few_sample, reason) for name in COSTLY if whole}
    u = unit(centre(h, centring))
    found = score(u, group.sample)
    if centring == "whole":
        found |= retrieval(u, group.sample)
    if whole:
        few = h[group.few]
        found |= {
            "cka": cka(few, group.few_sample),
            "procrustes": procrustes(few, group.few_sample, group.split),
            "checkerboard": checkerboard(u[group.few], group.few_sample),
        }
        nothing = np.full(0, np.nan)
        found |= {name: Measured(estimate, {}, nothing) for name, estimate in anisotropy(h, group.sample).items()}
        found["score_any"] = score(u, group.sample, "any")["score"]
        if group.sample.value is not None:
            kept = ("score_other_value", "V_cross", "beyond_value")
            found |= {name: value for name, value in controls(u, group.sample).items() if name in kept}
    return found


@dataclass(frozen=True)
class Items:
    """Transfer items of some facts, with the permutations that every layer and checkpoint shares.

    Attributes:
        fact: of each item.
        told: the language that it is told in.
        asked: the language that it is asked in.
        place: of its fact among those measured.
        scored: whether a second fact of its relation is measured, so that its score is defined.
        stratum: relation, told and asked language: items that may stand for one another.
        partners: permutations of the scored items' entities.
    """

    fact: Int[np.ndarray, " item"]
    told: Int[np.ndarray, " item"]
    asked: Int[np.ndarray, " item"]
    place: Int[np.ndarray, " item"]
    scored: Bool[np.ndarray, " item"]
    stratum: Int[np.ndarray, " item"]
    partners: Partners


def items_of(corpus: Corpus, facts: Int[np.ndarray, " fact"]) -> Items:
    """The transfer items of some facts, in ascending order."""
    world, every = corpus.world, transfer_items(corpus)
    kept = np.isin(every.fact, facts)
    fact, told, asked = every.fact[kept], every.told[kept], every.asked[kept]
    relation, count = np.unique(world.relation[facts], return_counts=True)
    scored = np.isin(world.relation[fact], relation[count > 1])
    stratum = (world.relation[fact] * world.n_languages + told) * world.n_languages + asked
    partners: Partners = []
    if scored.any():
        drawn = generator(0, "transfer by score")
        partners = entity_permutations(world.entity[fact[scored]], stratum[scored], 2, PERMUTATIONS, drawn)
    return Items(fact, told, asked, np.searchsorted(facts, fact), scored, stratum, partners)


def transfer_by_score(
    h: Float[np.ndarray, "fact language d"],
    items: Items,
    right: Bool[np.ndarray, " item"],
    corpus: Corpus,
    facts: Int[np.ndarray, " fact"],
) -> tuple[Measured, Float[np.ndarray, " item"]]:
    """Whether facts of a higher score transfer: AUC, and each item's score (NaN where it is not defined).

    Args:
        h: activations of the facts.
        items: transfer items of these facts.
        right: whether each was answered rightly.
        corpus: where they come from.
        facts: which facts.
    """
    world, scored = corpus.world, items.scored
    scores = score_by_fact(unit(centre(h, "whole")), world.relation[facts])[items.place, items.told]
    entity, rng = world.entity[items.fact], generator(0, "transfer by score")
    of = (scores[scored], right[scored], entity[scored], items.stratum[scored], rng)
    return auc(*of, permutations=PERMUTATIONS, partners=items.partners), scores
