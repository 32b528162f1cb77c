"""In which language a model answers when another language is added."""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from mechxl.instruments.erasure.intervention import edited_answers, edited_streams, fit_prompts, prompt_slots
from mechxl.instruments.erasure.steering import directions, mean_streams, slots_in_relations
from mechxl.measures.statistics import EntityBootstrap
from mechxl.model.answers import Questions, answer_trie
from mechxl.random import generator
from mechxl.run import Run

DRAWS = 1000
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
SHARES = ("target", "source", "target_right", "source_right")


def steering_effects(
    run: Run, fit: Int[np.ndarray, " fact"], asked: Int[np.ndarray, " fact"], step: int
) -> pd.DataFrame:
    """In which language a model answers when the direction from the asked language to another is added.

    The direction of each relation and slot of the prompt (means over `fit`) is added at one layer, once or several
    times, to prompts of the tellings of other entities; beside it a random direction of the same length.

    Returns:
        Rows (layer, strength, added: language or random; pooled over ordered pairs of languages): the share of answers
        that are some value of the relation in the target language, and in the asked one, with intervals over entities;
        and of those that are the fact's own value, in each.
    """
    corpus = run.corpus
    world, trie = corpus.world, answer_trie(corpus)
    if _words_coincide(corpus.lexicon.value_words):
        row = {"layer": 0, "strength": 0.0, "added": "language", "n": 0}
        return pd.DataFrame([row | {"reason": "the languages' value words coincide: an answer has no language"}])
    fact, language = corpus.tellings
    kept = np.isin(fact, asked)
    fact, language = fact[kept], language[kept]
    over = EntityBootstrap(world.entity[asked], DRAWS, generator(0, "entities drawn"))
    on, model, rows = fit_prompts(corpus, fit, generator(0, "values split")), run.model(step), []
    questions = {
        a: Questions.of(corpus, fact[language == a], language[language == a]) for a in np.unique(language).tolist()
    }
    slots = {a: prompt_slots(corpus, of.fact, of.language) for a, of in questions.items()}
    places = {a: slots_in_relations(slots[a], world.relation[of.fact]) for a, of in questions.items()}
    pairs = [(a, b) for a in questions for b in range(world.n_languages) if a != b]
    plain = {a: edited_answers(model, of, places[a], {}, trie) for a, of in questions.items()}
    for layer in range(run.config.model.n_layers + 1):
        stream = edited_streams(model, on.tokens, on.slots.index, {}, [layer])[layer]
        means, count = mean_streams(on, stream, world.n_relations, world.n_languages)
        added = {(a, b, "language"): directions(means, count, a, b) for a, b in pairs}
        for a, b in pairs:
            added[a, b, "random"] = added[a, b, "language"].random(generator(0, f"steer {layer} {a} {b}"))
        for strength in STRENGTHS:
            for name in ("language", "random"):
                parts = []
                for a, b in pairs:
                    edits = {layer: added[a, b, name].edit(strength)}
                    word = edited_answers(model, questions[a], places[a], edits, trie) if strength else plain[a]
                    parts.append(_hits(questions[a], word, a, b))
                hits = np.concatenate(parts, axis=1)
                entity = np.concatenate([world.entity[questions[a].fact] for a, _ in pairs])
                row = {"layer": layer, "strength": strength, "added": name, "n": len(entity)}
                row |= {"entities": len(np.unique(entity)), "reason": ""}
                for label, each in zip(SHARES, hits, strict=True):
                    row |= dict(zip((label, f"{label}_low", f"{label}_high"), over.mean(each, entity), strict=True))
                rows.append(row)
    return pd.DataFrame(rows)


def _hits(
    questions: Questions, word: Int[np.ndarray, " question"], source: int, target: int
) -> Bool[np.ndarray, "share question"]:
    """Whether each answer counts for each of SHARES."""
    world, words = questions.corpus.world, questions.corpus.lexicon.value_words
    relation = world.relation[questions.fact]
    some = [(words[relation, :, to] == word[:, None]).any(axis=1) for to in (target, source)]
    own = [words[relation, world.value[questions.fact, to], to] == word for to in (target, source)]
    return np.stack([*some, *own])


def _words_coincide(words: Int[np.ndarray, "relation value language"]) -> bool:
    """Whether most values have one word in all languages."""
    there = words.min(axis=2) >= 0
    return bool((words == words[:, :, :1]).all(axis=2)[there].mean() > 0.5)
