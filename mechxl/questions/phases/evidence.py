"""The evidence for the verdict on unification, and what of a first separation is no decay of the null's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mechxl.findings import Finding
from mechxl.measures.excess import Excess
from mechxl.measures.retrieval import references
from mechxl.questions import patching
from mechxl.questions.common import prompts_coincide
from mechxl.questions.kept import kept_finding
from mechxl.questions.question import declared
from mechxl.questions.unification.excess import estimates, excess_table
from mechxl.questions.unification.groups import groups_of
from mechxl.questions.verdict import CausalEvidence, LayerEvidence, Strand, Verdict, verdict
from mechxl.run import Run

HEADLINES = (("mono",), ("parallel",))


@dataclass(frozen=True)
class Separation:
    """Where S - W of the headline layer is lowest: the run's number and the excess there, with its interval."""

    step: int
    lowest: float
    null: float
    excess: float
    low: float
    high: float


def verdict_of(run: Run, thorough: bool) -> Verdict | None:
    """The verdict at the last checkpoint that the run and its null have in common; None without a null."""
    if run.null is None:
        return None
    if prompts_coincide(run.corpus):
        why = "the prompts are the same in all languages, so that a fact's vectors coincide by construction"
        return Verdict("undecided", (Strand("prompts", None, why),), "", ())
    causal, why = causal_evidence(kept_finding(run, declared("patching", patching), thorough))
    common = [step for step in run.steps if step in run.null.steps]
    if not common:
        return verdict([], causal, why)
    rows, own, chance = _excess_at(run, run.null, common[-1], thorough)
    layers = [_layer(layer, rows, own, chance) for layer in range(1, run.config.model.n_layers + 1)]
    return verdict(layers, causal, why)


def _excess_at(run: Run, null: Run, step: int, thorough: bool) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """The excess of the headline group at a checkpoint, for all layers together; the run's numbers; and chance."""
    for names in HEADLINES:
        groups, of_null = (groups_of(one.corpus, thorough, names, permutations=0) for one in (run, null))
        if groups and of_null:
            own = estimates(run, groups, [step])
            rows = excess_table(own, estimates(null, of_null, [step]), scanned=run.config.model.n_layers)
            return rows, own, references(next(iter(groups.values())).sample).retrieval_chance
    nothing = pd.DataFrame(columns=["layer", "measure"])
    return nothing, nothing, np.nan


def _layer(layer: int, rows: pd.DataFrame, own: pd.DataFrame, chance: float) -> LayerEvidence:
    found = {
        str(row.pop("measure")): Excess(**{name: row[name] for name in Excess.__dataclass_fields__})
        for row in rows[rows["layer"] == layer].to_dict("records")
    }
    nothing = Excess(*[np.nan] * 5, n=0, n_null=0, reason="no facts are in both groups")
    interval = own[(own["layer"] == layer) & (own["measure"] == "retrieval")]
    low, high = (float(interval[end].iloc[0]) if len(interval) else np.nan for end in ("low", "high"))
    return LayerEvidence(layer, found.get("alignment", nothing), found.get("retrieval", nothing), low, high, chance)


def causal_evidence(finding: Finding | None) -> tuple[list[CausalEvidence], str]:
    """Causal unification by group at the last step, or why there is none.

    Parallel facts come first: facts that transfer are chosen by what unification does, and those that do not are left
    out for the same reason.
    """
    if finding is None:
        return [], "patching was not asked of this run"
    if "curve" not in finding.tables or not len(finding.tables["curve"]):
        return [], "patching is not defined here"
    curve = finding.tables["curve"]
    rows = curve[(curve["direction"] == "both") & (curve["step"] == curve["step"].max())]
    by_group = {str(row["group"]): row for row in rows.to_dict("records")}
    groups = sorted((group for group in by_group if "not" not in group), key=lambda group: group != "parallel")
    return [_causal(group, by_group[group]) for group in groups], ""


def _causal(group: str, row: Mapping[Any, Any]) -> CausalEvidence:
    kind, _, transfers = group.partition(", ")
    group = f"{kind} facts that transfer" if transfers else f"{kind} facts"
    value, low, high = (float(row[f"unification{end}"]) for end in ("", "_low", "_high"))
    return CausalEvidence(group, value, low, high, int(row["n"]), str(row["reason"] or ""))


def separation_of(run: Run, scores: pd.DataFrame, layer: int, thorough: bool) -> Separation | None:
    """The excess of S - W where the run's own is lowest; None where that is never negative, or there is no null.

    Args:
        run: whose null.
        scores: of `scores_over_training`.
        layer: the headline's.
        thorough: all facts.
    """
    if run.null is None:
        return None
    curve = scores[(scores["layer"] == layer) & scores["score"].notna() & scores["step"].isin(run.null.steps)]
    if not len(curve) or curve["score"].min() >= 0:
        return None
    step = int(curve["step"].to_numpy()[int(curve["score"].to_numpy().argmin())])
    rows, *_ = _excess_at(run, run.null, step, thorough)
    row = rows[(rows["layer"] == layer) & (rows["measure"] == "score") & rows["low"].notna()].to_dict("records")
    if not row:
        return None
    return Separation(step, row[0]["run"], row[0]["null"], row[0]["value"], row[0]["low"], row[0]["high"])
