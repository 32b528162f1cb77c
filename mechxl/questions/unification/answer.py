"""unification: is a fact's vector the same in every language, and when does it become so?

Several measures side by side, of the residual stream at the prompt's last token, in every layer, for mono facts (the
headline), parallel facts and unseen entities apart, with intervals over entities, permutation nulls and checkpoint 0;
the same facts as a checkerboard and as a map; and whether the facts that are unified are those that transfer.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from mechxl.data.corpus import Corpus
from mechxl.findings import Finding
from mechxl.instruments.activations.store import activations
from mechxl.measures.measured import Measured
from mechxl.measures.projection import aligned, principal_plane
from mechxl.measures.retrieval import references
from mechxl.measures.sample import Sample
from mechxl.measures.statistics import scan_p
from mechxl.measures.vectors import centre, cosine_matrix
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.questions.common import answers, few_steps, labels, shown_facts
from mechxl.questions.unification.measuring import (
    DRAWS,
    FEW_PERMUTATIONS,
    PERMUTATIONS,
    SMALL_IS_CLOSE,
    VARIANTS,
    Items,
    groups,
    items_of,
    measure,
    transfer_by_score,
)
from mechxl.questions.unification.words import words
from mechxl.run import Run

FEW_STEPS = 8  # checkpoints that the costly measures are taken at
SHOWN_LAYER = 1
CENTRINGS_SHOWN = ("whole", "per_language")


def compute(run: Run, thorough: bool = False) -> Finding:
    """All measures over checkpoints and layers; the checkerboard, the map, and transfer by score.

    Score and retrieval are taken at every checkpoint on all facts of at most 1,000 entities a group; CKA, Procrustes,
    the checkerboard correlation, the spectrum, the controls and transfer by score at 8 checkpoints, the first three of
    these on the facts of at most 300 entities.

    Args:
        run: a run with checkpoints.
        thorough: all facts at all checkpoints.
    """
    corpus = run.corpus
    of = corpus.mixture.group
    parts = groups(corpus, thorough)
    main = next(iter(parts))
    shown = shown_facts(corpus, parts[main].facts)
    costly = run.steps if thorough else few_steps(run.steps, FEW_STEPS)
    items = items_of(corpus, parts["mono"].facts if "mono" in parts else np.zeros(0, dtype=int))

    found = _Found()
    boards, planes, item_scores, right = [], [], {}, np.zeros(0, dtype=bool)
    asked = np.concatenate([group.facts for group in parts.values()])
    ends = np.cumsum([len(group.facts) for group in parts.values()])[:-1]
    vectors = activations(run, "resid_post", facts=asked, role="prompt_last")
    for step in run.steps:
        layers = vectors.sel(checkpoint=step, role="prompt_last").transpose("layer", "fact", "language", "d_model")
        by_group = dict(zip(parts, np.split(layers.values.astype(float), ends, axis=1), strict=True))
        for name, centring in ((name, centring) for name, centring in VARIANTS if name in parts):
            for layer, h in enumerate(by_group[name]):
                taken = measure(h, parts[name], centring, costly=step in costly, by_token=layer == 0)
                found.add({"step": step, "layer": layer, "group": name, "centring": centring}, taken)
        if step in costly and len(items.fact):
            right = _right(run, step, items)
            for layer, h in enumerate(by_group["mono"][1:], start=1):
                taken, item_scores[layer] = transfer_by_score(h, items, right, corpus, parts["mono"].facts)
                place = {"step": step, "layer": layer, "group": "mono", "centring": "whole"}
                found.add(place, {"auc_transfer": taken})
        h = by_group[main][SHOWN_LAYER]
        boards.append(np.rint(100 * cosine_matrix(centre(h, "whole")[shown])).astype(int))
        planes.append([_plane(h, centring, shown) for centring in CENTRINGS_SHOWN])

    table = found.table()
    beside = {name: _references(group.sample) for name, group in parts.items()}
    notes = {
        "layers": run.config.model.n_layers,
        "headline": main,
        "steps": run.steps,
        "costly_steps": list(costly),
        "draws": DRAWS,
        "permutations": PERMUTATIONS,
        "few_permutations": FEW_PERMUTATIONS,
        "languages": corpus.lexicon.language_names,
        "shown_facts": labels(corpus, parts[main].facts[shown]),
        "shown_answers": answers(run, parts[main].facts[shown]),
        "shown_relation": corpus.world.relation[parts[main].facts[shown]].tolist(),
        "explained": [[round(float(share), 3) for _, share in pair] for pair in planes],
        "sizes": {name: _sizes(corpus, group.facts) for name, group in parts.items()},
        "few_sizes": {name: _sizes(corpus, group.facts[group.few]) for name, group in parts.items()},
        "sampled": [name for name, group in parts.items() if len(group.facts) < (of == name).sum()],
        "references": beside,
    }
    shown_map = np.array([aligned([pair[at][0] for pair in planes]) for at in range(len(CENTRINGS_SHOWN))])
    return Finding(
        "unification",
        words(table, run.config, beside),
        {"measures": table, "pairs": found.pairs(corpus), "items": _item_table(corpus, items, item_scores, right)},
        notes,
        {"checkerboard": np.array(boards), "map": shown_map},
    )


class _Found:
    """Rows of the table and null draws as they come in."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.nulls: list[Float[np.ndarray, " permutation"]] = []
        self.last: dict[tuple[int, str], dict[str, Measured]] = {}

    def add(self, place: dict[str, Any], measures: dict[str, Measured]) -> None:
        """Measures of one checkpoint, layer, group and centring."""
        for name, taken in measures.items():
            self.rows.append(place | {"measure": name} | asdict(taken.pooled))
            self.nulls.append(taken.null)
        if place["centring"] == "whole":
            self.last.setdefault((place["layer"], place["group"]), {}).update(measures)

    def table(self) -> pd.DataFrame:
        """A row an estimate, with p_scan: the p-value that holds over all checkpoints and layers of its curve."""
        table = pd.DataFrame(self.rows)
        p_scan = np.full(len(table), np.nan)
        tested = table[table["p"].notna()]
        for (_, _, measure_name), rows in tested.groupby(["group", "centring", "measure"]):
            if measure_name == "beyond_value":  # its null draws are not one permutation for all places: Bonferroni
                p_scan[rows.index] = np.minimum(1, rows["p"] * len(rows))
                continue
            sign = -1 if measure_name in SMALL_IS_CLOSE else 1
            null = sign * np.array([self.nulls[at] for at in rows.index])
            p_scan[rows.index] = scan_p(sign * rows["value"].to_numpy(), null)
        columns = list(table.columns)
        columns.insert(columns.index("p") + 1, "p_scan")
        return table.assign(p_scan=p_scan)[columns]

    def pairs(self, corpus: Corpus) -> pd.DataFrame:
        """Each ordered pair of languages at the last checkpoint."""
        names = corpus.lexicon.language_names
        rows = []
        for (layer, group), measures in self.last.items():
            for name, taken in measures.items():
                for (a, b), estimate in taken.pairs.items():
                    place = {"layer": layer, "group": group, "measure": name, "from": names[a], "to": names[b]}
                    rows.append(place | asdict(estimate))
        return pd.DataFrame(rows)


