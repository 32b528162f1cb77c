"""The measures of unification, one row each: how it is computed, what it can see, and where it is shown.

All code that loops over measures reads this table: the question `unification`, its words and figures, the study of
coverage, and the list in docs/measures.md. A new measure is one file with its function, one row here, and one test
file. A finding lists its rows in this order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float

from mechxl.measures.anisotropy import anisotropy
from mechxl.measures.checkerboard import checkerboard
from mechxl.measures.cka import cka
from mechxl.measures.controls import controls
from mechxl.measures.measurement import Measurement
from mechxl.measures.procrustes import procrustes
from mechxl.measures.retrieval import retrieval
from mechxl.measures.sample import Sample
from mechxl.measures.score import score

Function = Callable[[Float[np.ndarray, "fact language d"], Sample], Measurement | Mapping[str, Measurement]]
Kind = Literal["measure", "control", "context"]
Cost = Literal["cheap", "moderate", "costly"]
Null = Literal["entities", "same value", "none"]

WHOLE = ("whole",)
EVERY = ("none", "whole", "per_language")


@dataclass(frozen=True)
class Measure:
    """One row.

    Attributes:
        name: its name in tables of numbers.
        label: its name in sentences and figures.
        function: computes it from activations and a sample; several rows may name one function.
        key: which of the function's results it is; empty if the function gives only one.
        vectors: whether the function takes raw activations (raw), or centred ones of length 1 (unit).
        kind: measure: shows whether languages share facts. control: shows what else they could share. context: helps to
            read cosines. If facts are not defined at a place, only measures have a row there, with the reason.
        cost: cheap: at every checkpoint, on all facts of the sample. moderate: at some checkpoints, on all facts.
            costly: at some checkpoints, on the facts of some entities.
        centrings: the centrings under which it is computed (`vectors.CENTRINGS`).
        null: entities: entities are permuted, by one permutation for all places of a scan. same value: facts are
            permuted among those of their relation and value; permutations differ between places, so a scan needs
            Bonferroni's correction. none: there is no null.
        tested: whether its p-value tests a hypothesis. Permuting entities does not change W, and X only mirrors S.
        small_is_close: whether a small number means that the languages are close.
        needs_values: whether facts must have values (those of unseen entities have none).
        sees_offset: whether it changes when one vector is added to all of one language's.
        sees_turn: whether it changes when one language's vectors are rotated. What each measure reads under both, and
            that these two say so truly, is computed by the study `readings`.
        studied: whether the study of coverage has rows for it.
        in_words: whether the summary says if it is above its null and if it rose.
        in_panel: whether the figure of measures draws it.
        in_groups: whether the figure of groups draws it.
        axis: the ends of its axis in the figure of measures, where curves are cut off.
        caption: a sentence for the caption of the figure of measures.
    """

    name: str
    label: str
    function: Function
    key: str = ""
    vectors: Literal["raw", "unit"] = "unit"
    kind: Kind = "measure"
    cost: Cost = "cheap"
    centrings: tuple[str, ...] = WHOLE
    null: Null = "entities"
    tested: bool = True
    small_is_close: bool = False
    needs_values: bool = False
    sees_offset: bool = True
    sees_turn: bool = True
    studied: bool = True
    in_words: bool = False
    in_panel: bool = False
    in_groups: bool = False
    axis: tuple[float, float] | None = None
    caption: str = ""


HEADLINE = "score"  # the row that the summary's first sentences and the first figures are about

_score_any = partial(score, baseline="any")

MEASURES: tuple[Measure, ...] = (
    Measure("S", "S", score, "S", centrings=EVERY),
    Measure("W", "W", score, "W", centrings=EVERY, tested=False),
    Measure("X", "X", score, "X", centrings=EVERY, tested=False),
    Measure("score", "S − W", score, "score", centrings=EVERY, in_groups=True),
    Measure(
        "alignment", "S − X", score, "alignment", centrings=EVERY, in_words=True, in_panel=True, in_groups=True
    ),
    Measure("separation", "W − X", score, "separation", centrings=EVERY, tested=False),
    Measure(
        "normalised", "(S − W) / (1 − W)", score, "normalised", centrings=EVERY, in_panel=True,
        axis=(-2.05, 1.05),
        caption="The axis of (S − W) / (1 − W) ends at −2: its divisor is near 0 while a language's facts are alike.",
    ),
    Measure("retrieval", "retrieval", retrieval, "retrieval", in_words=True, in_panel=True, in_groups=True),
    Measure("mexa", "MEXA", retrieval, "mexa", in_words=True, in_panel=True),
    Measure(
        "cka", "CKA", cka, vectors="raw", cost="costly", sees_offset=False, sees_turn=False, in_words=True,
        in_panel=True, in_groups=True,
    ),
    Measure(
        "procrustes", "Procrustes residual", procrustes, vectors="raw", cost="costly", small_is_close=True,
        sees_offset=False, sees_turn=False, in_words=True, in_panel=True,
    ),
    Measure("checkerboard", "checkerboard ρ", checkerboard, cost="costly", in_words=True, in_panel=True),
    Measure(
        "effective_dimension", "effective dimension", anisotropy, "effective_dimension", vectors="raw",
        kind="context", cost="moderate", null="none", in_panel=True,
        caption="Effective dimension: in how many directions the vectors differ.",
    ),
    Measure(
        "mean_cosine", "mean cosine", anisotropy, "mean_cosine", vectors="raw", kind="context", cost="moderate",
        null="none", in_panel=True,
        caption="Mean cosine: how alike any two vectors are, not centred.",
    ),
    Measure(
        "score_any", "S − W, any relation", _score_any, "score", kind="control", cost="moderate",
        studied=False,
    ),
    Measure(
        "V_cross", "V, same value", controls, "V_cross", kind="control", cost="moderate", null="none",
        needs_values=True,
    ),
    Measure(
        "score_other_value", "S − W, other value", controls, "score_other_value", kind="control", cost="moderate",
        needs_values=True, studied=False,
    ),
    Measure(
        "beyond_value", "beyond the value", controls, "beyond_value", kind="control", cost="moderate",
        null="same value", needs_values=True, in_panel=True,
        caption="Beyond the value: S less the mean cosine to another fact of the same value in the other language.",
    ),
)  # fmt: skip


def take(
    measures: Iterable[Measure],
    raw: Float[np.ndarray, "fact language d"],
    unit: Float[np.ndarray, "fact language d"],
    sample: Sample,
) -> dict[str, Measurement]:
    """The measures of some facts by name, in the order of the rows; a function that several rows name runs once.

    Args:
        measures: rows of a table.
        raw: activations.
        unit: the same activations, centred and of length 1.
        sample: the facts of these activations.
    """
    results: dict[tuple[Function, str], Measurement | Mapping[str, Measurement]] = {}
    measurements = {}
    for row in measures:
        call = row.function, row.vectors
        if call not in results:
            results[call] = row.function(raw if row.vectors == "raw" else unit, sample)
        result = results[call]
        measurements[row.name] = result if isinstance(result, Measurement) else result[row.key]
    return measurements


def listing(measures: Sequence[Measure] = MEASURES) -> str:
    """The table in Markdown, as docs/measures.md lists it."""
    head = ("name", "label", "module", "kind", "cost", "centrings", "null", "close is", "sees an offset", "sees a turn")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in measures:
        function = row.function.func if isinstance(row.function, partial) else row.function
        null = row.null if row.tested else f"{row.null}, no test"
        close = "" if row.null == "none" or not row.tested else "small" if row.small_is_close else "large"
        sees = ["" if row.kind == "context" else "yes" if yes else "no" for yes in (row.sees_offset, row.sees_turn)]
        module = f"`{function.__module__.removeprefix('mechxl.measures.')}`"
        cells = (f"`{row.name}`", row.label, module, row.kind, row.cost, ", ".join(row.centrings), null, close, *sees)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
