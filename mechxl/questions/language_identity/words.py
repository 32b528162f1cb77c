"""The question `language_identity` in words: what it shows, and what it does not."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mechxl.findings import signed

NAMES = {
    "language": "the language",
    "random_rank": "a random subspace of the same rank",
    "random_variance": "random directions of the same variance",
    "values": "a random split of the values",
}


def words(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """Sentences on the data, the probes, the erasure, the readers of values and steering, in this order."""
    sentences = [_data(tables["data"]), *_probes(tables, notes), *_erasure(tables["erasure"], notes)]
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
    if known["token_bits"] > 0.99 * known["prefix_bits"] > 0:
        sentences[0] += " The last token alone gives the language away, so the embeddings hold it by construction."
    return sentences


def _erasure(table: pd.DataFrame, notes: Mapping[str, Any]) -> list[str]:
    rows = table[(table["step"] == notes["erasure_steps"][-1]) & (table["from_layer"] == 1)]
    sentences = []
    for asked in ("recall", "transfer"):
        here = rows[(rows["asked"] == asked) & (rows["n"] > 0)].set_index("erased")
        if not len(here):
            sentences.append(f"Erasure, {asked}: no items ({rows[rows['asked'] == asked]['reason'].iloc[0]}).")
            continue
        gone = here.loc["language"]
        controls = ", ".join(
            f"{NAMES[name]} {_interval(here.loc[name], 'change')}"
            for name in ("random_rank", "random_variance", "values")
        )
        sentences.append(
            f"With the language erased from layer 1 on, {asked} by value goes from "
            f"{signed(here.loc['nothing', 'value'])} to {_interval(gone, 'value')} (change "
            f"{_interval(gone, 'change')}; n = {int(gone['n']):,}). Controls, change: {controls}."
        )
    after = rows[rows["erased"] == "language"].iloc[0]
    sentences.append(
        f"After erasure at layer 1, a probe trained anew on these other entities, folds by entity, reads "
        f"{_interval(after, 'anew_bits', 4)} bits (balanced accuracy {_interval(after, 'anew_accuracy', 3)}). A probe "
        f"trained on the entities that the eraser was fitted on reads {_interval(after, 'probe_bits', 4)} bits. A "
        "nonlinear reader may still find what a linear one cannot."
    )
    return sentences


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
    once = rows[rows["strength"] == 1.0]
    best = once[once["added"] == "language"].sort_values("target").iloc[-1]
    control = once[(once["added"] == "random") & (once["layer"] == best["layer"])].iloc[0]
    return (
        f"Adding a language's direction once, at layer {int(best['layer'])} where it has the largest effect, moves "
        f"{_interval(best, 'target')} of answers into that language, {_interval(best, 'target_right')} with the fact's "
        f"value. A random direction of the same length moves {_interval(control, 'target')} (n = {int(best['n']):,})."
    )


def _interval(row: pd.Series, name: str, digits: int = 2) -> str:
    ends = ("low", "high") if name == "accuracy" and "low" in row else (f"{name}_low", f"{name}_high")
    low, high = (signed(row[end], digits) for end in ends)
    return f"{signed(row[name], digits)} [{low}, {high}]"
