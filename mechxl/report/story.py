"""A run's story: a headline and three plain sentences, and a claim for each question, made from the findings.

Words, not numbers: the sentences that the questions themselves give have the numbers with their intervals. Every bound
is theirs too: a rate counts where its interval lies above the best guess without facts, and whether the languages
unify is the verdict of the question `phases`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mechxl.findings import Finding
from mechxl.questions.phases.named import EXCESS

UNDEFINED, GUESSED = "undefined", "guessed"
AMOUNTS = ("all", "nearly all", "most", "some")
STRANDS = {
    "the excess of S − X": "vectors of the same fact are more alike across languages than in the trained null",
    "retrieval": "the nearest vector in another language is the same fact more often than by chance and in the null",
    "causal unification": "a fact swapped in from another language becomes the answer",
}


@dataclass(frozen=True)
class Story:
    """What the first screen says.

    Attributes:
        headline: what came out, in one sentence.
        sentences: what was learned, when the languages met, and the evidence.
        numbers: the questions' own sentences with numbers and intervals.
        claims: of questions, by name.
    """

    headline: str
    sentences: tuple[str, str, str]
    numbers: tuple[str, ...]
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What the story is told from.

    Attributes:
        languages: how many.
        recall: of AMOUNTS, or GUESSED.
        transfer: of AMOUNTS, GUESSED, or UNDEFINED.
        no_transfer: why transfer is undefined.
        diverged: whether the loss ends above that of a model that knows nothing, or is no number.
        finished: whether training has ended.
        unrest: why the run is not at rest; empty if it is, or if that can't be told.
        verdict: on unification; empty without a trained null.
        strands: whether each kind of evidence finds unification, by name; None: it says nothing.
        onset: outcome of the rise of unification, and the steps of its rises.
        order: of recall and unification: 1 recall precedes, -1 unification precedes, 0 can't be told.
    """

    languages: int
    recall: str
    transfer: str
    no_transfer: str = ""
    diverged: bool = False
    finished: bool = True
    unrest: str = ""
    verdict: str = ""
    strands: Mapping[str, bool | None] = field(default_factory=dict)
    onset: tuple[str, tuple[float, ...]] = ("no rise", ())
    order: int = 0

    @property
    def other(self) -> str:
        """How another language is named."""
        return "the other" if self.languages == 2 else "another"

    @property
    def knows(self) -> bool:
        """Whether the model recalls more than a guess does."""
        return not self.diverged and self.recall != GUESSED


def story_of(findings: Mapping[str, Finding], finished: bool) -> Story | None:
    """The story that the findings tell; None where the questions `learning` and `phases` were not both asked."""
    if not {"learning", "phases"} <= set(findings):
        return None
    learning, phases = findings["learning"], findings["phases"]
    outcome = outcome_of(learning, phases, finished)
    learned, met, evidence = learned_words(outcome), met_words(outcome), evidence_words(outcome)
    claims = {"learning": learned, "phases": met, "unification": evidence}
    claims |= {name: claim for name, finding in findings.items() if (claim := own_claim(name, finding))}
    return Story(headline(outcome), (learned, met, evidence), (*learning.summary[:2], *phases.summary[:3]), claims)


def outcome_of(learning: Finding, phases: Finding, finished: bool) -> Outcome:
    """Reads off two findings what the story needs."""
    rest, floors = learning.notes["rest"], learning.tables["no_fact"].groupby("kind")["accuracy"].max()
    rates = learning.tables["rates"]
    last = rates[(rates["step"] == rates["step"].max()) & (rates["group"] == "all")]
    amounts = {"transfer": UNDEFINED, "recall": GUESSED}
    reasons = {}
    for row in last[last["kind"].isin(["recall", "transfer"])].to_dict("records"):
        kind = row["kind"]
        reasons[kind] = row["reason"]
        moves = rest[kind] if rest["rests"] is False else None
        value, low = (moves["mean"], moves["low"]) if moves else (row["accuracy"], row["low"])
        if not row["reason"]:
            amounts[kind] = amount(value, low, float(floors[kind]))
    known = learning.tables["no_knowledge"].set_index("given")["loss"]
    loss = rest["loss"]["mean"] if rest["loss"] else float(learning.tables["curves"]["loss"].iloc[-1])
    found, unification = phases.notes["verdict"], EXCESS.at(phases.notes["headline"])
    onsets, lags = phases.tables["onsets"], phases.tables["lags"]
    rows = onsets[(onsets["quantity"] == unification) & (onsets["unit"] == EXCESS.units[0])].to_dict("records")
    signs = lags[(lags["first"] == "recall") & (lags["second"] == unification) & lags["value"].notna()]["sign"]
    return Outcome(
        languages=len(learning.notes["languages"]),
        recall=amounts["recall"],
        transfer=amounts["transfer"],
        no_transfer=reasons.get("transfer", ""),
        diverged=not loss <= known["nothing"] and amounts["recall"] == GUESSED,
        finished=finished,
        unrest=rest["reason"] if rest["rests"] is False else "",
        verdict=found["name"] if found else "",
        strands={strand["name"]: strand["found"] for strand in found["strands"]} if found else {},
        onset=_onset(rows[0]) if rows else ("no rise", ()),
        order=int(signs.iloc[0]) if len(signs) else 0,
    )


