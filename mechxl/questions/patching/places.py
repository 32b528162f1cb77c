"""What the question `patching` patches: pairs in both directions with their ceilings, run at many places together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int

from mechxl.data.corpus import Corpus
from mechxl.data.roles import role_positions
from mechxl.instruments.patching.engine import Patched, run_plan
from mechxl.instruments.patching.pairs import OUTCOMES, Pairs, answered_rightly, draw_pairs, outcomes, value_words
from mechxl.instruments.patching.plan import NOTHING, Place, Plan
from mechxl.measures.interchange import interchange, mean_interval, permuted_accuracy
from mechxl.model.blocks import READ_LATER
from mechxl.model.weights import weights_of

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

DIRECTIONS = ("forth", "back")
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
class Sets:
    """The pairs of a group; each fact is a donor in one direction and a receiver in the other.

    Attributes:
        group: mono or parallel.
        forth: donors in the language with the lower number.
    """

    group: str
    forth: Pairs

    @property
    def back(self) -> Pairs:
        """The same facts with their parts exchanged."""
        return Pairs(self.forth.fact, self.forth.language, self.forth.donor_fact, self.forth.donor_language)

    @property
    def choosing(self) -> Bool[np.ndarray, " pair"]:
        """The half that chooses the place."""
        return np.arange(len(self.forth)) % 2 == 0


def draw_sets(corpus: Corpus, n: int) -> list[Sets]:
    """At most n pairs of each group, over all pairs of languages; no entity is in two pairs of a group."""
    languages = list(combinations(range(corpus.world.n_languages), 2))
    sets = []
    for group in ("mono", "parallel"):
        taken: set[int] = set()
        drawn = []
        for a, b in languages:
            pairs = draw_pairs(corpus, max(1, n // len(languages)), donor=a, receiver=b, group=group, taken=taken)
            taken |= {int(e) for facts in (pairs.donor_fact, pairs.fact) for e in corpus.world.entity[facts]}
            drawn.append(pairs)
        if any(len(pairs) for pairs in drawn):
            sets.append(Sets(group, Pairs.joined(drawn)))
    return sets


class Spots:
    """Places made ready for both directions of all groups and their ceilings.

    Args:
        corpus: of the facts.
        sets: pairs by group.
        roles: that places refer to.
        places: where to patch.
        n_blocks: of the model.
    """

    def __init__(
        self, corpus: Corpus, sets: Sequence[Sets], roles: Sequence[str], places: Sequence[Place], n_blocks: int
    ) -> None:
        self.corpus, self.sets, self.roles, self.places, self.n_blocks = corpus, sets, roles, list(places), n_blocks
        pieces = [part for one in sets for way in DIRECTIONS for part in _both(getattr(one, way))]
        self._ends = np.cumsum([0, *(len(piece) for piece in pieces)])
        self._pieces = pieces
        self.plan = Plan.of(
            corpus, Pairs.joined(pieces), roles, [*self.places, Place(NOTHING, n_blocks - 1, 0)], n_blocks
        )

    @cached_property
    def fixed(self) -> list[str]:
        """Why a place's answer is fixed by construction; empty where it is not."""
        return [self._fixed(place) for place in self.places]

    @property
    def free(self) -> Bool[np.ndarray, " place"]:
        """Places that are not fixed by construction."""
        return np.array([not reason for reason in self.fixed])

    def _fixed(self, place: Place) -> str:
        if place.component == "resid_pre" and place.block == 0:
            return "the prompt itself"
        first = self._pieces[0]  # a donor across, and the same fact in the receiver's language
        tokens, at = [], []
        for language in (first.donor_language, first.language):
            sentences = self.corpus.sequences(first.donor_fact, language)
            tokens.append(sentences.prompts())
            at.append(_positions(self.corpus, first.donor_fact, language, self.roles[place.role]))
        width = min(one.shape[1] for one in tokens)
        upto = np.arange(width) <= at[0][:, None]
        if (at[0] == at[1]).all() and ((tokens[0][:, :width] == tokens[1][:, :width]) | ~upto).all():
            return "the same tokens in both languages up to here"
        if place.block == self.n_blocks - 1 and place.component not in READ_LATER:
            last = self.corpus.sequences(first.fact, first.language).prompt_length - 1
            if (_positions(self.corpus, first.fact, first.language, self.roles[place.role]) != last).all():
                return "never read"
            if place.component == "resid_post":
                return "the donor's own answer"
        return ""

    def named(self, at: int) -> dict[str, Any]:
        """A place as a table names it."""
        place = self.places[at]
        layer = 0 if place.component == "resid_pre" and not place.block else place.block + 1
        head = {} if place.head is None else {"head": place.head}
        return {"component": place.component, "layer": layer, "role": self.roles[place.role]} | head

    def run(self, model: "HookedTransformer") -> list[tuple[Patched, Int[np.ndarray, "place pair"]]]:
        """What came out of each piece, the unpatched answer last, and the outcomes."""
        found, pieces = run_plan(self.plan, weights_of(model)), []
        for piece, start, end in zip(self._pieces, self._ends[:-1], self._ends[1:], strict=True):
            own = Patched(
                found.word[:, start:end],
                found.log_prob[:, start:end],
                found.logit_diff[:, start:end],
                found.there[:, start:end],
            )
            pieces.append((own, outcomes(self.corpus, piece, own.word)))
        return pieces

    def right(self, model: "HookedTransformer") -> list[Bool[np.ndarray, " pair"]]:
        """Of each group, the pairs both of whose facts are answered rightly, each as it is told."""
        return [
            answered_rightly(model, self.corpus, one.forth.donor_fact, one.forth.donor_language)
            & answered_rightly(model, self.corpus, one.forth.fact, one.forth.language)
            for one in self.sets
        ]

    def choosing(self, model: "HookedTransformer") -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each group, hits across and within of the choosing half, both directions together."""
        pieces, right = self.run(model), self.right(model)
        found = []
        for at, (one, kept) in enumerate(zip(self.sets, right, strict=True)):
            hits = [outcome[:-1, kept & one.choosing] == 0 for _, outcome in pieces[4 * at : 4 * at + 4]]
            found.append((np.concatenate([hits[0], hits[2]], axis=1), np.concatenate([hits[1], hits[3]], axis=1)))
        return found

    def rows(
        self, model: "HookedTransformer", rng: np.random.Generator, fewest: int, *, outcomes: bool = False
    ) -> list[dict[str, Any]]:
        """Interchange accuracy, ceiling, causal unification and null by group, direction and place.

        Args:
            model: of a checkpoint.
            rng: for resampling.
            fewest: pairs; with fewer there is no number but n.
            outcomes: with the shares of all outcomes, the logit difference and log p, patched and not.
        """
        pieces, right, rows = self.run(model), self.right(model), []
        for at, (one, answered) in enumerate(zip(self.sets, right, strict=True)):
            kept = answered & ~one.choosing
            share = float(answered[~one.choosing].mean())
            four = pieces[4 * at : 4 * at + 4]
            hits = [(outcome[:-1, kept] == 0).astype(float) for _, outcome in four]
            both = ((hits[0] + hits[2]) / 2, (hits[1] + hits[3]) / 2)
            ways = [(hits[0], hits[1], [0]), (hits[2], hits[3], [2]), (*both, [0, 2])]
            for way, (across, within, of) in zip((*DIRECTIONS, "both"), ways, strict=True):
                about = {"group": one.group, "direction": way, "n": int(kept.sum()), "kept": share}
                enough = about["n"] >= fewest
                found = interchange(across, within, rng)
                null = np.mean([self._null(4 * at + part, four[part][0], kept) for part in of], axis=0)
                for place in range(len(self.places)):
                    row = self.named(place) | about | {"fixed": self.fixed[place]}
                    for name in ("accuracy", "ceiling", "unification"):
                        three = getattr(found, name)[:, place] if enough else np.full(3, np.nan)
                        row |= dict(zip((name, f"{name}_low", f"{name}_high"), map(float, three), strict=True))
                    row["null"] = float(null[place]) if enough else np.nan
                    if outcomes:
                        row |= self._outcomes([four[part] for part in of], kept, place, enough)
                    row["reason"] = _reason(row, fewest)
                    rows.append(row)
        return rows

    def _null(self, piece: int, found: Patched, kept: Bool[np.ndarray, " pair"]) -> np.ndarray:
        pairs = self._pieces[piece][kept]
        value = self.corpus.world.value[pairs.donor_fact, pairs.donor_language]
        # direction and receiver's language together make a group whose donors may stand for each other
        group = self.corpus.world.relation[pairs.fact] * self.corpus.world.n_languages + pairs.language
        return permuted_accuracy(found.word[:-1, kept], value_words(self.corpus, pairs, value, pairs.language), group)

    def _outcomes(
        self, parts: Sequence[tuple[Patched, np.ndarray]], kept: Bool[np.ndarray, " pair"], place: int, enough: bool
    ) -> dict[str, float]:
        """Each outcome's share, logit difference and log p, patched and not, with 95 % intervals over pairs."""
        named = {key: np.mean([o[place, kept] == at for _, o in parts], axis=0) for at, key in enumerate(OUTCOME_KEYS)}
        for label, at in (("", place), ("_unpatched", -1)):
            numbers = {
                "logit_diff": [found.logit_diff[at, kept] for found, _ in parts],
                "log_prob_donor": [found.log_prob[at, kept, 0] for found, _ in parts],
                "log_prob_receiver": [found.log_prob[at, kept, 1] for found, _ in parts],
            }
            named |= {name + label: np.mean(values, axis=0) for name, values in numbers.items()}
        row: dict[str, float] = {}
        for name, values in named.items():
            known = values[np.isfinite(values)]
            three = mean_interval(known, share=name in OUTCOME_KEYS) if enough and len(known) > 1 else (np.nan,) * 3
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), three, strict=True))
        return row


def _both(pairs: Pairs) -> tuple[Pairs, Pairs]:
    return pairs, pairs.within()


def _positions(corpus: Corpus, fact: np.ndarray, language: np.ndarray, role: str) -> Int[np.ndarray, " n"]:
    return role_positions(corpus, fact, language, [role])[:, 0]


def _reason(row: dict[str, Any], fewest: int) -> str:
    if row["n"] < fewest:
        return f"{row['n']} pairs with both answers right, fewer than {fewest}"
    if np.isnan(row["unification"]):
        return "the ceiling's interval reaches .1"
    return (
        "no two pairs of one relation, or no token where the answers differ"
        if any(isinstance(value, float) and np.isnan(value) for value in row.values())
        else ""
    )
