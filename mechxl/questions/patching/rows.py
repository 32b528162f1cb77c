"""The rows of the question `patching`: interchange accuracy, ceiling, causal unification and null of every place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from mechxl.data.corpus import Corpus
from mechxl.instruments.patching.pairs import OUTCOMES, value_words
from mechxl.measures.interchange import interchange, mean_interval, permuted_accuracy
from mechxl.questions.patching.groups import BothWays
from mechxl.questions.patching.places import PatchedPairs, PatchedPlaces

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

Row = dict[str, str | int | float]
OUTCOME_KEYS = (
    "donor_receivers",
    "donor_donors",
    "receiver_receivers",
    "receiver_donors",
    "fact_receivers",
    "other",
)
assert len(OUTCOME_KEYS) == len(OUTCOMES)


@dataclass(frozen=True)
class Direction:
    """One direction of a group, or the mean of both.

    Attributes:
        name: forth, back or both.
        across: hits, or the share of hits over directions, of donors in another language.
        ceiling: the same with the same donor facts in the receiver's language.
        patched: the directions that are meant, without their ceilings.
    """

    name: str
    across: Float[np.ndarray, "place pair"]
    ceiling: Float[np.ndarray, "place pair"]
    patched: Sequence[PatchedPairs]


def interchange_rows(
    places: PatchedPlaces,
    model: "HookedTransformer",
    rng: np.random.Generator,
    fewest: int,
    *,
    with_outcomes: bool = False,
) -> list[Row]:
    """Interchange accuracy, ceiling, causal unification and null by group, direction and place.

    Args:
        places: where to patch, on which pairs; measured is the half that does not choose the place.
        model: of a checkpoint.
        rng: for resampling.
        fewest: pairs; with fewer there is no number but n.
        with_outcomes: add the shares of all outcomes, the logit difference and log p, patched and not.
    """
    rows = []
    for group, four, right in zip(places.groups, places.run(model), places.right(model), strict=True):
        measured = right & ~group.choosing
        kept = float(right[~group.choosing].mean())
        for direction in _directions(four, measured):
            about: Row = {"group": group.group, "direction": direction.name, "n": int(measured.sum()), "kept": kept}
            enough = int(measured.sum()) >= fewest
            values = interchange(direction.across, direction.ceiling, rng)
            null = np.mean([_null(places.corpus, part, measured) for part in direction.patched], axis=0)
            for number in range(len(places.places)):
                row: Row = places.named(number) | about | {"fixed": places.fixed[number]}
                for name in ("accuracy", "ceiling", "unification"):
                    row |= _with_ends(name, getattr(values, name)[:, number] if enough else np.full(3, np.nan))
                row["null"] = float(null[number]) if enough else np.nan
                if with_outcomes:
                    row |= _outcomes(direction.patched, measured, number, enough)
                row["reason"] = _reason(row, fewest)
                rows.append(row)
    return rows


def _directions(four: BothWays[PatchedPairs], measured: Bool[np.ndarray, " pair"]) -> list[Direction]:
    hits = four.map(lambda part: part.hits(measured).astype(float))
    across, ceiling = (hits.forth + hits.back) / 2, (hits.forth_ceiling + hits.back_ceiling) / 2
    return [
        Direction("forth", hits.forth, hits.forth_ceiling, [four.forth]),
        Direction("back", hits.back, hits.back_ceiling, [four.back]),
        Direction("both", across, ceiling, [four.forth, four.back]),
    ]


def _null(corpus: Corpus, part: PatchedPairs, measured: Bool[np.ndarray, " pair"]) -> Float[np.ndarray, " place"]:
    """Interchange accuracy with the donors permuted among pairs of one relation and one receiver's language."""
    pairs = part.pairs[measured]
    value = corpus.world.value[pairs.donor_fact, pairs.donor_language]
    sought = value_words(corpus, pairs, value, pairs.language)
    relation_and_language = corpus.world.relation[pairs.fact] * corpus.world.n_languages + pairs.language
    return permuted_accuracy(part.patched.word[:-1, measured], sought, relation_and_language)


def _outcomes(
    parts: Sequence[PatchedPairs], measured: Bool[np.ndarray, " pair"], place_number: int, enough: bool
) -> Row:
    """Each outcome's share, logit difference and log p, patched and not, with 95 % intervals over pairs."""
    by_pair = {
        key: np.mean([part.outcome[place_number, measured] == index for part in parts], axis=0)
        for index, key in enumerate(OUTCOME_KEYS)
    }
    for suffix, number in (("", place_number), ("_unpatched", -1)):
        numbers = {
            "logit_diff": [part.patched.logit_diff[number, measured] for part in parts],
            "log_prob_donor": [part.patched.log_prob[number, measured, 0] for part in parts],
            "log_prob_receiver": [part.patched.log_prob[number, measured, 1] for part in parts],
        }
        by_pair |= {name + suffix: np.mean(values, axis=0) for name, values in numbers.items()}
    row: Row = {}
    for name, values in by_pair.items():
        known = values[np.isfinite(values)]
        defined = enough and len(known) > 1
        row |= _with_ends(name, mean_interval(known, share=name in OUTCOME_KEYS) if defined else (np.nan,) * 3)
    return row


def _with_ends(name: str, value_low_high: Sequence[float] | Float[np.ndarray, " three"]) -> Row:
    value, low, high = map(float, value_low_high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _reason(row: Row, fewest: int) -> str:
    if float(row["n"]) < fewest:
        return f"{row['n']} pairs with both answers right, fewer than {fewest}"
    if np.isnan(row["unification"]):
        return "the ceiling's interval reaches .1"
    return (
        "no two pairs of one relation, or no token where the answers differ"
        if any(isinstance(value, float) and np.isnan(value) for value in row.values())
        else ""
    )
