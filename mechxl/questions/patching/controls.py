"""The controls of the question `patching`: patches whose outcome is known, or ought to be nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from mechxl.data.corpus import Corpus
from mechxl.instruments.checkpoints import read_checkpoint, use_checkpoint
from mechxl.instruments.patching.engine import run_plan
from mechxl.instruments.patching.pairs import Pairs, answered_rightly, value_words
from mechxl.instruments.patching.plan import NOTHING, PatchPlan, Place
from mechxl.measures.interchange import mean_interval
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.model.blocks import COMPONENTS
from mechxl.model.weights import weights_of
from mechxl.questions.patching.groups import GroupPairs
from mechxl.questions.patching.places import PatchedPlaces
from mechxl.run import Run

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

ControlRow = dict[str, str | int | float]
CONTROLS = {
    "self": "a run patched into itself, every component, layer and role: largest change of a log p",
    "final": "the final stream at the last position: the donor's own first token",
    "entity": "a donor of another relation: the value of its entity in the receiver's relation",
    "value": "a donor of another relation: that relation's own value",
    "entity_within": "the same in the receiver's language: the value of its entity in the receiver's relation",
    "value_within": "the same in the receiver's language: that relation's own value",
    "checkpoint_0": "checkpoint 0, all pairs",
}


def controls(
    run: Run, groups: Sequence[GroupPairs], chosen_place: PatchedPlaces, model: "HookedTransformer"
) -> pd.DataFrame:
    """Rows (control, group): a share with its Wilson interval over pairs, or the largest change; last checkpoint.

    Args:
        run: whose checkpoints.
        groups: pairs by group.
        chosen_place: the chosen place.
        model: of the last checkpoint; left with checkpoint 0's parameters.
    """
    corpus, n_blocks, place = run.corpus, run.config.model.n_layers, chosen_place.places[0]
    roles, rows = list(chosen_place.roles), []
    for group in groups:
        kept = group.forth[_right(model, corpus, group.forth)]
        if not len(kept):
            rows += [_row(name, group.group, np.zeros(0), "no pair with both answers right") for name in CONTROLS][:-1]
            continue
        rows.append(_itself(model, corpus, kept, roles, n_blocks, group.group))
        rows.append(_final(model, corpus, kept, n_blocks, group.group))
        rows += _other_relation(model, corpus, kept, roles, place, n_blocks, group.group)
    use_checkpoint(run, run.steps[0], read_checkpoint(run, run.steps[0]), model)
    for group, four in zip(groups, chosen_place.run(model), strict=True):
        rows.append(_row("checkpoint_0", group.group, four.forth.outcome[0] == 0))
    return pd.DataFrame(rows)


def _right(model: "HookedTransformer", corpus: Corpus, pairs: Pairs) -> Bool[np.ndarray, " pair"]:
    donors = answered_rightly(model, corpus, pairs.donor_fact, pairs.donor_language)
    return donors & answered_rightly(model, corpus, pairs.fact, pairs.language)


def _row(name: str, group: str, hits: np.ndarray, reason: str = "") -> ControlRow:
    """A share of hits with its interval."""
    row: ControlRow = {"control": name, "group": group, "n": len(hits)}
    if not len(hits):
        return row | {"value": np.nan, "low": np.nan, "high": np.nan, "reason": reason or "no pairs"}
    value, low, high = mean_interval(hits.astype(float), np.arange(len(hits)), share=True)
    return row | {"value": value, "low": low, "high": high, "reason": ""}


def _itself(
    model: "HookedTransformer", corpus: Corpus, pairs: Pairs, roles: Sequence[str], n_blocks: int, group: str
) -> ControlRow:
    own = Pairs(pairs.fact, pairs.language, pairs.fact, pairs.language)
    places = [Place(c, block, role) for c in COMPONENTS for block in range(n_blocks) for role in range(len(roles))]
    places.append(Place(NOTHING, n_blocks - 1, 0))
    log_prob = run_plan(PatchPlan.of(corpus, own, roles, places, n_blocks), weights_of(model)).log_prob
    return {
        "control": "self",
        "group": group,
        "n": len(pairs),
        "value": float(np.nanmax(np.abs(log_prob[:-1] - log_prob[-1]))),
        "low": np.nan,
        "high": np.nan,
        "reason": "the largest of all: no interval",
    }


def _final(model: "HookedTransformer", corpus: Corpus, pairs: Pairs, n_blocks: int, group: str) -> ControlRow:
    places = [Place("resid_post", n_blocks - 1, 0)]
    patched = run_plan(PatchPlan.of(corpus, pairs, ["prompt_last"], places, n_blocks), weights_of(model)).word[0]
    questions = Questions.of(corpus, pairs.donor_fact, pairs.donor_language)
    own = ask_questions(model, questions, answer_trie(corpus)).word
    is_word, first_token = patched >= 0, corpus.word_tokens[:, 0]  # other answers have no tokens to compare
    hits = first_token[patched[is_word]] == first_token[own[is_word]]
    return _row("final", group, hits, "no answer is a value's word")


def _other_relation(
    model: "HookedTransformer",
    corpus: Corpus,
    pairs: Pairs,
    roles: Sequence[str],
    place: Place,
    n_blocks: int,
    group: str,
) -> list[ControlRow]:
    """Donors are the same entities' facts of the next relation."""
    world = corpus.world
    if world.n_relations < 2:
        names = ("entity", "value", "entity_within", "value_within")
        return [_row(name, group, np.zeros(0), "there is one relation") for name in names]
    other = _of_entity(corpus, pairs.donor_fact, (world.relation[pairs.donor_fact] + 1) % world.n_relations)
    moved = replace(pairs, donor_fact=other)
    rows = []
    for suffix, asked in (("", moved), ("_within", moved.within())):
        # Only the answer is read: log p would be that of another relation's values.
        word = run_plan(PatchPlan.of(corpus, asked, roles, [place], n_blocks), weights_of(model)).word[0]
        of_entity = value_words(corpus, asked, world.value[pairs.donor_fact, asked.donor_language], asked.language)
        of_value = corpus.lexicon.value_words[
            world.relation[other], world.value[other, asked.donor_language], asked.language
        ]
        rows += [_row(f"entity{suffix}", group, word == of_entity), _row(f"value{suffix}", group, word == of_value)]
    return rows


def _of_entity(corpus: Corpus, fact: Int[np.ndarray, " n"], relation: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The facts of the same entities in other relations."""
    world = corpus.world
    table = np.full((world.n_entities, world.n_relations), -1)
    table[world.entity, world.relation] = np.arange(world.n_facts)
    return table[world.entity[fact], relation]
