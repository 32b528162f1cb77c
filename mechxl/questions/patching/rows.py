"""The rows of the question `patching`: interchange accuracy, ceiling, causal unification and null of every place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from mechxl.data.corpus import Corpus
from mechxl.findings import counted, signed
from mechxl.instruments.patching.pairs import OUTCOMES, Pairs, value_words
from mechxl.measures.interchange import Interchange, best_place, interchange, mean_interval, permuted_hits
from mechxl.questions.patching.groups import BothWays
from mechxl.questions.patching.places import Part, PatchedPairs, PatchedPlaces

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
    """One direction of a part of a group, or both together; an item is a pair in one direction.

    Attributes:
        name: forth, back or both.
        across: hits of donors in another language.
        ceiling: hits of the same donor facts in the receiver's language.
        null: of permuted donors.
        pair: of each item.
        patched: what came out of the directions, and which of its pairs are meant.
    """

    name: str
    across: Bool[np.ndarray, "place item"]
    ceiling: Bool[np.ndarray, "place item"]
    null: Float[np.ndarray, "place item"]
    pair: Int[np.ndarray, " item"]
    patched: Sequence[tuple[PatchedPairs, Bool[np.ndarray, " pair"]]]

    @property
    def values(self) -> Interchange:
        """The accuracies and causal unification of every place."""
        return interchange(self.across, self.ceiling, self.null, self.pair)


def interchange_rows(
    places: PatchedPlaces, model: "HookedTransformer", fewest: int, *, with_outcomes: bool = False
) -> list[Row]:
    """Interchange accuracy, ceiling, causal unification and null by part of a group, direction and place.

    Args:
        places: where to patch, on which pairs; measured is the half that does not choose the place.
        model: of a checkpoint.
        fewest: pairs; with fewer there is no number but n.
        with_outcomes: add the shares of all outcomes, the logit difference and log p, patched and not.
    """
    rows = []
    for parts, four in zip(places.parts(model, choosing=False), places.run(model), strict=True):
        for part in parts:
            for direction in _directions(places.corpus, four, part):
                values = direction.values
                about: Row = {
                    "group": part.name,
                    "direction": direction.name,
                    "n": values.n,
                    "kept": len(direction.pair) / max(part.drawn * len(direction.patched), 1),
                }
                for number in range(len(places.places)):
                    row = places.named(number) | about | {"fixed": places.fixed[number]}
                    row |= _numbers(values, number, values.n >= fewest)
                    if row["fixed"]:
                        row |= _with_ends("unification", (np.nan,) * 3)
                    if with_outcomes:
                        row |= _outcomes(direction, number, values.n >= fewest)
                    row["reason"] = _reason(row, values.gap[:, number], part.why_none, fewest)
                    rows.append(row)
    return rows


def choose(places: PatchedPlaces, model: "HookedTransformer") -> int:
    """The place with the highest interchange accuracy above its null in the choosing halves.

    Parts and directions count alike, and mono facts only where they transfer, unless nothing else is answered rightly.
    """
    above, gaps = [], []
    several = [
        (part, four)
        for parts, four in zip(places.parts(model, choosing=True), places.run(model), strict=True)
        for part in parts
    ]
    for part, four in sorted(several, key=lambda one: one[0].set_aside):
        if part.set_aside and above:
            break
        values = _directions(places.corpus, four, part)[-1].values
        if values.n and np.isfinite(values.gap[0]).all():
            above.append(values.accuracy[0] - values.null[0])
            gaps.append(values.gap[0])
    free = places.free if places.free.any() else np.ones(len(places.places), dtype=bool)
    if not above:  # nothing is answered rightly, or chance can't be told: the first place that could be one
        return int(np.argmax(free))
    return best_place(np.mean(above, axis=0), np.mean(gaps, axis=0), free)


def _directions(corpus: Corpus, four: BothWays[PatchedPairs], part: Part) -> list[Direction]:
    """Forth, back and both; both are of the directions whose null is defined."""
    single = []
    for name, own, ceiling, chosen in (
        ("forth", four.forth, four.forth_ceiling, part.forth),
        ("back", four.back, four.back_ceiling, part.back),
    ):
        null = _null(corpus, own, chosen)
        across, within = own.hits(chosen), ceiling.hits(chosen)
        single.append(Direction(name, across, within, null, np.flatnonzero(chosen), [(own, chosen)]))
    joined = [one for one in single if np.isfinite(one.null).all() and one.null.size] or single
    both = Direction(
        name="both",
        across=np.concatenate([one.across for one in joined], axis=1),
        ceiling=np.concatenate([one.ceiling for one in joined], axis=1),
        null=np.concatenate([one.null for one in joined], axis=1),
        pair=np.concatenate([one.pair for one in joined]),
        patched=[patched for one in joined for patched in one.patched],
    )
    return [*single, both]


def _null(corpus: Corpus, own: PatchedPairs, chosen: Bool[np.ndarray, " pair"]) -> Float[np.ndarray, "place item"]:
    """Hits of donors permuted among pairs of one relation and one receiver's language."""
    pairs = own.pairs[chosen]
    value = corpus.world.value[pairs.donor_fact, pairs.donor_language]
    sought = value_words(corpus, pairs, value, pairs.language)
    relation_and_language = corpus.world.relation[pairs.fact] * corpus.world.n_languages + pairs.language
    return permuted_hits(own.patched.word[:-1, chosen], sought, relation_and_language, valid_donors(corpus, pairs))


