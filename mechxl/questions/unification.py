"""unification: is a fact's vector the same in every language, and when does it become so?

The score S - W at the prompt's last token, in every layer at every checkpoint, with its parts, an interval over
entities and the permutation null of S = X; and the checkerboard of cosines between the renderings of some facts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mechxl.data.corpus import crossed
from mechxl.data.world import stream
from mechxl.findings import Finding, signed
from mechxl.instruments.residual import residuals
from mechxl.measures.sample import entity_permutations
from mechxl.measures.score import permuted_same, score_parts, weighted_parts
from mechxl.measures.statistics import entity_weights, interval, permutation_p, scan_p
from mechxl.measures.vectors import centre, cosine_matrix, undefined, unit
from mechxl.questions.unification_figures import figures as figures
from mechxl.run import Run

DRAWS = 1000
PERMUTATIONS = 1000
MOST_ENTITIES = 1000
CHECKERBOARD_FACTS = 32
PARTS = ("S", "W", "X", "score", "alignment", "separation")
VARIANTS = (("mono", "whole"), ("mono", "per_language"), ("parallel", "whole"), ("unseen", "whole"))


@dataclass(frozen=True)
class Group:
    """Facts measured together, with the random draws that every layer and checkpoint shares.

    Attributes:
        facts: which facts.
        relation: of each.
        entity: of each.
        weights: bootstrap weights.
        partners: permutations of entities.
        one_token: whether in some language all prompts of a relation end in one token.
    """

    facts: Int[np.ndarray, " fact"]
    relation: Int[np.ndarray, " fact"]
    entity: Int[np.ndarray, " fact"]
    weights: Float[np.ndarray, "draw fact"]
    partners: list[Int[np.ndarray, "language draw member"]]
    one_token: bool


def compute(run: Run, thorough: bool = False) -> Finding:
    """The score and its parts for mono (the headline), parallel and unseen facts; and the checkerboard.

    Args:
        run: a run with checkpoints.
        thorough: all facts rather than those of at most 1,000 entities a group.
    """
    corpus = run.corpus
    of = corpus.mixture.group
    groups = {name: _group(run, np.flatnonzero(of == name), thorough) for name in ("mono", "parallel", "unseen")}
    board_group = "mono" if len(groups["mono"].facts) else "parallel"
    board = _checkerboard_facts(run, groups[board_group].facts)

    asked = np.concatenate([group.facts for group in groups.values()])
    ends = np.cumsum([len(group.facts) for group in groups.values()])
    rows, nulls, boards = [], [], []
    for step in run.steps:
        parts = np.split(residuals(run, step, asked), ends[:-1], axis=1)
        for (name, group), layers in zip(groups.items(), parts, strict=True):
            if not len(group.facts):
                continue
            for layer, h in enumerate(layers.astype(float)):
                for _, centring in (variant for variant in VARIANTS if variant[0] == name):
                    row, null = _measure(h, centring, group, by_token=layer == 0)
                    rows.append({"step": step, "layer": layer, "group": name, "centring": centring} | row)
                    nulls.append(null)
            if name == board_group:
                place = np.searchsorted(group.facts, board)
                whole = centre(layers[1].astype(float), "whole")[place]
                boards.append(np.rint(100 * cosine_matrix(whole)).astype(int))
    table = _scanned(pd.DataFrame(rows), nulls)
    notes = {
        "layers": run.config.model.n_layers,
        "headline": headline_group(table),
        "steps": run.steps,
        "draws": DRAWS,
        "permutations": PERMUTATIONS,
        "languages": corpus.lexicon.language_names,
        "checkerboard_group": board_group,
        "checkerboard_facts": _labels(run, board),
        "sampled": [name for name, group in groups.items() if len(group.facts) < (of == name).sum()],
    }
    return Finding(
        "unification",
        _words(table, run.config.languages.shared_names),
        {"score": table},
        notes,
        {"checkerboard": np.array(boards)},
    )


def _group(run: Run, facts: Int[np.ndarray, " fact"], thorough: bool) -> Group:
    world = run.corpus.world
    entities = np.unique(world.entity[facts])
    if not thorough and len(entities) > MOST_ENTITIES:
        kept = stream(0, "entities measured").permutation(entities)[:MOST_ENTITIES]
        facts = facts[np.isin(world.entity[facts], kept)]
    relation, entity = world.relation[facts], world.entity[facts]
    if not len(facts):
        return Group(facts, relation, entity, np.zeros((DRAWS, 0)), [], one_token=False)
    return Group(
        facts,
        relation,
        entity,
        entity_weights(entity, DRAWS, stream(0, "bootstrap")),
        entity_permutations(entity, relation, world.n_languages, PERMUTATIONS, stream(0, "permutations")),
        _one_token(run, facts),
    )


def _measure(
    h: Float[np.ndarray, "fact language d"], centring: str, group: Group, by_token: bool
) -> tuple[dict[str, Any], Float[np.ndarray, " draw"]]:
    """A row of the table, and S - X under each permutation; by_token: h is a function of the token and its position."""
    row: dict[str, Any] = {"facts": len(group.facts), "entities": len(np.unique(group.entity)), "reason": ""}
    reason = undefined(h, group.relation)
    if by_token and group.one_token:
        reason = "every fact of a relation ends in the same token by construction"
    if reason:
        row |= {name: np.nan for part in PARTS for name in (part, f"{part}_low", f"{part}_high")}
        return row | {"null": np.nan, "p": np.nan, "reason": reason}, np.full(PERMUTATIONS, np.nan)
    u = unit(centre(h, centring))
    parts = score_parts(u, group.relation)
    drawn = weighted_parts(u, group.relation, group.weights)
    permuted = permuted_same(u, group.relation, group.partners)
    for part in PARTS:
        row[part] = getattr(parts, part)
        row[f"{part}_low"], row[f"{part}_high"] = interval(getattr(drawn, part))
    row |= {"null": float(permuted.mean() - parts.W), "p": permutation_p(parts.S, permuted)}
    return row, permuted - parts.X


def _one_token(run: Run, facts: Int[np.ndarray, " fact"]) -> bool:
    """Whether in some language all prompts of a relation end in one token, as where its word stands last."""
    corpus = run.corpus
    s = corpus.sequences(*crossed(facts, corpus.world.n_languages))
    last = s.tokens[np.arange(len(s.tokens)), s.prompt_length - 1].reshape(len(facts), -1)
    relation = corpus.world.relation[facts]
    return any((last[relation == r] == last[relation == r][:1]).all(axis=0).any() for r in np.unique(relation))


def _scanned(table: pd.DataFrame, nulls: list[Float[np.ndarray, " draw"]]) -> pd.DataFrame:
    """Adds p_scan: the p-value that holds over all layers and checkpoints of a group and centring."""
    null, p_scan = np.array(nulls), np.full(len(table), np.nan)
    defined = table["p"].notna().to_numpy()
    for group, centring in VARIANTS:
        same = (table["group"] == group) & (table["centring"] == centring)
        if len(place := np.flatnonzero(same.to_numpy() & defined)):
            p_scan[place] = scan_p(table["alignment"].to_numpy()[place], null[place])
    return table.assign(p_scan=p_scan)


def _checkerboard_facts(run: Run, facts: Int[np.ndarray, " fact"]) -> Int[np.ndarray, " shown"]:
    """A few facts of each of at most four relations, ordered by relation and value."""
    world = run.corpus.world
    relations = np.unique(world.relation[facts])[:4]
    each = CHECKERBOARD_FACTS // max(len(relations), 1)
    chosen = []
    for relation in relations:
        here = stream(0, f"checkerboard {relation}").permutation(facts[world.relation[facts] == relation])[:each]
        chosen.append(here[np.lexsort((here, world.value[here, 0]))])
    return np.concatenate(chosen)


def _labels(run: Run, facts: Int[np.ndarray, " shown"]) -> list[list[str]]:
    """Each rendering as text: by language, then by fact."""
    corpus = run.corpus
    return [[corpus.text(int(fact), language) for fact in facts] for language in range(corpus.world.n_languages)]


def _words(table: pd.DataFrame, shared_names: float) -> list[str]:
    """A sentence a layer: its lowest score, when it turns positive, where it ends; and the unseen beside it."""
    said = []
    main = table[(table["group"] == headline_group(table)) & (table["centring"] == "whole") & table["score"].notna()]
    for layer in sorted(set(main["layer"])):
        curve = main[main["layer"] == layer]
        last, lowest = curve.iloc[-1], curve.iloc[int(curve["score"].to_numpy().argmin())]
        later = curve["step"][(curve["score"] > 0) & (curve["step"] > lowest["step"])]
        turn = f"turns positive by step {later.iloc[0]:,}" if len(later) else "does not turn positive"
        fall = f"is lowest at step {lowest['step']:,} ({signed(lowest['score'])}), {turn}"
        story = fall if lowest["score"] < 0 else "is never negative"
        said.append(
            f"Layer {layer}: the unification score S − W of {last['group']} facts {story}, and ends at "
            f"{_interval(last)} (S {signed(last['S'])}, W {signed(last['W'])}, X {signed(last['X'])}; with entities "
            f"permuted {signed(last['null'])}; S against X: p = {signed(last['p_scan'], 3)} over all layers and "
            f"checkpoints; n = {last['facts']:,} facts of {last['entities']:,} entities)."
        )
    unseen = table[(table["group"] == "unseen") & (table["layer"] == 1) & table["score"].notna()]
    if said and len(unseen):
        names = "; with shared names it shows a shared entity as much as a shared fact" if shared_names > 0 else ""
        said.append(
            f"Entities without facts, which training never names, score {_interval(unseen.iloc[-1])} at layer 1 (n = "
            f"{unseen['facts'].iloc[-1]:,} prompts): the score by itself is no evidence of shared facts{names}. What "
            "counts is its excess over a run with --world.shared-facts 0, and whether transfer goes with it."
        )
    return said or [f"The unification score is not defined: {table['reason'].iloc[-1]}."]


def _interval(row: pd.Series) -> str:
    return f"{signed(row['score'])} [{signed(row['score_low'])}, {signed(row['score_high'])}]"


def headline_group(table: pd.DataFrame) -> str:
    """The group that the words and the main figures are about: mono facts, or parallel ones where no fact is mono."""
    groups = set(table["group"])
    return next(name for name in ("mono", "parallel", "unseen") if name in groups)
