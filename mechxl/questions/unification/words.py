"""The question `unification` in words: what each layer's score did, and whether the measures agree."""

from collections.abc import Mapping

import pandas as pd

from mechxl.config import RunConfig
from mechxl.findings import signed

CLEAR = 0.05

# Measures that are tested against entities permuted, as a reader names them.
TESTED = {
    "alignment": "S − X",
    "retrieval": "retrieval",
    "mexa": "MEXA",
    "cka": "CKA",
    "procrustes": "Procrustes residual",
    "checkerboard": "checkerboard correlation",
}
BLIND_TO_OFFSET = "the measures other than S − W and retrieval do not see an offset or a turn between the languages"


def words(table: pd.DataFrame, config: RunConfig, references: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A sentence a layer on the score, one on the other measures, and what both leave open.

    Args:
        table: a row an estimate.
        config: the run's settings.
        references: what retrieval gives by chance and by a code of the value, by group.
    """
    group, said = headline_group(table), []
    main = table[(table["group"] == group) & (table["centring"] == "whole")]
    for layer in sorted(set(main["layer"])):
        here = main[main["layer"] == layer]
        if len(curve := _curve(here, "score")):
            said += [_story(curve, here, layer), _agreement(here, layer, references[group])]
    unseen = _curve(table[(table["group"] == "unseen") & (table["layer"] == 1)], "score")
    if said and len(unseen):
        shared = config.languages.shared_names > 0
        names = "; with shared names it shows a shared entity as much as a shared fact" if shared else ""
        said.append(
            f"Entities without facts, which training never names, score {_interval(unseen.iloc[-1])} at layer 1 (n = "
            f"{unseen['n'].iloc[-1]:,} prompts): no measure is by itself evidence of shared facts{names}. What "
            "counts is its excess over a run with --world.shared-facts 0, and whether transfer goes with it."
        )
    return said or [f"The unification score is not defined: {table['reason'].iloc[-1]}."]


def headline_group(table: pd.DataFrame) -> str:
    """The group that the words and the main figures are about: mono facts, or parallel ones where no fact is mono."""
    groups = set(table["group"])
    return next(name for name in ("mono", "parallel", "unseen") if name in groups)


def _curve(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    return rows[(rows["measure"] == measure) & rows["value"].notna()]


def _story(curve: pd.DataFrame, here: pd.DataFrame, layer: int) -> str:
    last, lowest = curve.iloc[-1], curve.iloc[int(curve["value"].to_numpy().argmin())]
    later = curve["step"][(curve["value"] > 0) & (curve["step"] > lowest["step"])]
    turn = f"turns positive by step {later.iloc[0]:,}" if len(later) else "does not turn positive"
    fall = f"is lowest at step {lowest['step']:,} ({signed(lowest['value'])}), {turn}"
    story = fall if lowest["value"] < 0 else "is never negative"
    parts = ", ".join(f"{name} {signed(_curve(here, name)['value'].iloc[-1])}" for name in ("S", "W", "X"))
    return (
        f"Layer {layer}: the unification score S − W of {last['group']} facts {story}, and ends at {_interval(last)} "
        f"({parts}; with entities permuted {signed(last['null'])}, which is X − W; n = {last['n']:,} facts of "
        f"{last['entities']:,} entities)."
    )


def _agreement(here: pd.DataFrame, layer: int, references: Mapping[str, float]) -> str:
    """Which measures find the same fact at the last checkpoint, which rose, and where they disagree with the score."""
    shown, clear, missed, not_risen = [], [], [], []
    for measure, name in TESTED.items():
        curve = _curve(here, measure)
        if not len(curve):
            continue
        first, last = curve.iloc[0], curve.iloc[-1]
        (clear if last["p_scan"] <= CLEAR else missed).append(name)
        if not _risen(measure, first, last):
            not_risen.append(f"{name} ({signed(first['value'])} there, {_between(measure, curve)})")
        shown.append(f"{name} {_interval(last)}")
    score = _curve(here, "score").iloc[-1]
    code = references.get("value_code")
    beside = f"; retrieval by a code of the value alone: {signed(code)}" if code is not None else ""
    said = f"Layer {layer}, other measures at the end: {', '.join(shown)}{beside}. "
    said += f"{_listed(clear)} clear their" if clear else "None clears its"
    said += f" permutation null (p ≤ {signed(CLEAR)} over all layers and checkpoints)"
    said += f"; {_listed(missed)} do not." if clear and missed else "."
    said += (
        f" No closer than at checkpoint 0: {_listed(not_risen)}."
        if not_risen
        else " All are closer than at checkpoint 0."
    )
    if clear and score["high"] < 0:
        said += f" They disagree with the score, which is negative: the language dominates, and {BLIND_TO_OFFSET}."
    elif clear and not missed and score["low"] > 0:
        said += " They agree with the score, which is positive."
    return said


def _risen(measure: str, first: pd.Series, last: pd.Series) -> bool:
    """Whether the last interval lies wholly on the unified side of the first (a Procrustes residual falls)."""
    return bool(last["high"] < first["low"] if measure == "procrustes" else last["low"] > first["high"])


def _between(measure: str, curve: pd.DataFrame) -> str:
    """Where between its ends a curve was farthest from unified."""
    values = curve["value"].to_numpy() * (-1 if measure == "procrustes" else 1)
    worst = curve.iloc[int(values.argmin())]
    return f"{signed(worst['value'])} at step {worst['step']:,}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"


def _interval(row: pd.Series) -> str:
    return f"{signed(row['value'])} [{signed(row['low'])}, {signed(row['high'])}]"
