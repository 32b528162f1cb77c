"""Whether a run unifies: one verdict from three kinds of evidence, and where they disagree.

- the excess of S - X over the trained null, at each layer from 1 on: above 0 if its interval is;
- retrieval in the other language: above chance, and above the null's;
- causal unification of the question `patching`, where that is kept: 0 is chance, 1 is as well as within one language.

unified: all that say something find it, and causal unification, where known, reaches 1 as far as its interval tells.
not unified: none finds it. partly unified: they disagree, or causal unification lies between 0 and 1. No bound is a
matter of taste: intervals are compared with chance, with the null and with 1. Everything that a page says of "unified"
comes from here, and a layer's unification is dated only where its own excess is above 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mechxl.findings import signed
from mechxl.measures.excess import Excess

Name = Literal["unified", "partly unified", "not unified", "undecided"]


@dataclass(frozen=True)
class LayerEvidence:
    """What one layer's vectors show at a checkpoint; intervals hold for all layers together.

    Attributes:
        layer: from 1 on.
        alignment: the excess of S - X.
        retrieval: the excess of retrieval.
        retrieval_low, retrieval_high: the run's own interval.
        chance: of retrieval.
    """

    layer: int
    alignment: Excess
    retrieval: Excess
    retrieval_low: float
    retrieval_high: float
    chance: float

    @property
    def exceeds(self) -> bool:
        """Whether S - X is above its null."""
        return bool(self.alignment.low > 0)

    @property
    def retrieves(self) -> bool:
        """Whether retrieval is above chance and above the null's."""
        return bool(self.retrieval.low > 0 and self.retrieval_low > self.chance)

    @property
    def full(self) -> bool:
        """Whether retrieval finds every fact as far as its interval tells, so that it can't exceed a null that does."""
        return bool(self.retrieval_high >= 1 - 1e-9)


@dataclass(frozen=True)
class CausalEvidence:
    """Causal unification of a group of facts (parallel facts, say) at the last checkpoint; NaN with a reason."""

    group: str
    value: float
    low: float
    high: float
    n: int
    reason: str = ""


@dataclass(frozen=True)
class Strand:
    """One kind of evidence: whether it finds unification (None: it says nothing), and its numbers in words."""

    name: str
    found: bool | None
    words: str


@dataclass(frozen=True)
class Verdict:
    """The verdict, its strands, why it is no plain one, and the layers whose unification may be dated."""

    name: Name
    strands: tuple[Strand, ...]
    why: str
    layers: tuple[int, ...]

    def sentences(self) -> list[str]:
        """The verdict with its evidence; where strands disagree, which."""
        head = {"undecided": "Whether the languages unify can't be told"}.get(self.name, self.name.capitalize())
        evidence = "; ".join(strand.words for strand in self.strands)
        return [f"{head}: {evidence}.", *([self.why] if self.why else [])]


def verdict(layers: Sequence[LayerEvidence], causal: Sequence[CausalEvidence] = (), no_causal: str = "") -> Verdict:
    """The verdict of a run that has a trained null.

    Args:
        layers: the evidence of each layer from 1 on.
        causal: of each group; the first one that is defined counts.
        no_causal: why there is none, where the list is empty.
    """
    strands = _alignment(layers), _retrieval(layers), _causal(causal, no_causal)
    exceeding = tuple(one.layer for one in layers if one.exceeds)
    says = [strand for strand in strands if strand.found is not None]
    if strands[0].found is None:
        return Verdict("undecided", strands, "", ())
    for_it, against = ([strand.name for strand in says if strand.found is side] for side in (True, False))
    if not for_it:
        return Verdict("not unified", strands, "", exceeding)
    if against:
        finds = "find" if len(for_it) > 1 else "finds"
        does_not = "do not" if len(against) > 1 else "does not"
        why = f"The evidence disagrees: {_listed(for_it)} {finds} unification, {_listed(against)} {does_not}."
        return Verdict("partly unified", strands, why, exceeding)
    counted = _counted(causal)
    if counted is not None and counted.high < 1:
        why = (
            "All evidence finds unification, but a fact swapped in from the other language works less often than one "
            "from the same language: causal unification is between chance (0) and that (1)."
        )
        return Verdict("partly unified", strands, why, exceeding)
    why = "" if counted else "This rests on vectors alone: whether the model uses them was not measured."
    return Verdict("unified", strands, why, exceeding)


def _alignment(layers: Sequence[LayerEvidence]) -> Strand:
    name, known = "the excess of S − X", [one for one in layers if np.isfinite(one.alignment.low)]
    if not known:
        reason = layers[0].alignment.reason if layers else "run and null have no checkpoint in common"
        return Strand(name, None, f"the excess of S − X over the trained null is not defined ({reason})")
    above = [one for one in known if one.exceeds]
    below = [one for one in known if one.alignment.high < 0]
    same = [one for one in known if one not in above + below]
    kinds = (("exceeds", above), ("can't be told from", same), ("is below", below))
    parts = [f"{what} that of the trained null {_at_layers(found)}" for what, found in kinds if found]
    head = known[0].alignment
    counts = f"n = {head.n:,} facts, in the null {head.n_null:,}; intervals over entities, for all layers together"
    return Strand(name, bool(above), f"S − X {'; it '.join(parts)} ({counts})")


def _at_layers(layers: Sequence[LayerEvidence]) -> str:
    """In words: at layer 1 (excess .39 [.38, .41]) and layer 2 (...)."""
    shown = [
        f"layer {one.layer} (excess {_interval(one.alignment.value, one.alignment.low, one.alignment.high)})"
        for one in layers
    ]
    return f"at {_listed(shown)}"


def _retrieval(layers: Sequence[LayerEvidence]) -> Strand:
    known = [one for one in layers if np.isfinite(one.retrieval.low)]
    if not known:
        return Strand("retrieval", None, "retrieval is not defined")
    best = max(known, key=lambda one: (one.retrieves, one.retrieval.value))
    found = True if best.retrieves else None if any(one.full for one in known) else False
    above = "above" if best.retrieval_low > best.chance else "not above"
    than = "more than in the null" if best.retrieval.low > 0 else "no more than in the null"
    if found is None:
        than = "as in the null, where it has no room to be more"
    words = (
        f"retrieval at layer {best.layer} is {signed(best.retrieval.run)}, {above} chance ({signed(best.chance, 3)}) "
        f"and {than} ({signed(best.retrieval.null)})"
    )
    return Strand("retrieval", found, words)


def _counted(causal: Sequence[CausalEvidence]) -> CausalEvidence | None:
    return next((one for one in causal if np.isfinite(one.low)), None)


def _causal(causal: Sequence[CausalEvidence], no_causal: str) -> Strand:
    counted = _counted(causal)
    if counted is None:
        reason = no_causal or "; ".join(f"{one.group}: {one.reason}" for one in causal)
        return Strand("causal unification", None, f"causal unification is not known ({reason})")
    found = bool(counted.low > 0)
    shown = f"causal unification of {counted.group} is {_interval(counted.value, counted.low, counted.high)}"
    chance = f"{'above' if found else 'not above'} chance (0)"
    return Strand("causal unification", found, f"{shown}, {chance} (n = {counted.n:,} pairs)")


def _interval(value: float, low: float, high: float) -> str:
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
