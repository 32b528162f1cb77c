"""Whether the language is told after an erasure: by a fresh probe within relations, and by the language of the answers.

An eraser that is fitted on a sample misses the true offsets of the languages by the sample's error, and a probe on as
many other entities finds a trace of that: a test for any trace at all would fail every erasure, the surer the more
entities are asked. So the claim is one of equivalence. The language counts as gone at a place if the whole 95 %
interval lies within a tenth of the way from chance to certainty (`BOUND`), on both sides for the answers, and as told
if the whole interval lies beyond; else too few entities were asked to say. An erasure holds only if it is gone at
*every* place that is looked at. Such a conjunction of tests needs no correction for their number (Berger 1982).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.instruments.erasure.intervention import FitPrompts
from mechxl.measures.probes import Reading, entity_folds, fitted, scored
from mechxl.measures.statistics import EntityBootstrap
from mechxl.random import generator

Verdict = Literal["gone", "told", "unclear", "undefined"]
BOUND = 0.1  # of the way from chance to certainty
FOLDS = 3
MOST_RELATIONS = 8  # that are probed
ROUNDING = 1e-5  # of the stream's size; a reader that scales a constant up would else read float32's rounding


def verdict(low: float, high: float, chance: float, both_sides: bool = False) -> Verdict:
    """Whether an interval shows that the language is gone, or that it is told; "unclear" if it shows neither."""
    within = BOUND * (1 - chance)
    above, below = low - chance > within, both_sides and chance - high > within
    if above or below:
        return "told"
    gone = high - chance <= within and (not both_sides or chance - low <= within)
    return "gone" if gone else "unclear"


def outcome(checks: pd.DataFrame) -> Verdict:
    """What all checks of one erasure say together: gone where each says so, told where one does."""
    verdicts = set(checks["verdict"]) - {"undefined"}
    if "told" in verdicts:
        return "told"
    return "gone" if verdicts == {"gone"} else "unclear"


def probed(
    prompts: FitPrompts,
    entity: Int[np.ndarray, " prompt"],
    streams: Mapping[int, Float[Tensor, "prompt pos d"]],
    slots: Mapping[int, Sequence[int]],
) -> pd.DataFrame:
    """What fresh probes read of the language within relations, at some slots of the edited streams.

    Each probe is trained and tried within one relation, folds by entity; readings of all relations are pooled.

    Args:
        prompts: of entities that nothing was fitted on.
        entity: of each prompt.
        streams: by layer.
        slots: the slots to probe, by layer.

    Returns:
        Rows (told_by: probe, layer, slot): balanced accuracy and bits with intervals, chance and verdict.
    """
    rows = []
    for layer, chosen in slots.items():
        for slot in chosen:
            prompt, position = np.nonzero(prompts.slots.index == slot)
            x = streams[layer][prompt, position].double().cpu().numpy()
            read = probe_within(x, prompts.language[prompt], entity[prompt], prompts.relation[prompt])
            chance = 1 / len(np.unique(prompts.language[prompt]))
            row = {"told_by": "probe", "layer": layer, "slot": prompts.slots.names[slot], "value": read.accuracy}
            row |= {"low": read.accuracy_low, "high": read.accuracy_high, "chance": chance, "bits": read.bits}
            row |= {"n": read.n, "entities": read.entities, "reason": read.reason}
            rows.append(row | {"verdict": verdict(read.accuracy_low, read.accuracy_high, chance)})
    return pd.DataFrame(rows)


def probe_within(
    x: Float[np.ndarray, "row d"],
    language: Int[np.ndarray, " row"],
    entity: Int[np.ndarray, " row"],
    relation: Int[np.ndarray, " row"],
) -> Reading:
    """The reading of linear readers of the language, each trained and tried within one relation, folds by entity."""
    if len(np.unique(entity)) < FOLDS:
        why = f"{len(np.unique(entity))} entities, but {FOLDS} folds: train with more --world.n-entities"
        return Reading.undefined(why, len(x), len(np.unique(entity)))
    rng = generator(0, "probe after erasure")
    x = x + ROUNDING * np.sqrt((x**2).mean()) * rng.standard_normal(x.shape)
    classes, y = np.unique(language, return_inverse=True)
    fold = entity_folds(entity, FOLDS, rng)
    log_p = np.full((len(x), len(classes)), np.nan)
    for r in np.unique(relation)[:MOST_RELATIONS]:
        for held_out in range(FOLDS):
            train, test = ((relation == r) & (fold != held_out)), ((relation == r) & (fold == held_out))
            if test.any() and len(np.unique(y[train])) == len(classes):
                log_p[test] = fitted(x[train], y[train], entity[train], rng)(x[test])
    read = np.isfinite(log_p).all(axis=1)
    if not read.any():
        return Reading.undefined("no relation has all languages in every fold", len(x), len(np.unique(entity)))
    return scored(log_p[read], y[read], entity[read], rng)


def languages_of_words(corpus: Corpus) -> Bool[np.ndarray, "word language"]:
    """Which languages have each word as a value's word."""
    words = corpus.lexicon.value_words
    has = np.zeros((int(words.max()) + 1, words.shape[2]), dtype=bool)
    relation, value, language = np.nonzero(words >= 0)
    has[words[relation, value, language], language] = True
    return has


def answered_in(
    word: Int[np.ndarray, " question"],
    language: Int[np.ndarray, " question"],
    entity: Int[np.ndarray, " question"],
    has: Bool[np.ndarray, "word language"],
    over: EntityBootstrap,
) -> pd.DataFrame:
    """How often an answer is in the asked language, among answers that are a value's word of one language alone.

    Every fact must be asked in every language: whatever answers that do not depend on the asked language are, one in
    so many is then in it, so that chance is 1 / languages exactly.

    Returns:
        One row (told_by: answers): the share with its interval, chance and verdict; "undefined" where no value's word
        is of one language alone.
    """
    languages = np.where((word >= 0)[:, None], has[np.maximum(word, 0)], False)
    tells = languages.sum(axis=1) == 1
    chance = 1 / has.shape[1]
    row = {"told_by": "answers", "layer": -1, "slot": "", "chance": chance, "bits": np.nan, "n": int(tells.sum())}
    if not tells.any():
        undefined = not (has.sum(axis=1) == 1).any()
        why = "no value's word is of one language alone" if undefined else "no answer is a word of one language alone"
        row |= {"value": np.nan, "low": np.nan, "high": np.nan, "entities": 0, "reason": why}
        return pd.DataFrame([row | {"verdict": "undefined" if undefined else "unclear"}])
    in_asked = languages[np.arange(len(word)), language][tells]
    value, low, high = over.mean(in_asked, entity[tells])
    row |= {"value": value, "low": low, "high": high, "entities": len(np.unique(entity[tells]))}
    row |= {"reason": "bits: of probes alone", "verdict": verdict(low, high, chance, both_sides=True)}
    return pd.DataFrame([row])
