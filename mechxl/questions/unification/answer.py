"""unification: is a fact's vector the same in every language, and when does it become so?

Several measures side by side, of the residual stream at the prompt's last token, in every layer, for mono facts (the
headline), parallel facts and unseen entities apart, with intervals over entities, permutation nulls and checkpoint 0;
the same facts as a checkerboard and as a map; and whether the facts that are unified are those that transfer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mechxl.data.corpus import Corpus
from mechxl.findings import Finding
from mechxl.measures.measurement import Measurement
from mechxl.measures.projection import aligned, principal_plane
from mechxl.measures.retrieval import references
from mechxl.measures.sample import Sample
from mechxl.measures.statistics import scan_p
from mechxl.measures.table import MEASURES, Measure
from mechxl.measures.vectors import centre, cosine_matrix
from mechxl.questions.common import answers, few_steps, labels, null_notes, prompts_coincide, shown_facts
from mechxl.questions.unification.excess import Layers, over_null, vectors_by_step
from mechxl.questions.unification.excess_words import excess_words
from mechxl.questions.unification.groups import (
    DRAWS,
    FEW_PERMUTATIONS,
    PERMUTATIONS,
    VARIANTS,
    Group,
    groups_of,
    measure,
)
from mechxl.questions.unification.transfer import (
    SHOWN_LAYER,
    answered_right,
    auc_words,
    item_table,
    items_of,
    transfer_by_score,
)
from mechxl.questions.unification.words import words
from mechxl.run import Run

FEW_STEPS = 8  # checkpoints at which measures are taken that are not cheap
MANY_LANGUAGES = (
    5  # from so many on, pairs of languages are kept at these checkpoints alone: their rows grow as a square
)
CENTRINGS_SHOWN = ("whole", "per_language")

SAME_PROMPTS = (
    "The prompts are the same in all languages, so that a fact's vectors coincide by construction: nothing below is "
    "evidence of unification."
)

Place = dict[str, int | str]  # step, layer, group, centring


def compute(run: Run, thorough: bool = False, measures: Sequence[Measure] = MEASURES) -> Finding:
    """All measures over checkpoints and layers; the checkerboard, the map, and transfer by score.

    The facts are those of at most 1,000 entities a group in two languages, fewer in more. Cheap measures are taken at
    every checkpoint, the others and transfer by score at 8 of them, costly measures on the facts of at most 300
    entities (`mechxl.measures.table`).

    Args:
        run: a run with checkpoints.
        thorough: all facts at all checkpoints.
        measures: rows of a table of measures.
    """
    corpus = run.corpus
    groups = groups_of(corpus, thorough)
    headline = next(iter(groups))
    shown = shown_facts(corpus, groups[headline].facts)
    some_steps = run.steps if thorough else few_steps(run.steps, FEW_STEPS)
    mono_facts = groups["mono"].facts if "mono" in groups else np.zeros(0, dtype=int)
    items = items_of(corpus, mono_facts)

    estimates, pictures = _Estimates(), _Pictures()
    item_scores, right = {}, np.zeros(0, dtype=bool)
    for step, vectors in vectors_by_step(run, groups):
        _add_measures(estimates, step, vectors, groups, measures, all_costs=step in some_steps)
        if step in some_steps and len(items.fact):
            right = answered_right(run, step, items)
            for layer, h in enumerate(vectors["mono"][1:], start=1):
                auc, item_scores[layer] = transfer_by_score(h, items, right, corpus, mono_facts)
                place: Place = {"step": step, "layer": layer, "group": "mono", "centring": "whole"}
                estimates.add(place, "auc_transfer", auc)
        pictures.add(vectors[headline][SHOWN_LAYER], shown)

    table = estimates.table()
    notes = _notes(run, groups, groups[headline].facts[shown]) | {
        "costly_steps": list(some_steps),
        "shown_at_last": ["pairs"],
        "explained": pictures.explained,
    }
    tables = {
        "measures": table,
        "pairs": estimates.pairs(corpus),
        "items": item_table(corpus, items, item_scores, right, range(1, run.config.model.n_layers + 1)),
    } | over_null(run, table, thorough)
    summary = [SAME_PROMPTS] if prompts_coincide(corpus) else []
    summary += _pairs_measured(groups[headline].sample)
    summary += excess_words(tables["excess"], notes) + words(table, run.config, notes["references"], measures)
    summary += auc_words(table)
    return Finding("unification", summary, tables, notes, pictures.arrays())


def _add_measures(
    estimates: "_Estimates",
    step: int,
    vectors: Mapping[str, Layers],
    groups: Mapping[str, Group],
    measures: Sequence[Measure],
    *,
    all_costs: bool,
) -> None:
    """The measures of every group, centring and layer at one checkpoint."""
    rows = {row.name: row for row in measures}
    for group, centring in VARIANTS:
        if group not in groups:
            continue
        for layer, h in enumerate(vectors[group]):
            measurements = measure(h, groups[group], centring, measures, all_costs=all_costs, by_token=layer == 0)
            for name, measurement in measurements.items():
                place: Place = {"step": step, "layer": layer, "group": group, "centring": centring}
                estimates.add(place, name, measurement, rows[name], by_pair=all_costs or h.shape[1] < MANY_LANGUAGES)


@dataclass
class _Estimates:
    """Rows of the table and null draws as they come in.

    Attributes:
        rows: place, measure and estimate.
        nulls: the null draws of each row.
        measures: the row of the table of measures that each is of; None for AUC.
        by_pair: place, measure, languages and estimate of each ordered pair of languages.
    """

    rows: list[dict[str, object]] = field(default_factory=list)
    nulls: list[Float[np.ndarray, " permutation"]] = field(default_factory=list)
    measures: list[Measure | None] = field(default_factory=list)
    by_pair: list[dict[str, object]] = field(default_factory=list)

    def add(
        self, place: Place, name: str, measurement: Measurement, measure: Measure | None = None, *, by_pair: bool = True
    ) -> None:
        """One measurement of one checkpoint, layer, group and centring, and whether pairs of languages are kept."""
        self.rows.append({**place, "measure": name, **asdict(measurement.pooled)})
        self.nulls.append(measurement.null)
        self.measures.append(measure)
        if by_pair and place["centring"] == "whole":
            place = {key: place[key] for key in ("step", "layer", "group")}
            for (a, b), estimate in measurement.pairs.items():
                self.by_pair.append({**place, "measure": name, "from": a, "to": b, **asdict(estimate)})

    def table(self) -> pd.DataFrame:
        """A row an estimate, with p_scan: the p-value that holds over all checkpoints and layers of its curve."""
        table = pd.DataFrame(self.rows)
        p_scan = np.full(len(table), np.nan)
        tested = table[table["p"].notna()]
        for _, rows in tested.groupby(["group", "centring", "measure"]):
            measure = self.measures[rows.index[0]]
            if measure is not None and measure.null == "same value":  # permutations differ between places
                p_scan[rows.index] = np.minimum(1, rows["p"] * len(rows))
                continue
            sign = -1 if measure is not None and measure.small_is_close else 1
            null = sign * np.array([self.nulls[index] for index in rows.index])
            p_scan[rows.index] = scan_p(sign * rows["value"].to_numpy(), null)
        columns = list(table.columns)
        columns.insert(columns.index("p") + 1, "p_scan")
        return table.assign(p_scan=p_scan)[columns]

    def pairs(self, corpus: Corpus) -> pd.DataFrame:
        """Each ordered pair of languages, by checkpoint."""
        languages = dict(enumerate(corpus.lexicon.language_names))
        rows = pd.DataFrame(self.by_pair)
        return rows.assign(**{end: rows[end].map(languages) for end in ("from", "to")}) if len(rows) else rows


@dataclass
class _Pictures:
    """The checkerboard and the map of the facts shown, checkpoint by checkpoint."""

    boards: list[Int[np.ndarray, "rendering rendering"]] = field(default_factory=list)
    planes: list[list[Float[np.ndarray, "rendering 2"]]] = field(default_factory=list)
    explained: list[list[float]] = field(default_factory=list)

    def add(self, h: Float[np.ndarray, "fact language d"], shown: Int[np.ndarray, " shown"]) -> None:
        """Those of one checkpoint."""
        self.boards.append(np.rint(100 * cosine_matrix(centre(h, "whole")[shown])).astype(int))
        planes = [_plane(h, centring, shown) for centring in CENTRINGS_SHOWN]
        self.planes.append([plane for plane, _ in planes])
        self.explained.append([round(float(share), 3) for _, share in planes])

    def arrays(self) -> dict[str, np.ndarray]:
        """The boards, and the maps by centring, each turned to lie near the next."""
        maps = [aligned([planes[index] for planes in self.planes]) for index in range(len(CENTRINGS_SHOWN))]
        return {"checkerboard": np.array(self.boards), "map": np.array(maps)}


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


def _notes(run: Run, groups: Mapping[str, Group], shown: Int[np.ndarray, " shown"]) -> dict:
    """What figures and readers must know of how the measures were taken, and of the facts shown."""
    corpus = run.corpus
    world, of_group = corpus.world, corpus.mixture.group
    return {
        "layers": run.config.model.n_layers,
        "null": null_notes(run),
        "headline": next(iter(groups)),
        "steps": run.steps,
        "draws": DRAWS,
        "permutations": PERMUTATIONS,
        "few_permutations": FEW_PERMUTATIONS,
        "languages": corpus.lexicon.language_names,
        "shown_facts": labels(corpus, shown),
        "shown_answers": answers(run, shown),
        "shown_relation": world.relation[shown].tolist(),
        "sizes": {name: _sizes(corpus, group.facts) for name, group in groups.items()},
        "few_sizes": {name: _sizes(corpus, group.facts[group.few]) for name, group in groups.items()},
        "sampled": [name for name, group in groups.items() if len(group.facts) < (of_group == name).sum()],
        "references": {name: _references(group.sample) for name, group in groups.items()},
    }


def _references(sample: Sample) -> dict[str, float]:
    """What retrieval gives by chance and by a code of the value alone; what is not defined is left out."""
    return {name: value for name, value in asdict(references(sample)).items() if np.isfinite(value)}


def _pairs_measured(sample: Sample) -> list[str]:
    """A sentence where not all pairs of languages are measured."""
    n = sample.n_languages
    if not sample.ring:
        return []
    return [
        f"Of {n * (n - 1) // 2} pairs of languages, {len(sample.unordered)} are measured: neighbours on a random ring, "
        f"so that each of the {n} languages is in two."
    ]


def _sizes(corpus: Corpus, facts: Int[np.ndarray, " fact"]) -> list[int]:
    return [len(facts), len(np.unique(corpus.world.entity[facts]))]