def valid_donors(corpus: Corpus, pairs: Pairs) -> Bool[np.ndarray, "pair pair"]:
    """Whether the second pair's donor has other values than the first pair's receiver, as those of `draw_pairs` have.

    Values in the donor's own and in the receiver's language count, where facts are not shared.
    """
    value, language = corpus.world.value, [pairs.donor_language, pairs.language]
    donors = [value[pairs.donor_fact, a][None, :] for a in language]
    receivers = [value[pairs.fact[:, None], a[None, :]] for a in language]
    return np.all([donor != receiver for donor in donors for receiver in receivers], axis=0)


def _numbers(values: Interchange, number: int, enough: bool) -> Row:
    row: Row = {}
    for name in ("accuracy", "ceiling", "unification", "null"):
        row |= _with_ends(name, getattr(values, name)[:, number] if enough else np.full(3, np.nan))
    return row


def _outcomes(direction: Direction, place_number: int, enough: bool) -> Row:
    """Each outcome's share, logit difference and log p, patched and not, with 95 % intervals over pairs."""

    def items(of: str, at: int, *more: int) -> Float[np.ndarray, " item"]:
        return np.concatenate([getattr(own.patched, of)[(at, chosen, *more)] for own, chosen in direction.patched])

    outcome = np.concatenate([own.outcome[place_number, chosen] for own, chosen in direction.patched])
    by_item = {key: (outcome == index).astype(float) for index, key in enumerate(OUTCOME_KEYS)}
    for suffix, number in (("", place_number), ("_unpatched", -1)):
        by_item |= {
            f"logit_diff{suffix}": items("logit_diff", number),
            f"log_prob_donor{suffix}": items("log_prob", number, 0),
            f"log_prob_receiver{suffix}": items("log_prob", number, 1),
        }
    row: Row = {}
    for name, values in by_item.items():
        known = np.isfinite(values)
        pair = direction.pair[known]
        defined = enough and len(np.unique(pair)) > 1
        interval = mean_interval(values[known], pair, share=name in OUTCOME_KEYS) if defined else (np.nan,) * 3
        row |= _with_ends(name, interval)
    return row


def _with_ends(name: str, value_low_high: Sequence[float] | Float[np.ndarray, " three"]) -> Row:
    value, low, high = map(float, value_low_high)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _reason(row: Row, gap: Float[np.ndarray, " three"], why_none: str, fewest: int) -> str:
    if float(row["n"]) < fewest:
        return why_none or f"{counted(int(row['n']), 'pair')}, fewer than {fewest}"
    if np.isnan(row["null"]):
        return "no permuted donor has another value, so that nothing tells the donor's value from chance"
    if row["fixed"]:
        return f"fixed by construction: {row['fixed']}"
    if np.isnan(row["unification"]):
        value, low, high = map(signed, map(float, gap))
        return f"the ceiling is not clearly above the null (ceiling less null {value} [{low}, {high}])"
    return (
        "no token where the answers differ"
        if any(isinstance(value, float) and np.isnan(value) for value in row.values())
        else ""
    )
