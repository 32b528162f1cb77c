"""Do the facts that are unified transfer? The score of single facts against what becomes of their transfer items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from mechxl.data.corpus import Corpus
from mechxl.data.transfer import transfer_items
from mechxl.findings import signed
from mechxl.measures.auc import auc
from mechxl.measures.by_fact import score_by_fact
from mechxl.measures.measurement import Measurement
from mechxl.measures.sample import Partners, entity_permutations
from mechxl.measures.vectors import centre, unit
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.questions.unification.groups import PERMUTATIONS
from mechxl.random import generator
from mechxl.run import Run

SHOWN_LAYER = 1
CLEAR = 0.05
LEAST_P = 1 / (PERMUTATIONS + 1)


@dataclass(frozen=True)
class Items:
    """Transfer items of some facts, with the permutations that every layer and checkpoint shares.

    Attributes:
        fact: of each item.
        told: the language that it is told in.
        asked: the language that it is asked in.
        index: of its fact among the facts measured.
        scored: whether a second fact of its relation is measured, so that its score is defined.
        stratum: relation, told and asked language: items that may stand for one another.
        partners: permutations of the scored items' entities.
    """

    fact: Int[np.ndarray, " item"]
    told: Int[np.ndarray, " item"]
    asked: Int[np.ndarray, " item"]
    index: Int[np.ndarray, " item"]
    scored: Bool[np.ndarray, " item"]
    stratum: Int[np.ndarray, " item"]
    partners: Partners


def items_of(corpus: Corpus, facts: Int[np.ndarray, " fact"]) -> Items:
    """The transfer items of some facts, which are in ascending order."""
    world, every = corpus.world, transfer_items(corpus)
    kept = np.isin(every.fact, facts)
    fact, told, asked = every.fact[kept], every.told[kept], every.asked[kept]
    relation, count = np.unique(world.relation[facts], return_counts=True)
    scored = np.isin(world.relation[fact], relation[count > 1])
    stratum = (world.relation[fact] * world.n_languages + told) * world.n_languages + asked
    partners: Partners = []
    if scored.any():
        rng = generator(0, "transfer by score")
        partners = entity_permutations(world.entity[fact[scored]], stratum[scored], 2, PERMUTATIONS, rng)
    return Items(fact, told, asked, np.searchsorted(facts, fact), scored, stratum, partners)


def answered_right(run: Run, step: int, items: Items) -> Bool[np.ndarray, " item"]:
    """Whether the model of one checkpoint answers each item rightly."""
    questions = Questions.of(run.corpus, items.fact, items.asked)
    return ask_questions(run.model(step), questions, answer_trie(run.corpus)).right


def transfer_by_score(
    h: Float[np.ndarray, "fact language d"],
    items: Items,
    right: Bool[np.ndarray, " item"],
    corpus: Corpus,
    facts: Int[np.ndarray, " fact"],
) -> tuple[Measurement, Float[np.ndarray, " item"]]:
    """Whether facts of a higher score transfer: AUC, and each item's score (NaN where it is not defined).

    Args:
        h: activations of the facts.
        items: transfer items of these facts.
        right: whether each was answered rightly.
        corpus: where they come from.
        facts: which facts.
    """
    scores = score_by_fact(unit(centre(h, "whole")), corpus.world.relation[facts])[items.index, items.told]
    scored, entity = items.scored, corpus.world.entity[items.fact]
    measurement = auc(
        scores[scored],
        right[scored],
        entity[scored],
        items.stratum[scored],
        generator(0, "transfer by score"),
        permutations=PERMUTATIONS,
        partners=items.partners,
    )
    return measurement, scores


def item_table(
    corpus: Corpus,
    items: Items,
    scores: Mapping[int, Float[np.ndarray, " item"]],
    right: Bool[np.ndarray, " item"],
    layers: Sequence[int],
) -> pd.DataFrame:
    """Each transfer item: the score of its fact at each layer, and whether it was answered rightly.

    Args:
        corpus: where the items come from.
        items: transfer items.
        scores: of each item, by layer.
        right: whether each was answered rightly.
        layers: a column `score_LAYER` each.
    """
    names = np.array(corpus.lexicon.language_names)
    nothing = np.full(len(items.fact), np.nan)
    columns = {score_column(layer): scores.get(layer, nothing) for layer in layers}
    known = np.isfinite(next(iter(columns.values()), nothing))
    table = pd.DataFrame({"fact": items.fact, "told": names[items.told], "asked": names[items.asked], **columns})
    reason = np.where(known, "", "the only fact of its relation in the sample")
    return table.assign(right=right.astype(int), reason=reason)


def score_column(layer: int) -> str:
    """The column of the table of items that has the scores at a layer."""
    return f"score_{layer}"


def auc_at_end(table: pd.DataFrame) -> pd.DataFrame:
    """AUC by layer at the last checkpoint where it and its interval are defined, the highest first.

    One item that differs from all others gives an AUC, and no interval: most resamples of entities lack it.
    Its p_scan holds over all layers and checkpoints (maximum statistic), so that the first layer may be chosen.
    """
    rows = table[(table["measure"] == "auc_transfer") & table["low"].notna()]
    return rows[rows["step"] == rows["step"].max()].sort_values(["value", "layer"], ascending=[False, True])


def auc_words(table: pd.DataFrame) -> list[str]:
    """Whether facts of a higher score transfer, at every layer; the best layer by a test that knows of all."""
    rows = auc_at_end(table).to_dict("records")
    if not rows:
        return []
    shown = ", ".join(
        f"layer {row['layer']} {signed(row['value'])} [{signed(row['low'])}, {signed(row['high'])}]"
        for row in sorted(rows, key=lambda row: row["layer"])
    )
    best = rows[0]
    least = f" (the least that {PERMUTATIONS:,} permutations can give)" if best["p_scan"] <= LEAST_P + 1e-12 else ""
    said = (
        f"it says most at layer {best['layer']}, p = {best['p_scan']:.3f} over all layers and checkpoints{least}"
        if best["p_scan"] <= CLEAR
        else f"no layer says anything: p is at least {best['p_scan']:.3f} over all layers and checkpoints"
    )
    return [
        f"Does a fact's own score say whether it transfers, at step {best['step']:,}? AUC (.5: no) is {shown}; {said} "
        f"(n = {best['n']:,} transfer items of mono facts)."
    ]
