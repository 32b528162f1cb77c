"""What several questions use: some of the checkpoints, distinct roles, the facts shown, the score over training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from mechxl.data.corpus import Corpus, crossed
from mechxl.data.roles import PROMPT_ROLES, role_names, role_positions
from mechxl.instruments.activations.store import activations
from mechxl.instruments.checkpoints import read_checkpoint, use_checkpoint
from mechxl.measures.sample import draw_sample
from mechxl.measures.score import score
from mechxl.measures.vectors import centre, undefined, unit
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.null import how_to_get, is_null
from mechxl.random import generator
from mechxl.run import Run

MAIN_ROLE = "prompt_last"
SAMPLED_ENTITIES = 1000  # of a group, told in two languages; their facts are what unification is measured on
LEAST_SAMPLED = 300  # in more languages: half of them have a mono fact in a relation, as Procrustes needs
SHOWN_FACTS = 32  # on the checkerboard and the map


def few_steps(steps: Sequence[int], most: int) -> list[int]:
    """Some of the steps, evenly spread over their order, the first and the last among them."""
    places = np.unique(np.rint(np.linspace(0, len(steps) - 1, min(most, len(steps)))).astype(int))
    return [steps[place] for place in places]


def distinct_roles(corpus: Corpus, facts: Int[np.ndarray, " fact"]) -> tuple[list[str], dict[str, str]]:
    """The prompt's roles that are at positions of their own, and which of these each other role is the same as."""
    there = [role for role in role_names(corpus) if role in PROMPT_ROLES]
    positions = role_positions(corpus, *crossed(facts, corpus.world.n_languages), there)
    kept: dict[str, np.ndarray] = {}
    same = {}
    for role in [MAIN_ROLE, *(role for role in there if role != MAIN_ROLE)]:
        column = positions[:, there.index(role)]
        twin = next((other for other, taken in kept.items() if np.array_equal(taken, column)), None)
        if twin:
            same[role] = twin
        else:
            kept[role] = column
    return [role for role in there if role in kept], same


def prompts_coincide(corpus: Corpus) -> bool:
    """Whether all facts have one prompt in all languages, tag shown: nothing then tells which language is asked."""
    n_languages = corpus.world.n_languages
    tokens = corpus.sequences(*crossed(np.flatnonzero(corpus.world.complete), n_languages)).prompts()
    by_fact = tokens.reshape(-1, n_languages, tokens.shape[1])
    return bool((by_fact == by_fact[:, :1]).all())