def _onset(row: Mapping[Any, Any]) -> tuple[str, tuple[float, ...]]:
    steps = (row["step"], row["second_step"]) if row["outcome"] == "rises twice" else (row["step"],)
    return row["outcome"], tuple(float(step) for step in steps if np.isfinite(step))


def amount(value: float, low: float, floor: float) -> str:
    """A share in a word: GUESSED where its interval does not lie above the floor."""
    if not low > floor:
        return GUESSED
    bounds = (0.9995, 0.95, 0.5, -1.0)
    return next(word for word, bound in zip(AMOUNTS, bounds, strict=True) if value >= bound)


def headline(o: Outcome) -> str:
    """What came out, in one sentence."""
    if o.diverged:
        return "Training diverged: the model ends worse than one that knows nothing."
    if not o.knows:
        if not o.finished:
            return "The model has learned no facts so far."
        return "The model learned no facts, and training did not settle." if o.unrest else "The model learned no facts."
    asked = {
        UNDEFINED: "",
        GUESSED: f"a fact told in one is not answered in {o.other}",
        "some": f"only some facts told in one are answered in {o.other}",
    }.get(o.transfer, f"{o.transfer} facts told in one are answered in {o.other}")
    shared = {
        "unified": "The languages share their facts",
        "partly unified": "The languages share their facts in part",
        "not unified": "The languages keep their facts apart",
    }.get(o.verdict)
    if shared is None:
        kept = "The model recalls its facts; whether the languages share them can't be told"
        return f"{kept}." if not asked else f"{kept}; {asked}."
    if not asked:
        return f"{shared}; whether a fact told in one is answered in {o.other} can't be asked here."
    expected = (o.verdict == "unified") == (o.transfer in AMOUNTS[:3])
    joined = (
        ":" if expected and o.verdict != "partly unified" else ", and" if o.verdict == "partly unified" else ", yet"
    )
    return f"{shared}{joined} {asked}."


def learned_words(o: Outcome) -> str:
    """What the model learned, and whether it transfers."""
    so_far = "" if o.finished else "So far "
    if o.diverged:
        return "Its loss ends above that of a model that knows nothing, and it recalls no more than a guess does."
    if not o.knows:
        return f"{so_far}{'the' if so_far else 'The'} model recalls no more than the best guess without facts."
    recalls = f"{so_far}{'the' if so_far else 'The'} model recalls {o.recall} of what it was told"
    transfers = {
        UNDEFINED: f"; transfer is not defined ({o.no_transfer})",
        GUESSED: f", but asked in {o.other} language, facts told in one are answered no better than by a guess",
    }.get(o.transfer, f", and answers {o.transfer} facts told in one language when asked in {o.other}")
    unrest = " Its numbers still move: the run is not at rest." if o.unrest else ""
    return f"{recalls}{transfers}.{unrest}"


def met_words(o: Outcome) -> str:
    """When the languages met."""
    if not o.verdict:
        return "Whether the languages met can't be told: there is no trained null beside this run."
    if o.verdict == "undecided":
        return "Whether the languages met can't be told: the evidence is not defined in this run."
    if o.verdict == "not unified":
        return "The languages did not meet: no kind of evidence finds a fact in the same place in all of them."
    outcome, steps = o.onset
    wholly = "" if o.verdict == "unified" else " in part"
    if not steps:
        return f"The languages met{wholly}; when they did can't be dated."
    when = " and ".join(f"{step:,.0f}" for step in steps)
    twice = f"in two rises, around steps {when}" if len(steps) > 1 else f"around step {when}"
    order = {1: ", after recall", -1: ", before recall"}.get(o.order, "; whether before or after recall can't be told")
    late = " That rise is not finished." if "not finished" in outcome else ""
    return f"The languages met{wholly} {twice}{order}.{late}"


def evidence_words(o: Outcome) -> str:
    """What the evidence on unification is."""
    if not o.verdict:
        return "The evidence needs a trained null: the same settings and seeds, with no fact shared."
    sides = {
        side: [STRANDS.get(name, name) for name, found in o.strands.items() if found is side] for side in (True, False)
    }
    unknown = [name for name, found in o.strands.items() if found is None]
    parts = [f"The evidence for unification: {'; '.join(sides[True])}."] if sides[True] else []
    if sides[False]:
        parts.append(f"Evidence does not show that {', nor that '.join(sides[False])}.")
    if unknown:
        parts.append(f"Not known: {', '.join(unknown)}.")
    if not o.knows and sides[True]:
        parts.append("No fact is recalled, so this says nothing about knowledge.")
    return " ".join(parts)


def own_claim(name: str, finding: Finding) -> str:
    """The beginning of a question's sentence, without its numbers; empty where there is none to cut."""
    starts = {"patching": "Swapping a fact", "language_identity": "The language "}.get(name)
    found = next((text for text in finding.summary if starts and text.startswith(starts)), "")
    return f"{found.split(' (')[0].rstrip('.')}." if " (" in found else ""
