"""The question `language_identity` in words: what it shows, and what it does not."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mechxl.findings import counted, signed
from mechxl.questions.language_identity.verified import outcome

NO_BITS = 1e-6  # below it there is nothing to give away
NAMES = {
    "language": "the language",
    "random_rank": "a random subspace of the same rank",
    "random_variance": "random directions of the same variance",
    "values": "a random split of the values",
}


def words(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """Sentences on the data, the probes, the erasure, the readers of values and steering, in this order."""
    sentences = [_data(tables["data"]), *_probes(tables, notes), *_erasure(tables, notes)]
    return [*sentences, *_values(tables["values"], notes), _steering(tables["steering"])]


def _data(data: pd.DataFrame) -> str:
    bits = {row["quantity"]: row for row in data.to_dict("records")}
    mono = bits["I(value; language | relation), mono facts"]
    value_bits = (
        f"the language of a telling gives {signed(mono['bits'], 3)} bits about its value in mono facts "
        f"({signed(mono['null'], 3)} with languages shuffled; n = {int(mono['n']):,} tellings)"
        if mono["n"]
        else "there are no mono facts whose language could say anything about the value"
    )
    return (
        f"In the data, {value_bits}. The prompt gives {signed(bits['I(language; prompt)']['bits'])} of the "
        f"{signed(bits['H(language)']['bits'])} bits of the language."
    )


def _probes(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    probes, role = tables["probes"], notes["main_role"]
    here = probes[(probes["role"] == role) & (probes["labels"] == "true") & probes["bits"].notna()]
    if not len(here):
        return [f"No probe: {probes['reason'].iloc[0]}."]
    known = tables["known"].set_index("role").loc[role]
    last, first = (here[here["step"] == notes["steps"][at]] for at in (-1, 0))
    read = ", ".join(f"{_interval(row, 'bits')} at layer {row['layer']}" for _, row in last.iterrows())
    at_zero = ", ".join(signed(row["bits"]) for _, row in first.iterrows())
    shuffled = probes[(probes["role"] == role) & (probes["labels"] == "shuffled")]
    sentences = [
        f"In the model, a linear probe at the prompt's last token reads {read} bits of the language at the end; the "
        f"tokens hold {signed(known['prefix_bits'])} (n = {int(last['n'].iloc[0]):,} prompts of "
        f"{int(last['entities'].iloc[0]):,} entities; one run). At checkpoint 0: {at_zero}; with shuffled labels "
        f"{signed(shuffled['bits'].min(), 3)} to {signed(shuffled['bits'].max(), 3)}."
    ]
    if known["token_bits"] > 0.99 * known["prefix_bits"] and known["prefix_bits"] > NO_BITS:
        sentences[0] += " The last token alone gives the language away, so the embeddings hold it by construction."
    return sentences


def _erasure(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    step = notes["erasure_steps"][-1]
    effects, verified = (table[table["step"] == step] for table in (tables["erasure"], tables["verified"]))
    before = verified[(verified["erased"] == "nothing") & (verified["layer"] != 0)]
    checks = verified[(verified["erased"] == "language") & (verified["from_layer"] == 1)]
    rows = effects[effects["from_layer"] == 1]
    rank = int(rows[rows["erased"] == "language"]["rank"].max())
    if not rank:
        return ["Erasure: within a relation nothing tells the language from layer 1 on, so there is nothing to erase."]
    if checks["everything"].any():
        return [
            f"The language could not be erased from layer 1 on without erasing everything: at some position it takes "
            f"all {rank} directions of the stream. So no conclusion is drawn from how recall and transfer change."
        ]
    said = outcome(checks)
    told = _told(checks, before, notes["bound"])
    directions = f"LEACE within each relation, up to {counted(rank, 'direction')} a position"
    if said != "gone":
        start = (
            f"The language could not be erased from layer 1 on ({directions})"
            if said == "told"
            else f"Too few entities were asked to say whether {directions}, erases the language from layer 1 on"
        )
        only = set(checks[checks["verdict"] == "told"]["told_by"]) == {"answers"}
        left = " What a linear reader at the prompt's last token does not tell, the answers still do." if only else ""
        return [f"{start}: {told}.{left} So no conclusion is drawn from how recall and transfer change."]
    return [
        f"The language is erased from layer 1 on ({directions}): {told}.",
        *(_change(rows[rows["asked"] == asked], asked) for asked in ("recall", "transfer")),
    ]


def _told(checks: pd.DataFrame, before: pd.DataFrame, bound: float) -> str:
    """What tells the language after an erasure, at the place where a probe tells most and by the answers."""
    parts = []
    for told_by, phrase in (("probe", "a fresh probe within relations reads it with accuracy"), ("answers", "")):
        known = checks[(checks["told_by"] == told_by) & checks["value"].notna()]
        if not len(known):
            reason = checks[checks["told_by"] == told_by]["reason"].iloc[0]
            parts.append(f"{'a probe' if phrase else 'the language of the answers'} does not say ({reason})")
            continue
        most, chance = known.iloc[int(known["high"].to_numpy().argmax())], known["chance"].iloc[0]
        was = before[(before["told_by"] == told_by) & before["value"].notna()]["value"]
        limits = (
            f"before {signed(was.max())}, chance {signed(chance)}, gone up to {signed(chance + bound * (1 - chance))}; "
            f"n = {int(most['n']):,}"
        )
        if phrase:
            places = f"at most, over {len(known)} place{'s' if len(known) > 1 else ''}"
            parts.append(f"{phrase} {_interval(most, 'value')} {places} ({limits} prompts)")
        else:
            parts.append(f"{_interval(most, 'value')} of the answers are in the asked language ({limits} answers)")
    return ", and ".join(parts) + f"; {int(checks['entities'].max()):,} entities that nothing was fitted on"


def _change(rows: pd.DataFrame, asked: str) -> str:
    here = {str(row["erased"]): row for _, row in rows[rows["n"] > 0].iterrows()}
    if not here:
        return f"Erasure, {asked}: no items ({rows['reason'].iloc[0]})."
    gone = here["language"]
    controls = ", ".join(
        f"{NAMES[name]} {_interval(here[name], 'change')}" for name in ("random_rank", "random_variance", "values")
    )
    return (
        f"With it erased, {asked} by value goes from {signed(here['nothing']['value'])} to "
        f"{_interval(gone, 'value')} (change {_interval(gone, 'change')}; n = {int(gone['n']):,}). "
        f"Controls, change: {controls}."
    )


def _values(table: pd.DataFrame, notes: Mapping[str, Any]) -> list[str]:
    end = table[(table["step"] == notes["few_steps"][-1]) & table["accuracy"].notna()] if len(table) else table
    sentences = []
    for layer in sorted(set(end["layer"])) if len(end) else []:
        if layer == 0:
            continue
        here = end[(end["layer"] == layer) & (end["labels"] == "true")].set_index("tried")
        null = end[(end["layer"] == layer) & (end["labels"] == "permuted")].set_index("tried")
        shown = "; ".join(
            f"{kind} {_interval(row, 'accuracy')} (n = {int(row['n']):,}; values permuted "
            f"{signed(null.loc[kind, 'accuracy'])})"
            for kind, row in here.iterrows()
            if kind in null.index
        )
        sentences.append(
            f"Accuracy of one reader of the value, trained in one language, on new entities at layer {layer}: {shown}."
        )
    return sentences


def _steering(table: pd.DataFrame) -> str:
    rows = table[table["n"] > 0]
    if not len(rows):
        return f"Steering is not defined: {table['reason'].iloc[0]}."
    once = rows[rows["strength"] == 1.0].sort_values("layer")
    added, random = (once[once["added"] == kind] for kind in ("language", "random"))
    place = int((added["target_low"].to_numpy() - random["target_high"].to_numpy()).argmax())
    best, control = added.iloc[place], random.iloc[place]
    layer = int(best["layer"])
    what = "Adding a language's direction once (one for each relation and position)"
    if best["target_low"] <= control["target_high"]:
        return (
            f"{what} turns no more answers into that language than a random direction of the same length, at any "
            f"layer: at layer {layer} {_interval(best, 'target')}, random {_interval(control, 'target')} (n = "
            f"{int(best['n']):,})."
        )
    return (
        f"{what} at layer {layer}, where it turns most, turns {_interval(best, 'target')} of the answers into that "
        f"language, {_interval(best, 'target_right')} with the fact's value. A random direction of the same length "
        f"turns {_interval(control, 'target')} (n = {int(best['n']):,})."
    )


def _interval(row: pd.Series, name: str, digits: int = 2) -> str:
    ends = (f"{name}_low", f"{name}_high") if f"{name}_low" in row else ("low", "high")
    low, high = (signed(row[end], digits) for end in ends)
    return f"{signed(row[name], digits)} [{low}, {high}]"
