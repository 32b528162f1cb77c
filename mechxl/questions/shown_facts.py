"""The few facts that pictures show: which they are, how they are told, and what is answered over training."""

from typing import Any

import numpy as np
from jaxtyping import Int

from mechxl.data.corpus import Corpus
from mechxl.data.world import stream
from mechxl.instruments.checkpoints import read_checkpoint, use_checkpoint
from mechxl.model.evaluation import Questions, answer_trie, ask_questions
from mechxl.run import Run

SHOWN_FACTS = 32  # on the checkerboard and the map


def shown_facts(corpus: Corpus, facts: Int[np.ndarray, " fact"]) -> Int[np.ndarray, " shown"]:
    """Places of a few facts of each of at most four relations, ordered by relation and value."""
    world = corpus.world
    relations = np.unique(world.relation[facts])[:4]
    each = SHOWN_FACTS // max(len(relations), 1)
    chosen = []
    for relation in relations:
        here = np.flatnonzero(world.relation[facts] == relation)
        here = stream(0, f"checkerboard {relation}").permutation(here)[:each]
        chosen.append(here[np.lexsort((here, world.value[facts[here], 0]))])
    return np.concatenate(chosen)


def labels(corpus: Corpus, facts: Int[np.ndarray, " shown"]) -> list[list[str]]:
    """Each rendering as text: by language, then by fact."""
    return [[corpus.text(int(fact), language) for fact in facts] for language in range(corpus.world.n_languages)]


def answers(run: Run, facts: Int[np.ndarray, " shown"]) -> dict[str, Any]:
    """What the model answers when it is asked these facts, tag shown.

    Returns:
        told: by language and fact, whether training tells it so. words: distinct answers, "" where none is a value.
        word (index into words) and kind (index into `mechxl.model.evaluation.KINDS`): by checkpoint, language and
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
