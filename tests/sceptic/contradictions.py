"""What findings assert, and what is wrong with a page's words: no number, a plural of one, sentences that contradict.

The rules read the tables and not the sentences, and compare them with what the sentences say.
"""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from mechxl.findings import Finding

NO_NUMBER = re.compile(r"(?<![\w-])(nan|NaN|inf|None|NaT)(?![\w-])(?! clears its)")
COUNTED = "pairs facts questions entities runs seeds evaluations checkpoints languages layers items tellings prompts"
ONE_OF_MANY = re.compile(rf"(?<![\d.,–-])1 ({'|'.join(COUNTED.split())})\b")
ODD_MARKS = re.compile(r"\{|\}|  |\.\.(?!\.)| ,| \.(?!\d)")
CLEAR = 0.05  # above the best guess: a rise that must not be missing on the time line

Findings = Mapping[str, Finding]


def asserted(findings: Findings) -> dict[str, str]:
    """What a page asserts, in short: verdict, rates beside their best guess, rises, causal unification, erasure."""
    asserts = "verdict", "recall", "transfer", "causal unification", "language erased"
    said: dict[str, str] = dict.fromkeys(asserts, "-")
    if phases := findings.get("phases"):
        verdict = phases.notes["verdict"]
        said["verdict"] = verdict["name"] if verdict else "withheld"
    if learning := findings.get("learning"):
        for kind, row in _rates(learning).items():
            rate = f"{row['accuracy']:.2f}, best guess {_guess(learning, kind):.2f}"
            said[kind] = "not defined" if pd.isna(row["accuracy"]) else rate
    if phases:
        for row in phases.tables["onsets"].to_dict("records"):
            if row["quantity"] in said and row["unit"] == "accuracy":
                said[row["quantity"]] += f"; {row['outcome'].replace('rises, ', '')}"
    if patching := findings.get("patching"):
        rows = [row for row in _causal(patching) if pd.notna(row["unification_low"])]
        said["causal unification"] = "; ".join(
            f"{row['group']} {row['unification']:.2f} [{row['unification_low']:.2f}, {row['unification_high']:.2f}]"
            for row in rows
        ) or "not defined"  # fmt: skip
    if identity := findings.get("language_identity"):
        words = " ".join(identity.summary)
        kinds = {
            "could not be erased": "no",
            "Too few entities were asked": "too few entities",
            "nothing to erase": "nothing to erase",
            "is erased from layer": "yes",
        }
        said["language erased"] = next((short for long, short in kinds.items() if long in words), "-")
    return said


def problems(findings: Findings, texts: Sequence[str]) -> list[str]:
    """What is wrong with the words of a page, a phrase each; empty if nothing is."""
    found = [f"{name}: {text[:160]!r}" for text in texts for name in _wrong_words(text)]
    if phases := findings.get("phases"):
        found += _order(phases)
        if learning := findings.get("learning"):
            found += _rises(phases, learning)
        if patching := findings.get("patching"):
            found += _causes(phases, patching)
    return found


def _wrong_words(text: str) -> list[str]:
    kinds = {"no number": NO_NUMBER, "a plural of one": ONE_OF_MANY, "an odd mark": ODD_MARKS}
    return [f"{name} ({match.group(0)!r})" for name, pattern in kinds.items() if (match := pattern.search(text))]


def _order(phases: Finding) -> list[str]:
    """Unification is dated and ordered only where the verdict finds some."""
    verdict, lags = phases.notes["verdict"], phases.tables["lags"]
    about = lags["first"].str.startswith("unification") | lags["second"].str.startswith("unification")
    ordered = bool((about & (lags["sign"] != 0)).any())
    words = " ".join(phases.summary)
    wrong = []
    if ordered and (not verdict or not verdict["layers"]):
        wrong.append("unification is ordered, though no layer's excess is above 0")
    if not verdict and re.search(r"\b(separate first|never unified|unified)\b", words.split("may rise where")[0]):
        wrong.append("unification is asserted without a trained null")
    return wrong


def _rises(phases: Finding, learning: Finding) -> list[str]:
    """A rate that ends above the best guess rises on the time line; one that does not does not."""
    wrong, onsets = [], phases.tables["onsets"]
    for kind, row in _rates(learning).items():
        rows = onsets[(onsets["quantity"] == kind) & (onsets["unit"] == "accuracy")].to_dict("records")
        above = row["low"] > _guess(learning, kind) + CLEAR
        if pd.isna(row["accuracy"]):
            wrong += [f"{kind} is not defined, and has an onset"] if rows else []
        elif above and (not rows or rows[0]["outcome"] == "no rise"):
            wrong.append(f"{kind} ends at {row['accuracy']:.2f}, above the best guess, and the time line has no rise")
        elif row["high"] < _guess(learning, kind) and rows and rows[0]["outcome"] != "no rise":
            wrong.append(f"{kind} ends below the best guess, and the time line says: {rows[0]['outcome']}")
    return wrong


def _causes(phases: Finding, patching: Finding) -> list[str]:
    """The verdict knows what patching found."""
    verdict, rows = phases.notes["verdict"], _causal(patching)
    above = any(row["unification_low"] > 0 for row in rows[:1])
    if verdict and verdict["name"] == "not unified" and above:
        return ["not unified, though causal unification is above chance"]
    return []


def _rates(learning: Finding) -> dict[str, dict]:
    rates = learning.tables["rates"]
    last = rates[(rates["step"] == rates["step"].max()) & (rates["group"] == "all")]
    return {row["kind"]: row for row in last.to_dict("records") if row["kind"] in ("recall", "transfer")}


def _guess(learning: Finding, kind: str) -> float:
    table = learning.tables["no_fact"]
    return float(table[table["kind"] == kind]["accuracy"].max())


def _causal(patching: Finding) -> list[dict]:
    """The rows of the last step, both directions, parallel facts first; those set aside left out."""
    if "curve" not in patching.tables or not len(patching.tables["curve"]):
        return []
    curve = patching.tables["curve"]
    rows = curve[(curve["step"] == curve["step"].max()) & (curve["direction"] == "both")].to_dict("records")
    return sorted((row for row in rows if "not" not in row["group"]), key=lambda row: row["group"] != "parallel")
