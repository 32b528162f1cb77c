"""What the question `language_identity` changes in a model: the language erased, and another one added."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.data.transfer import transfer_items
from mechxl.instruments.erasure.intervention import (
    Edits,
    FitPrompts,
    Slots,
    edited_answers,
    edited_streams,
    fit_prompts,
    prompt_slots,
)
from mechxl.instruments.erasure.leace import ERASURES, erasers
from mechxl.instruments.erasure.steering import directions, random_directions, steering
from mechxl.measures.probes import Reading, entity_folds, fitted, probe, scored
from mechxl.measures.statistics import EntityBootstrap
from mechxl.model.answers import Questions, answer_trie, kinds_of
from mechxl.random import generator
from mechxl.run import Run

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

DRAWS = 1000
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
PROBED_ROWS = 2000  # of each half, for the probe after erasure


def erasure_effects(
    run: Run, fit: Int[np.ndarray, " fact"], asked: Int[np.ndarray, " fact"], steps: Sequence[int]
) -> pd.DataFrame:
    """Recall and transfer by value accuracy (right value in any language) with something erased from a layer on.

    Args:
        run: whose models.
        fit: facts that erasers and the probe are fitted on, in every language.
        asked: facts of other entities, asked and probed.
        steps: checkpoints.

    Returns:
        Rows (step, from_layer, erased, asked: recall or transfer): value accuracy and exact accuracy with intervals
        over entities; the change of value accuracy against nothing erased, the same items, with its interval. Beside
        them what a probe, trained anew on the erased streams of `fit`, reads of the language at the prompt's last token
        of the others after the first layer erased: bits and balanced accuracy; and anew_bits, of a probe that was
        trained and read on the erased streams of `asked` alone, folds by entity, a stricter test.
    """
    corpus = run.corpus
    world, trie = corpus.world, answer_trie(corpus)
    fact, language = corpus.tellings
    items, kept = transfer_items(corpus), np.isin(fact, asked)
    transferred = np.isin(items.fact, asked)
    groups = {
        "recall": Questions.of(corpus, fact[kept], language[kept]),
        "transfer": Questions.of(corpus, items.fact[transferred], items.asked[transferred]),
    }
    slots = {name: _slots(run, questions) for name, questions in groups.items()}
    over = EntityBootstrap(world.entity[asked], DRAWS, generator(0, "entities drawn"))
    on, new = (fit_prompts(corpus, facts, generator(0, "values split")) for facts in (fit, asked))
    rows = []
    for step in steps:
        model = run.model(step)
        for layer in range(run.config.model.n_layers + 1):
            before: dict[str, Bool[np.ndarray, " question"]] = {}
            for erased in ("nothing", *ERASURES):
                edits = (
                    {} if erased == "nothing" else erasers(model, on, layer, erased, generator(0, f"erased {layer}"))
                )
                place = {"step": step, "from_layer": layer, "erased": erased}
                probed = _probed(model, on, new, edits, layer, world.entity, erased in ("nothing", "language"))
                for name, questions in groups.items():
                    if not len(questions):
                        why = items.why_none or "none of the entities asked has an item"
                        rows.append(place | probed | {"asked": name, "n": 0, "reason": why})
                        continue
                    word = edited_answers(model, questions, slots[name].index, edits, trie)
                    kind = kinds_of(questions, word)
                    entity, right = world.entity[questions.fact], kind <= 1
                    before.setdefault(name, right)
                    found = over.mean(right, entity), over.mean(kind == 0, entity)
                    change = over.mean(right.astype(float) - before[name], entity)
                    row = {"asked": name, "n": len(questions), "entities": len(np.unique(entity))}
                    for label, three in zip(("value", "exact", "change"), (*found, change), strict=True):
                        row |= dict(zip((label, f"{label}_low", f"{label}_high"), three, strict=True))
                    rows.append(place | row | probed)
    return pd.DataFrame(rows)


def _slots(run: Run, questions: Questions) -> Slots:
    return prompt_slots(run.corpus, questions.fact, questions.language)


def _probed(
    model: "HookedTransformer",
    on: FitPrompts,
    new: FitPrompts,
    edits: Edits,
    layer: int,
    entity_of: Int[np.ndarray, " fact"],
    anew_too: bool,
) -> dict[str, Any]:
    """What is read of the language after a layer's edit, at the prompts' last tokens, of facts not fitted on."""
    streams = [_last(model, of, edits, layer) for of in (on, new)]
    entity = [entity_of[of.fact][:PROBED_ROWS] for of in (on, new)]
    language = [of.language[:PROBED_ROWS] for of in (on, new)]
    rng = generator(0, "probe after erasure")
    read = scored(fitted(streams[0], language[0], entity[0], rng)(streams[1]), language[1], entity[1], rng)
    if not anew_too:
        anew = Reading.undefined("not asked of controls", 0, 0)
    elif len(np.unique(entity[1])) >= 3:
        fold = entity_folds(entity[1], 3, rng)
        anew = probe(streams[1], language[1], entity[1], fold, rng)
    else:
        anew = Reading.undefined("fewer than 3 entities", 0, 0)
    names = ("bits", "bits_low", "bits_high", "accuracy", "accuracy_low", "accuracy_high")
    found = {f"{of}_{name}": getattr(taken, name) for of, taken in (("probe", read), ("anew", anew)) for name in names}
    return found | {"reason": anew.reason and f"anew: {anew.reason}"}


def _last(model: "HookedTransformer", of: FitPrompts, edits: Edits, layer: int) -> Float[np.ndarray, "row d"]:
    """Edited streams at the last tokens of the first prompts."""
    rows = slice(0, PROBED_ROWS)
    stream_here = edited_streams(model, of.tokens[rows], of.slots.index[rows], edits, [layer])[layer]
    last = torch.as_tensor((of.slots.index[rows] >= 0).sum(axis=1))  # BOS stands at 0
    return stream_here[torch.arange(len(last)), last].cpu().double().numpy()


def steering_effects(
    run: Run, fit: Int[np.ndarray, " fact"], asked: Int[np.ndarray, " fact"], step: int
) -> pd.DataFrame:
    """In which language a model answers when the direction from the asked language to another is added.

    The direction of each slot of the prompt (means over `fit`) is added at one layer, once or several times, to
    prompts of the tellings of other entities; beside it a random direction of the same length.

    Returns:
        Rows (layer, strength, added: language or random; pooled over ordered pairs of languages): the share of answers
        that are some value of the relation in the target language, and in the asked one, with intervals over entities;
        and of those that are the fact's own value, in each.
    """
    corpus = run.corpus
    world, trie, words = corpus.world, answer_trie(corpus), corpus.lexicon.value_words
    if _words_coincide(words):
        row = {"layer": 0, "strength": 0.0, "added": "language", "n": 0}
        return pd.DataFrame([row | {"reason": "the languages' value words coincide: an answer has no language"}])
    fact, language = corpus.tellings
    kept = np.isin(fact, asked)
    fact, language = fact[kept], language[kept]
    over = EntityBootstrap(world.entity[asked], DRAWS, generator(0, "entities drawn"))
    on, model, rows = fit_prompts(corpus, fit, generator(0, "values split")), run.model(step), []
    pairs = [(a, b) for a in range(world.n_languages) for b in range(world.n_languages) if a != b]
    chosen = {a: np.flatnonzero(language == a) for a, _ in pairs}
    questions = {a: Questions.of(corpus, fact[here], language[here]) for a, here in chosen.items() if len(here)}
    slots = {a: _slots(run, of).index for a, of in questions.items()}
    for layer in range(run.config.model.n_layers + 1):
        added: dict[tuple[int, int], dict[str, dict[int, Tensor]]] = {}
        for a, b in pairs:
            towards = directions(model, on, layer, a, b)
            added[a, b] = {
                "language": towards,
                "random": random_directions(towards, generator(0, f"steer {layer} {a} {b}")),
            }
        for strength in STRENGTHS:
            for name in ("language", "random"):
                hits: list[np.ndarray] = []
                entities: list[np.ndarray] = []
                for a, b in pairs:
                    if a not in questions:
                        continue
                    of = questions[a]
                    edits = {layer: steering(added[a, b][name], strength)}
                    word = edited_answers(model, of, slots[a], edits, trie)[:, None]
                    relation = world.relation[of.fact]
                    in_target, in_asked = ((words[relation, :, to] == word).any(axis=1) for to in (b, a))
                    own = [words[relation, world.value[of.fact, to], to] == word[:, 0] for to in (b, a)]
                    hits.append(np.stack([in_target, in_asked, *own]))
                    entities.append(world.entity[of.fact])
                entity, hit = np.concatenate(entities), np.concatenate(hits, axis=1)
                row = {"layer": layer, "strength": strength, "added": name, "n": len(entity)}
                row |= {"entities": len(np.unique(entity)), "reason": ""}
                for label, each in zip(("target", "source", "target_right", "source_right"), hit, strict=True):
                    three = over.mean(each, entity)
                    row |= dict(zip((label, f"{label}_low", f"{label}_high"), three, strict=True))
                rows.append(row)
    return pd.DataFrame(rows)


def _words_coincide(words: Int[np.ndarray, "relation value language"]) -> bool:
    """Whether most values have one word in all languages."""
    there = words.min(axis=2) >= 0
    return bool((words == words[:, :, :1]).all(axis=2)[there].mean() > 0.5)
