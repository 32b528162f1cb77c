"""The controls of the question `patching`: patches whose outcome is known, or ought to be nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from mechxl.data.corpus import Corpus
from mechxl.instruments.checkpoints import read_checkpoint, use_checkpoint
from mechxl.instruments.patching.engine import run_plan
from mechxl.instruments.patching.pairs import Pairs, answered_rightly, value_words
from mechxl.instruments.patching.plan import NOTHING, Place, Plan
from mechxl.measures.interchange import mean_interval
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.model.blocks import COMPONENTS
from mechxl.model.weights import weights_of
from mechxl.questions.patching.places import Sets, Spots
from mechxl.run import Run

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

CONTROLS = {
    "self": "a run patched into itself, every component, layer and role: largest change of a log p",
    "final": "the final stream at the last position: the donor's own first token",
    "entity": "a donor of another relation: the value of its entity in the receiver's relation",
    "value": "a donor of another relation: that relation's own value",
    "entity_within": "the same in the receiver's language: the value of its entity in the receiver's relation",
    "value_within": "the same in the receiver's language: that relation's own value",
    "checkpoint_0": "checkpoint 0, all pairs",
}


def controls(run: Run, sets: Sequence[Sets], alone: Spots, model: "HookedTransformer") -> pd.DataFrame:
    """Rows (control, group): a share with its Wilson interval over pairs, or the largest change; last checkpoint.

    Args:
        run: whose checkpoints.
        sets: pairs by group.
        alone: the chosen place.
        model: of the last checkpoint; left with checkpoint 0's parameters.
    """
    corpus, n_blocks, place = run.corpus, run.config.model.n_layers, alone.places[0]
    roles, rows = list(alone.roles), []
    for one in sets:
        kept = one.forth[_right(model, corpus, one.forth)]
        if not len(kept):
            rows += [_row(name, one.group, np.zeros(0), "no pair with both answers right") for name in CONTROLS][:-1]
            continue
        rows.append(_itself(model, corpus, kept, roles, n_blocks, one.group))
        rows.append(_final(model, corpus, kept, n_blocks, one.group))
        rows += _other_relation(model, corpus, kept, roles, place, n_blocks, one.group)
    use_checkpoint(run, run.steps[0], read_checkpoint(run, run.steps[0]), model)
    for one, (_, outcome) in zip(sets, alone.run(model)[::4], strict=True):
        rows.append(_row("checkpoint_0", one.group, outcome[0] == 0))
    return pd.DataFrame(rows)


def _right(model: "HookedTransformer", corpus: Corpus, pairs: Pairs) -> Bool[np.ndarray, " pair"]:
    donors = answered_rightly(model, corpus, pairs.donor_fact, pairs.donor_language)
    return donors & answered_rightly(model, corpus, pairs.fact, pairs.language)


def _row(name: str, group: str, hits: np.ndarray, reason: str = "") -> dict[str, Any]:
    """A share of hits with its interval."""
    row: dict[str, Any] = {"control": name, "group": group, "n": len(hits)}
    if not len(hits):
        return row | {"value": np.nan, "low": np.nan, "high": np.nan, "reason": reason or "no pairs"}
    three = mean_interval(hits.astype(float), share=True)
    return row | dict(zip(("value", "low", "high"), three, strict=True)) | {"reason": ""}


def _itself(
    model: "HookedTransformer", corpus: Corpus, pairs: Pairs, roles: Sequence[str], n_blocks: int, group: str
) -> dict[str, Any]:
    own = Pairs(pairs.fact, pairs.language, pairs.fact, pairs.language)
    places = [Place(c, block, role) for c in COMPONENTS for block in range(n_blocks) for role in range(len(roles))]
    places.append(Place(NOTHING, n_blocks - 1, 0))
    found = run_plan(Plan.of(corpus, own, roles, places, n_blocks), weights_of(model))
    change = np.abs(found.log_prob[:-1] - found.log_prob[-1])
    value, reason = float(np.nanmax(change)), "the largest of all: no interval"
    return {"control": "self", "group": group, "n": len(pairs), "value": value, "low": np.nan, "high": np.nan,
            "reason": reason}  # fmt: skip


def _final(model: "HookedTransformer", corpus: Corpus, pairs: Pairs, n_blocks: int, group: str) -> dict[str, Any]:
    places = [Place("resid_post", n_blocks - 1, 0)]
    found = run_plan(Plan.of(corpus, pairs, ["prompt_last"], places, n_blocks), weights_of(model)).word[0]
    asked = Questions.of(corpus, pairs.donor_fact, pairs.donor_language)
    own = ask_questions(model, asked, answer_trie(corpus)).word
    read, first = found >= 0, corpus.word_tokens[:, 0]  # what is no value's word has no tokens to compare here
    return _row("final", group, first[found[read]] == first[own[read]], "no answer is a value's word")


def _other_relation(
    model: "HookedTransformer",
    corpus: Corpus,
    pairs: Pairs,
    roles: Sequence[str],
    place: Place,
    n_blocks: int,
    group: str,
) -> list[dict[str, Any]]:
    """Donors are the same entities' facts of the next relation."""
    names = ("entity", "value", "entity_within", "value_within")
    world = corpus.world
    if world.n_relations < 2:
        return [_row(name, group, np.zeros(0), "there is one relation") for name in names]
    other = _of_entity(corpus, pairs.donor_fact, (world.relation[pairs.donor_fact] + 1) % world.n_relations)
    moved = replace(pairs, donor_fact=other)
    rows = []
    for asked, (entity, value) in zip((moved, moved.within()), (names[:2], names[2:]), strict=True):
        # of these donors the answer is read alone: their log p would be of another relation's values
        word = run_plan(Plan.of(corpus, asked, roles, [place], n_blocks), weights_of(model)).word[0]
        of_entity = value_words(corpus, asked, world.value[pairs.donor_fact, asked.donor_language], asked.language)
        of_value = corpus.lexicon.value_words[
            world.relation[other], world.value[other, asked.donor_language], asked.language
        ]
        rows += [_row(entity, group, word == of_entity), _row(value, group, word == of_value)]
    return rows


def _of_entity(corpus: Corpus, fact: Int[np.ndarray, " n"], relation: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The facts of the same entities in other relations."""
    world = corpus.world
    table = np.full((world.n_entities, world.n_relations), -1)
    table[world.entity, world.relation] = np.arange(world.n_facts)
    return table[world.entity[fact], relation]
