"""What the question `language_identity` reads off activations: the language, and values across languages."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from einops import rearrange
from jaxtyping import Float, Int

from mechxl.data.corpus import Corpus, crossed
from mechxl.data.roles import role_positions
from mechxl.instruments.activations.store import activations
from mechxl.measures.probes import Reading, code_length, entity_folds, probe, repeated_folds
from mechxl.measures.readers import value_reader
from mechxl.measures.statistics import EntityBootstrap
from mechxl.random import generator
from mechxl.run import Run

TOKENS = "tokens"  # the reader of a bag of the tokens up to a role
DRAWS = 1000
FEWEST_FACTS = 20  # that a value reader is trained on


def language_readings(
    run: Run, facts: Int[np.ndarray, " fact"], roles: Sequence[str], few: Sequence[int], folds: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Probes for the language, folds by entity; with a relation left out; and online code lengths.

    Args:
        run: whose activations.
        facts: crossed with all languages: the rows.
        roles: of the prompt, prompt_last among them.
        few: steps that all roles are probed at, with shuffled labels beside; prompt_last is probed at all steps.
        folds: of entities.

    Returns:
        Rows (step, layer, role, labels: true or shuffled; layer -1: the bag-of-tokens reader, without a step), the
        first and last steps with each relation left out in turn, and their code lengths.
    """
    corpus, n_languages = run.corpus, run.corpus.world.n_languages
    language = np.tile(np.arange(n_languages), len(facts))
    entity, relation = (
        np.repeat(column[facts], n_languages) for column in (corpus.world.entity, corpus.world.relation)
    )
    if len(np.unique(entity)) < folds:
        why = f"{len(np.unique(entity))} entities, but {folds} folds: train with more --world.n-entities"
        row = {"step": few[-1], "layer": 0, "role": roles[-1], "labels": "true"}
        nothing = pd.DataFrame([row | asdict(Reading.undefined(why, len(language), len(np.unique(entity))))])
        empty = {"step": few[-1], "layer": 0, "role": roles[-1], "bits": np.nan, "n": 0, "reason": why}
        return nothing, nothing.iloc[:0], pd.DataFrame([empty])
    fold = repeated_folds(entity, folds, generator(0, "folds"))
    shuffled = generator(0, "shuffled labels").permuted(language.reshape(len(facts), -1), axis=1).reshape(-1)
    rows, left_out, codes = [], [], []

    def read(x: Float[np.ndarray, "row d"], label: Int[np.ndarray, " row"], by: Int[np.ndarray, "*repeat row"]) -> dict:
        return asdict(probe(x, label, entity, by, generator(0, "probe")))

    for role in roles:
        x = bag_of_tokens(corpus, facts, role)
        rows.append({"step": -1, "layer": -1, "role": role, "labels": "true"} | read(x, language, fold))
    vectors = activations(run, "resid_post", facts=facts, role=list(roles))
    for step in run.steps:
        here = [role for role in roles if step in few or role == "prompt_last"]
        for role in here:
            h = vectors.sel(checkpoint=step, role=role).transpose("layer", "fact", "language", "d_model").values
            for layer, x in enumerate(rearrange(h.astype(float), "layer fact language d -> layer (fact language) d")):
                place = {"step": step, "layer": layer, "role": role}
                rows.append(place | {"labels": "true"} | read(x, language, fold))
                if step in few:
                    rows.append(place | {"labels": "shuffled"} | read(x, shuffled, fold))
                if step in (few[0], few[-1]):
                    left_out.append(place | read(x, language, relation))
                    bits, reason = code_length(x, language, entity, generator(0, "order of coding"))
                    codes.append(place | {"bits": bits, "n": len(x), "reason": reason})
    return pd.DataFrame(rows), pd.DataFrame(left_out), pd.DataFrame(codes)


