"""The groups of facts that the question `unification` compares, and the measures of one group's activations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from mechxl.data.corpus import Corpus, crossed
from mechxl.measures.measurement import Measurement, not_defined
from mechxl.measures.sample import Sample, draw_sample, draw_split
from mechxl.measures.table import Measure, take
from mechxl.measures.vectors import centre, undefined, unit
from mechxl.questions.common import sampled_facts
from mechxl.random import generator

DRAWS = 1000
PERMUTATIONS = 1000
FEW_PERMUTATIONS = 200  # of the costly measures
FEW_ENTITIES = 300  # for the costly measures; half of them have a mono fact in a relation, as Procrustes needs

NAMES = ("mono", "parallel", "unseen")  # the headline is the first one that a run has
VARIANTS = (
    ("mono", "whole"),
    ("mono", "per_language"),
    ("mono", "none"),
    ("parallel", "whole"),
    ("unseen", "whole"),
)


@dataclass(frozen=True)
class Group:
    """Facts measured together, with the random draws that every layer and checkpoint shares.

    Attributes:
        facts: which facts.
        sample: all of them.
        few: indices into `facts` of those that the costly measures take.
        few_sample: these, split in halves.
        one_token: whether in some language all prompts of a relation end in one token.
    """

    facts: Int[np.ndarray, " fact"]
    sample: Sample
    few: Int[np.ndarray, " few"]
    few_sample: Sample
    one_token: bool


def groups_of(
    corpus: Corpus, thorough: bool, names: Sequence[str] = NAMES, permutations: int = PERMUTATIONS
) -> dict[str, Group]:
    """The groups of facts that there are, the headline first.

    Args:
        corpus: whose facts.
        thorough: all of them, else those of some entities.
        names: which groups.
        permutations: of entities; with 0, measures have no nulls.
    """
    facts = {
        name: np.flatnonzero((corpus.mixture.group == name) & corpus.world.complete) for name in NAMES if name in names
    }
    return {name: _group(corpus, members, thorough, permutations) for name, members in facts.items() if len(members)}


def _group(corpus: Corpus, facts: Int[np.ndarray, " fact"], thorough: bool, permutations: int) -> Group:
    few = facts
    if not thorough:
        facts = sampled_facts(corpus, facts)
        few = sampled_facts(corpus, facts, FEW_ENTITIES)
    sample = _sample(corpus, facts, DRAWS, permutations)
    few_sample = _sample(corpus, few, 0, min(permutations, FEW_PERMUTATIONS))
    few_sample = replace(few_sample, split=draw_split(few_sample, generator(0, "split")))
    return Group(facts, sample, np.flatnonzero(np.isin(facts, few)), few_sample, _one_token(corpus, facts))


def _sample(corpus: Corpus, facts: Int[np.ndarray, " fact"], draws: int, permutations: int) -> Sample:
    world, value = corpus.world, corpus.world.value[facts]
    return draw_sample(
        world.relation[facts],
        world.entity[facts],
        world.n_languages,
        generator(0, "unification"),
        draws=draws,
        permutations=permutations,
        value=value if (value >= 0).all() else None,
    )


def _one_token(corpus: Corpus, facts: Int[np.ndarray, " fact"]) -> bool:
    """Whether in some language all prompts of a relation end in one token, as where its word stands last."""
    sentences = corpus.sequences(*crossed(facts, corpus.world.n_languages))
    last = sentences.tokens[np.arange(len(sentences.tokens)), sentences.prompt_length - 1].reshape(len(facts), -1)
    relation = corpus.world.relation[facts]
    return any((last[relation == r] == last[relation == r][:1]).all(axis=0).any() for r in np.unique(relation))


def measure(
    h: Float[np.ndarray, "fact language d"],
    group: Group,
    centring: str,
    measures: Sequence[Measure],
    *,
    all_costs: bool,
    by_token: bool,
) -> dict[str, Measurement]:
    """Those measures of a group's activations that are taken under a centring, by name.

    Args:
        h: activations at the prompt's last token.
        group: the group that they are of.
        centring: of the measures that are of cosines.
        measures: rows of a table.
        all_costs: whether measures are taken that are not cheap.
        by_token: whether h depends on the token and its position alone (layer 0).
    """
    rows = [row for row in measures if centring in row.centrings and (all_costs or row.cost == "cheap")]
    reason = undefined(h, group.sample.relation)
    if by_token and group.one_token:
        reason = "every fact of a relation ends in the same token by construction"
    if reason:
        samples = {"costly": group.few_sample}
        kept = [row for row in rows if row.kind == "measure"]
        return {row.name: not_defined(samples.get(row.cost, group.sample), reason) for row in kept}
    if group.sample.value is None:
        rows = [row for row in rows if not row.needs_values]
    u = unit(centre(h, centring))
    costly = [row for row in rows if row.cost == "costly"]
    measurements = take([row for row in rows if row not in costly], h, u, group.sample)
    if costly:
        measurements |= take(costly, h[group.few], u[group.few], group.few_sample)
    return {row.name: measurements[row.name] for row in rows}
