"""The question `unification` in words: what each layer's score did, and whether the measures agree."""

from collections.abc import Mapping, Sequence

import pandas as pd

from mechxl.config import RunConfig
from mechxl.findings import counted, signed
from mechxl.measures.table import HEADLINE, MEASURES, Measure

CLEAR = 0.05


def words(
    table: pd.DataFrame,
    config: RunConfig,
    references: Mapping[str, Mapping[str, float]],
    measures: Sequence[Measure] = MEASURES,
) -> list[str]:
    """A sentence a layer on the score, one on the other measures, and what both leave open.

    Args:
        table: a row an estimate.
        config: the run's settings.
        references: what retrieval gives by chance and by a code of the value, by group.
        measures: the rows of the table of measures.
    """
    group = headline_group(table)
    main = table[(table["group"] == group) & (table["centring"] == "whole")]
    sentences = []
    for layer in sorted(set(main["layer"])):
        rows = main[main["layer"] == layer]
        if len(curve := _curve(rows, HEADLINE)):
            sentences += [_story(curve, rows, layer), _agreement(rows, layer, references[group], measures)]
    unseen = _curve(table[(table["group"] == "unseen") & (table["layer"] == 1)], HEADLINE)
    if sentences and len(unseen):
        shared = config.languages.shared_names > 0
        names = " With shared names it shows a shared entity as much as a shared fact." if shared else ""
        sentences.append(
            f"Unseen entities, which no training sentence names, score {_interval(unseen.iloc[-1])} at layer 1 (n = "
            f"{unseen['n'].iloc[-1]:,} prompts). No measure is by itself evidence of shared facts.{names} What "
            "counts is its excess over a run with --world.shared-facts 0, and whether transfer rises with it."
        )
    return sentences or [f"The unification score is not defined: {table['reason'].iloc[-1]}."]


def headline_group(table: pd.DataFrame) -> str:
    """The group that the words and the main figures are about: mono facts, or parallel ones where no fact is mono."""
    groups = set(table["group"])
    return next(name for name in ("mono", "parallel", "unseen") if name in groups)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: "A", "A and B", "A, B and C"; "none" where there are none."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0] if names else "none"


def _curve(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    return rows[(rows["measure"] == measure) & rows["value"].notna()]


def _story(curve: pd.DataFrame, rows: pd.DataFrame, layer: int) -> str:
    last, lowest = curve.iloc[-1], curve.iloc[int(curve["value"].to_numpy().argmin())]
    later = curve["step"][(curve["value"] > 0) & (curve["step"] > lowest["step"])]
    turn = f"turns positive by step {later.iloc[0]:,}" if len(later) else "does not turn positive"
    fall = f"is lowest at step {lowest['step']:,} ({signed(lowest['value'])}), {turn}"
    story = fall if lowest["value"] < 0 else "is never negative"
    parts = ", ".join(f"{name} {signed(_curve(rows, name)['value'].iloc[-1])}" for name in ("S", "W", "X"))
    return (
        f"Layer {layer}: the unification score S − W of {last['group']} facts {story}, and ends at {_interval(last)} "
        f"({parts}; with entities permuted {signed(last['null'])}, which is X − W; n = "
        f"{counted(int(last['n']), 'fact')} of {counted(int(last['entities']), 'entity')})."
    )


def _agreement(rows: pd.DataFrame, layer: int, references: Mapping[str, float], measures: Sequence[Measure]) -> str:
    """Which measures find the same fact at the last checkpoint, which rose, and where they disagree with the score."""
    curves = {measure: _curve(rows, measure.name) for measure in measures if measure.in_words}
    curves = {measure: curve for measure, curve in curves.items() if len(curve)}
    ends = {measure: curve.iloc[-1] for measure, curve in curves.items()}
    clear = [measure for measure, end in ends.items() if end["p_scan"] <= CLEAR]
    missed = [measure.label for measure in ends if measure not in clear]
    values = ", ".join(f"{measure.label} {_interval(end)}" for measure, end in ends.items())
    code = references.get("value_code")
    by_code = f"; retrieval by a code of the value alone: {signed(code)}" if code is not None else ""
    sentences = [f"Layer {layer}, other measures at the end: {values}{by_code}."]
    labels = listed([measure.label for measure in clear])
    cleared = f"{labels[0].upper()}{labels[1:]} {'clears its' if len(clear) == 1 else 'clear their'}"
    cleared = cleared if clear else "None clears its"
    cleared += f" permutation null (p ≤ {signed(CLEAR)} over all layers and checkpoints)"
    not_cleared = f"; {listed(missed)} {'does' if len(missed) == 1 else 'do'} not." if clear and missed else "."
    sentences.append(cleared + not_cleared)
    not_risen = [
        f"{measure.label} ({signed(curve.iloc[0]['value'])} there, {_worst(measure, curve)})"
        for measure, curve in curves.items()
        if not _risen(measure, curve)
    ]
    sentences.append(
        f"No closer than at checkpoint 0: {listed(not_risen)}." if not_risen else "All are closer than at checkpoint 0."
    )
    score = _curve(rows, HEADLINE).iloc[-1]
    if clear and score["high"] < 0:
        sentences.append(f"The score is negative all the same: the language dominates. {blind_to(clear)}".rstrip())
    elif clear and not missed and score["low"] > 0:
        sentences.append("They agree with the score, which is positive.")
    return " ".join(sentences)


def blind_to(measures: Sequence[Measure]) -> str:
    """Which measures see neither how far apart the languages lie nor how they are turned, and which see one of both."""
    kinds = {
        (False, False): "an offset or a turn of one language's vectors",
        (False, True): "an offset of one language's vectors",
        (True, False): "a turn of one language's vectors",
        (True, True): "",
    }
    sentences = []
    for (offset, turn), change in kinds.items():
        of_kind = [row.label for row in measures if (row.sees_offset, row.sees_turn) == (offset, turn)]
        if not of_kind:
            continue
        names, several = listed(of_kind), len(of_kind) > 1
        names = f"{names[0].upper()}{names[1:]}"
        if change:
            sentences.append(f"{names} {'do' if several else 'does'} not see {change}.")
        else:
            sentences.append(f"{names} {'see' if several else 'sees'} both (docs/measures.md shows how much).")
    return " ".join(sentences)


def _risen(measure: Measure, curve: pd.DataFrame) -> bool:
    """Whether the last interval lies wholly on the unified side of the first."""
    first, last = curve.iloc[0], curve.iloc[-1]
    return bool(last["high"] < first["low"] if measure.small_is_close else last["low"] > first["high"])


def _worst(measure: Measure, curve: pd.DataFrame) -> str:
    """Where a curve was farthest from unified."""
    values = curve["value"].to_numpy() * (-1 if measure.small_is_close else 1)
    worst = curve.iloc[int(values.argmin())]
    return f"{signed(worst['value'])} at step {worst['step']:,}"


def _interval(row: pd.Series) -> str:
    if pd.isna(row["low"]) or pd.isna(row["high"]):
        return f"{signed(row['value'])} (no interval)"
    return f"{signed(row['value'])} [{signed(row['low'])}, {signed(row['high'])}]"