def bag_of_tokens(corpus: Corpus, facts: Int[np.ndarray, " fact"], role: str) -> Float[np.ndarray, "row token"]:
    """How often each token occurs from BOS up to a role, in facts crossed with languages; unused tokens left out."""
    fact, language = crossed(facts, corpus.world.n_languages)
    tokens = corpus.sequences(fact, language).prompts()
    at = role_positions(corpus, fact, language, [role])[:, 0]
    row, place = np.nonzero((np.arange(tokens.shape[1]) <= at[:, None]) & (tokens >= 0))
    counts = np.zeros((len(tokens), int(tokens.max()) + 1))
    np.add.at(counts, (row, tokens[row, place]), 1)
    return counts[:, counts.std(axis=0) > 0] if (counts.std(axis=0) > 0).any() else counts[:, :1]


def value_readings(run: Run, facts: Int[np.ndarray, " fact"], few: Sequence[int], folds: int) -> pd.DataFrame:
    """Whether one reader of the value serves both languages: trained in one, on facts told in it, tried in each.

    Tried on held-out entities' facts: `same` (the language of training, told there), `other told` (another language,
    told there) and `other untold` (another language, of facts told in the reader's alone). The null: the same readers
    trained on values permuted among facts of a relation.
    """
    corpus = run.corpus
    world, told = corpus.world, corpus.mixture.told[facts]
    entity, relation, value = world.entity[facts], world.relation[facts], world.value[facts]
    if len(np.unique(entity)) < folds:
        return pd.DataFrame(columns=["step", "layer", "tried", "labels", "accuracy", "low", "high", "n", "reason"])
    fold = entity_folds(entity, folds, generator(0, "folds"))
    permuted = value.copy()
    for r in np.unique(relation):
        here = np.flatnonzero(relation == r)
        permuted[here] = value[generator(0, f"values permuted {r}").permutation(here)]
    over = EntityBootstrap(entity, DRAWS, generator(0, "entities drawn"))
    vectors = activations(run, "resid_post", facts=facts, role="prompt_last")
    rows = []
    for step in few:
        h = vectors.sel(checkpoint=step, role="prompt_last").transpose("layer", "fact", "language", "d_model").values
        for layer, x in enumerate(h.astype(float)):
            for labels, learned in (("true", value), ("permuted", permuted)):
                if labels == "permuted" and step != few[-1]:
                    continue
                right = _tried(x, learned, value, told, relation, fold)
                for tried, (hits, of) in right.items():
                    place = {"step": step, "layer": layer, "tried": tried, "labels": labels}
                    if not len(of):
                        row = {"accuracy": np.nan, "low": np.nan, "high": np.nan, "n": 0, "reason": "no such facts"}
                    else:
                        mean, low, high = over.mean(hits, entity[of])
                        row = {"accuracy": mean, "low": low, "high": high, "n": len(of), "reason": ""}
                    rows.append(place | row)
    return pd.DataFrame(rows)


def _tried(
    x: Float[np.ndarray, "fact language d"],
    learned: Int[np.ndarray, "fact language"],
    value: Int[np.ndarray, "fact language"],
    told: np.ndarray,
    relation: Int[np.ndarray, " fact"],
    fold: Int[np.ndarray, " fact"],
) -> dict[str, tuple[np.ndarray, Int[np.ndarray, " try"]]]:
    """Whether each held-out fact's value was read rightly, and of which fact each try is, by kind of try."""
    n_languages = x.shape[1]
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"same": [], "other told": [], "other untold": []}
    for a in range(n_languages):
        for r in np.unique(relation):
            for held_out in np.unique(fold):
                train = np.flatnonzero((relation == r) & (fold != held_out) & told[:, a])
                if len(train) < FEWEST_FACTS:
                    continue
                reader = value_reader(x[train, a], learned[train, a])
                rest = (relation == r) & (fold == held_out)
                for b in range(n_languages):
                    kinds = (("same", told[:, a]),) if a == b else (
                        ("other told", told[:, b]), ("other untold", told[:, a] & ~told[:, b])
                    )  # fmt: skip
                    for kind, chosen in kinds:
                        test = np.flatnonzero(rest & chosen)
                        if len(test):
                            found[kind].append((reader(x[test, b]) == value[test, b], test))
    nothing = (np.zeros(0), np.zeros(0, dtype=int))
    return {
        kind: (np.concatenate([hits for hits, _ in parts]).astype(float), np.concatenate([of for _, of in parts]))
        if parts
        else nothing
        for kind, parts in found.items()
    }