def sampled_facts(
    corpus: Corpus, facts: Int[np.ndarray, " fact"], entities: int | None = None
) -> Int[np.ndarray, " sampled"]:
    """Those of some facts that are of a seeded sample of their entities; all, where there are no more entities.

    Args:
        corpus: whose facts.
        facts: which of them.
        entities: how many; None: SAMPLED_ENTITIES in two languages, and in more as many as have so many renderings, but
            no fewer than LEAST_SAMPLED.
    """
    if entities is None:
        entities = max(LEAST_SAMPLED, SAMPLED_ENTITIES * 2 // max(corpus.world.n_languages, 2))
    entity = corpus.world.entity[facts]
    sampled = generator(0, "entities measured").permutation(np.unique(entity))[:entities]
    return facts[np.isin(entity, sampled)]


def scored_facts(corpus: Corpus, thorough: bool) -> Int[np.ndarray, " sampled"]:
    """The facts that the score over training is measured on: mono ones, or parallel ones where there are none.

    Args:
        corpus: whose facts.
        thorough: of all entities rather than of a seeded sample of SAMPLED_ENTITIES.
    """
    group = corpus.mixture.group
    group = np.where(corpus.world.complete, group, "")
    facts = np.flatnonzero(group == ("mono" if (group == "mono").any() else "parallel"))
    return facts if thorough else sampled_facts(corpus, facts)


def scores_over_training(run: Run, thorough: bool) -> pd.DataFrame:
    """Score (S - W) and S - X at every checkpoint and each layer from 1 on, without intervals.

    The numbers are those of the question `unification`: of the same sample of mono facts (parallel ones where there
    are none), centred on the whole sample.

    Args:
        run: whose activations.
        thorough: all entities rather than a seeded sample of SAMPLED_ENTITIES.

    Returns:
        Rows (step, layer, score, alignment); NaN where they are not defined.
    """
    world, facts = run.corpus.world, scored_facts(run.corpus, thorough)
    layers = list(range(1, run.config.model.n_layers + 1))
    rng = generator(0, "score")
    sample = draw_sample(world.relation[facts], world.entity[facts], world.n_languages, rng, draws=0, permutations=0)
    stream = activations(run, "resid_post", facts=facts, layers=layers, role="prompt_last").squeeze("role")
    rows = []
    for step in run.steps:
        at_step = stream.sel(checkpoint=step).transpose("layer", "fact", "language", "d_model").values.astype(float)
        for layer, h in zip(layers, at_step, strict=True):
            numbers = {"score": np.nan, "alignment": np.nan}
            if not undefined(h, sample.relation):
                measurements = score(unit(centre(h, "whole")), sample)
                numbers = {name: measurements[name].pooled.value for name in numbers}
            rows.append({"step": step, "layer": layer} | numbers)
    return pd.DataFrame(rows)


def null_notes(run: Run) -> dict[str, str | bool]:
    """What readers must know of the trained null: its name, or why there is none and how to get one."""
    own = is_null(run.config)
    return {
        "name": run.null.name if run.null else "",
        "why_none": run.why_no_null,
        "get": "" if own else how_to_get(run.path),
        "is_null": own,
    }


def without_null(notes: Mapping[str, Any]) -> str:
    """The sentence that stands where one on unification would, without a trained null."""
    if notes["is_null"]:
        return (
            "This run is itself a trained null: no fact is shared (world.shared_facts = 0), so nothing can rightly "
            "unify, and what rises here is no unification"
        )
    return (
        f"Whether and when the languages unify is not said here: that is the excess over the trained null, and "
        f"{notes['why_none']}. To train one, run {notes['get']}"
    )


def shown_facts(corpus: Corpus, facts: Int[np.ndarray, " fact"]) -> Int[np.ndarray, " shown"]:
    """Places of a few facts of each of at most four relations, ordered by relation and value."""
    world = corpus.world
    relations = np.unique(world.relation[facts])[:4]
    each = SHOWN_FACTS // max(len(relations), 1)
    chosen = []
    for relation in relations:
        here = np.flatnonzero(world.relation[facts] == relation)
        here = generator(0, f"checkerboard {relation}").permutation(here)[:each]
        chosen.append(here[np.lexsort((here, world.value[facts[here], 0]))])
    return np.concatenate(chosen)


def labels(corpus: Corpus, facts: Int[np.ndarray, " shown"]) -> list[list[str]]:
    """Each rendering as text: by language, then by fact."""
    return [[corpus.text(int(fact), language) for fact in facts] for language in range(corpus.world.n_languages)]


def answers(run: Run, facts: Int[np.ndarray, " shown"]) -> dict[str, Any]:
    """What the model answers when it is asked these facts, tag shown.

    Returns:
        told: by language and fact, whether training tells it so. words: distinct answers, "" where none is a value.
        word (index into words) and kind (index into `mechxl.model.answers.KINDS`): by checkpoint, language and
        fact. Nothing where some of the facts have no value (unseen entities).
    """
    corpus = run.corpus
    if (corpus.world.value[facts] < 0).any():
        return {}
    n_languages = corpus.world.n_languages
    fact, language = np.tile(facts, n_languages), np.repeat(np.arange(n_languages), len(facts))
    questions, trie, model = Questions.of(corpus, fact, language), answer_trie(corpus), run.model()
    word, kind = [], []
    for step in run.steps:
        use_checkpoint(run, step, read_checkpoint(run, step), model)
        found = ask_questions(model, questions, trie)
        word.append(found.word)
        kind.append(found.kind)
    used, place = np.unique(np.array(word), return_inverse=True)
    shape = (len(run.steps), n_languages, len(facts))
    return {
        "told": corpus.mixture.told[facts].T.tolist(),
        "words": ["" if number < 0 else str(corpus.lexicon.words[number]) for number in used],
        "word": place.reshape(shape).tolist(),
        "kind": np.array(kind).reshape(shape).tolist(),
    }
