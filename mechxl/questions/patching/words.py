"""The question `patching` in words: what it shows, and what it does not."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mechxl.findings import counted, signed

PARTS = {"mono": ("mono, transferred", "mono, not transferred"), "parallel": ("parallel",)}  # of a group's pairs
SET_ASIDE = PARTS["mono"][1]
COMPONENT_NAMES = {
    "resid_pre": "the residual stream",
    "resid_mid": "the residual stream between attention and MLP",
    "resid_post": "the residual stream",
    "attn_out": "what attention writes",
    "mlp_out": "what the MLP writes",
}


def words(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """Sentences on the chosen place, each group, the whole stream, training, and the controls."""
    curve, last = tables["curve"], notes["steps"][-1]
    sentences = []
    for group in notes["groups"]:
        rows = curve[(curve["step"] == last) & (curve["group"] == group)].set_index("direction")
        both = rows.loc["both"]
        if both["n"] < notes["fewest"]:
            sentences.append(f"Patching, {group_name(group)}: {both['reason']} at step {last:,}.")
            continue
        if group == SET_ASIDE and np.isnan(both["unification"]):
            sentences.append(_set_aside(both))
            continue
        sentences.append(_headline(group, both, notes))
        sentences.append(_directions(group, rows, notes))
    sentences += _over_training(curve, notes)
    stream = _whole_stream(tables["places"], notes)
    sentences += [stream] if stream else []
    return [*sentences, _controls(tables["controls"])]


def place_name(place: Mapping[str, Any]) -> str:
    """A place in words."""
    return f"{COMPONENT_NAMES[place['component']]} at layer {place['layer']} (role {place['role'].replace('_', ' ')})"


def _headline(group: str, both: pd.Series, notes: Mapping[str, Any]) -> str:
    ratio = (
        f"causal unification {_interval(both, 'unification')}"
        if np.isfinite(both["unification"])
        else f"causal unification is not defined: {both['reason']}"
    )
    return (
        f"{_verdict(both)} ({ratio}; {group_name(group)}, {counted(int(both['n']), 'pair')}, one run). Patched is "
        f"{place_name(notes['place'])}, which the other half of the pairs chose. The answer becomes the donor's value "
        f"in the receiver's language in {_interval(both, 'accuracy')} with a donor in another language, in "
        f"{_interval(both, 'ceiling')} with the same fact in the receiver's language{_chance(both)}. Both directions "
        f"are taken together; {both['kept']:.0%} of the pairs drawn are measured."
    )


def _set_aside(both: pd.Series) -> str:
    """Mono facts that do not transfer, whose ceiling is too low for a ratio: what their donors reach."""
    return (
        f"Apart, mono facts that do not transfer ({counted(int(both['n']), 'pair')}): the donor's value comes out in "
        f"{_interval(both, 'accuracy')} with the donor as training tells it, in {_interval(both, 'ceiling')} with the "
        f"same fact in the receiver's language{_chance(both)}; causal unification is not defined: {both['reason']}."
    )


def _chance(both: pd.Series) -> str:
    """How often the answer is a permuted donor's value, where that is defined."""
    return f", and a permuted donor's value in {_interval(both, 'null')}" if np.isfinite(both["null"]) else ""


def group_name(group: str) -> str:
    """A group of pairs as sentences name it: "mono, transferred" is mono facts that transfer."""
    kind, _, does = group.partition(", ")
    return f"{kind} facts{' that do not transfer' if does.startswith('not') else ' that transfer' if does else ''}"


def _verdict(both: pd.Series) -> str:
    """What the interval of causal unification says of the place."""
    if not np.isfinite(both["unification"]):
        return "Whether the languages share a pathway can't be told"
    low, high = both["unification_low"], both["unification_high"]
    if low <= 0:
        return "Swapping a fact in from another language can't be told from a permuted donor" + (
            "" if high < 1 else ", nor from one within the language"
        )
    if high < 1:
        return "Swapping a fact in from another language works, but less often than within one language"
    if low > 1:
        return "Swapping a fact in from another language works more often than within one language"
    return "Swapping a fact in works across languages as well as within one, as far as the interval tells"


def _directions(group: str, rows: pd.DataFrame, notes: Mapping[str, Any]) -> str:
    names = notes["languages"]
    labels = (f"{names[0]} to {names[1]}", f"{names[1]} to {names[0]}")
    if len(names) > 2:
        labels = ("from each language to those after it", "from each language to those before it")
    by_direction = {str(direction): row for direction, row in rows.iterrows()}
    parts = [
        f"{label} {_interval(row, 'accuracy')} (ceiling {signed(row['ceiling'])})"
        if np.isfinite(row["accuracy"])
        else f"{label} not defined ({row['reason']})"
        for label, row in zip(labels, (by_direction["forth"], by_direction["back"]), strict=True)
    ]
    return f"By direction, {group_name(group)}: {'; '.join(parts)}."


def _over_training(curve: pd.DataFrame, notes: Mapping[str, Any]) -> list[str]:
    sentences = []
    for group in notes["groups"]:
        rows = curve[(curve["group"] == group) & (curve["direction"] == "both")].sort_values("step")
        rows = rows[rows["unification"].notna()]
        if len(rows) > 1:
            first, last = rows.iloc[0], rows.iloc[-1]
            sentences.append(
                f"Over training, {group_name(group)}: causal unification is first defined at step "
                f"{int(first['step']):,}, where it is {_interval(first, 'unification')} (n = "
                f"{counted(int(first['n']), 'pair')}). At step {int(last['step']):,} it is "
                f"{_interval(last, 'unification')}."
            )
    return sentences


def _whole_stream(places: pd.DataFrame, notes: Mapping[str, Any]) -> str:
    """The stream as a whole at the prompt's last token, which carries the language along."""
    end = places[(places["step"] == notes["few_steps"][-1]) & (places["direction"] == "both")]
    end = end[(end["component"] == "resid_post") & (end["role"] == notes["main_role"]) & (end["fixed"] == "")]
    end = end[end["accuracy"].notna()]
    if not len(end):
        return ""
    row = end.iloc[0]
    return (
        f"The whole stream after layer {int(row['layer'])} at the prompt's last token, {group_name(row['group'])}: "
        f"{_interval(row, 'accuracy')} across languages, {_interval(row, 'ceiling')} within one. Where the two differ, "
        "what carries the fact there also carries the language of the answer."
    )


def _controls(table: pd.DataFrame) -> str:
    parts = []
    for name, label in (
        ("self", "a run patched into itself changes a log p by at most"),
        ("final", "the final stream gives the donor's own first token in"),
        ("entity", "a donor of another relation gives its entity's value in the receiver's relation in"),
        ("value", "and that relation's own value in"),
        ("checkpoint_0", "at checkpoint 0 the donor's value comes out in"),
    ):
        rows = table[(table["control"] == name) & table["value"].notna()]
        if len(rows):
            parts.append(f"{label} {', '.join(_value(name, row) for _, row in rows.iterrows())}")
    return f"Controls: {'; '.join(parts)}." if parts else "No controls: no pair has both answers right."


def _value(name: str, row: pd.Series) -> str:
    if name == "self":
        return f"{row['value']:.0e} ({row['group']})"
    return f"{signed(row['value'])} ({row['group']}, n = {int(row['n']):,})"


def _interval(row: pd.Series, name: str) -> str:
    return f"{signed(row[name])} [{signed(row[f'{name}_low'])}, {signed(row[f'{name}_high'])}]"