def _right(run: Run, step: int, items: Items) -> Bool[np.ndarray, " item"]:
    return ask_questions(
        run.model(step), Questions.of(run.corpus, items.fact, items.asked), answer_trie(run.corpus)
    ).right


def _item_table(
    corpus: Corpus,
    items: Items,
    scores: dict[int, Float[np.ndarray, " item"]],
    right: Bool[np.ndarray, " item"],
) -> pd.DataFrame:
    """Each transfer item at the last checkpoint: the score of its fact at the layer shown, and whether it was right."""
    fact, told, asked = items.fact, items.told, items.asked
    names = np.array(corpus.lexicon.language_names)
    score = scores.get(SHOWN_LAYER, np.full(len(fact), np.nan))
    columns = {"fact": fact, "told": names[told], "asked": names[asked], "score": score, "right": right.astype(int)}
    reason = np.where(np.isfinite(score), "", "the only fact of its relation in the sample")
    return pd.DataFrame(columns | {"reason": reason})


def _plane(
    h: Float[np.ndarray, "fact language d"], centring: str, shown: Int[np.ndarray, " shown"]
) -> tuple[Float[np.ndarray, "rendering 2"], float]:
    """The shown facts' renderings, fact by fact, on the plane of all, in units of their root mean square length.

    The origin for all where centring leaves nothing, as it does of one fact's renderings, each on itself.
    """
    centred = centre(h, centring)
    size = np.sqrt((centred**2).sum(axis=2).mean())
    if not size > 0:
        return np.zeros((len(shown) * h.shape[1], 2)), 0.0
    centred = centred / size
    return principal_plane(centred.reshape(-1, h.shape[2]), centred[shown].reshape(-1, h.shape[2]))


def _references(sample: Sample) -> dict[str, float]:
    """What retrieval gives by chance and by a code of the value alone; what is not defined is left out."""
    return {name: value for name, value in asdict(references(sample)).items() if np.isfinite(value)}


def _sizes(corpus: Corpus, facts: Int[np.ndarray, " fact"]) -> list[int]:
    return [len(facts), len(np.unique(corpus.world.entity[facts]))]
