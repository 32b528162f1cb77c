"""Places at which the question `patching` patches: all groups and directions in one run of the engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from mechxl.data.corpus import Corpus
from mechxl.data.roles import role_positions
from mechxl.instruments.patching.engine import Patched, run_plan
from mechxl.instruments.patching.pairs import Pairs, answered_rightly, outcomes
from mechxl.instruments.patching.plan import NOTHING, PatchPlan, Place
from mechxl.model.blocks import READ_LATER
from mechxl.model.weights import weights_of
from mechxl.questions.patching.groups import BothWays, GroupPairs

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer


@dataclass(frozen=True)
class PatchedPairs:
    """What came out of one direction, or of its ceiling.

    Attributes:
        pairs: that were patched.
        patched: by (place, pair); the last place is the unpatched answer.
        outcome: index into OUTCOMES, by (place, pair), the unpatched answer last.
    """

    pairs: Pairs
    patched: Patched
    outcome: Int[np.ndarray, "place pair"]

    def hits(self, chosen: Bool[np.ndarray, " pair"]) -> Bool[np.ndarray, "place some"]:
        """Whether the answer is the donor's value in the receiver's language, of the chosen pairs."""
        return self.outcome[:-1, chosen] == 0


class PatchedPlaces:
    """Places made ready for both directions of all groups and their ceilings.

    Args:
        corpus: of the facts.
        groups: pairs by group.
        roles: that places refer to.
        places: where to patch.
        n_blocks: of the model.
    """

    def __init__(
        self, corpus: Corpus, groups: Sequence[GroupPairs], roles: Sequence[str], places: Sequence[Place], n_blocks: int
    ) -> None:
        self.corpus, self.groups, self.roles, self.n_blocks = corpus, groups, roles, n_blocks
        self.places = list(places)
        self._pairs = [group.both_ways for group in groups]
        every = [pairs for four in self._pairs for pairs in four.in_order()]
        self._plan = PatchPlan.of(
            corpus, Pairs.joined(every), roles, [*self.places, Place(NOTHING, n_blocks - 1, 0)], n_blocks
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
        if self._same_tokens_up_to(place.role):
            return "the same tokens in both languages up to here"
        if place.block == self.n_blocks - 1 and place.component not in READ_LATER:
            pairs = self._pairs[0].forth
            last = self.corpus.sequences(pairs.fact, pairs.language).prompt_length - 1
            if (self._positions(pairs.fact, pairs.language, place.role) != last).all():
                return "never read"
            if place.component == "resid_post":
                return "the donor's own answer"
        return ""

    def _same_tokens_up_to(self, role: int) -> bool:
        """Whether the donor facts have the same tokens up to a role in the donor's and in the receiver's language."""
        pairs = self._pairs[0].forth
        own, other = (
            self.corpus.sequences(pairs.donor_fact, language).prompts()
            for language in (pairs.donor_language, pairs.language)
        )
        own_position, other_position = (
            self._positions(pairs.donor_fact, language, role) for language in (pairs.donor_language, pairs.language)
        )
        width = min(own.shape[1], other.shape[1])
        after = np.arange(width) > own_position[:, None]
        equal = (own[:, :width] == other[:, :width]) | after
        return bool((own_position == other_position).all() and equal.all())

    def _positions(
        self, fact: Int[np.ndarray, " n"], language: Int[np.ndarray, " n"], role: int
    ) -> Int[np.ndarray, " n"]:
        return role_positions(self.corpus, fact, language, [self.roles[role]])[:, 0]

    def named(self, place_number: int) -> dict[str, str | int]:
        """A place as a table names it."""
        place = self.places[place_number]
        layer = 0 if place.component == "resid_pre" and not place.block else place.block + 1
        head = {} if place.head is None else {"head": place.head}
        return {"component": place.component, "layer": layer, "role": self.roles[place.role]} | head

    def run(self, model: "HookedTransformer") -> list[BothWays[PatchedPairs]]:
        """What came out, by group."""
        sizes = [len(group.forth) for group in self.groups for _ in range(4)]
        parts = iter(run_plan(self._plan, weights_of(model)).split(sizes))

        def part(pairs: Pairs) -> PatchedPairs:
            patched = next(parts)
            return PatchedPairs(pairs, patched, outcomes(self.corpus, pairs, patched.word))

        return [four.map(part) for four in self._pairs]

    def right(self, model: "HookedTransformer") -> list[Bool[np.ndarray, " pair"]]:
        """Of each group, the pairs both of whose facts are answered rightly, each as it is told."""
        return [
            answered_rightly(model, self.corpus, group.forth.donor_fact, group.forth.donor_language)
            & answered_rightly(model, self.corpus, group.forth.fact, group.forth.language)
            for group in self.groups
        ]

    def choosing(
        self, model: "HookedTransformer"
    ) -> list[tuple[Bool[np.ndarray, "place hit"], Bool[np.ndarray, "place hit"]]]:
        """Of each group, hits across languages and of the ceiling in the choosing half, both directions together."""
        halves = []
        for group, four, right in zip(self.groups, self.run(model), self.right(model), strict=True):
            chosen = right & group.choosing
            across = np.concatenate([four.forth.hits(chosen), four.back.hits(chosen)], axis=1)
            ceiling = np.concatenate([four.forth_ceiling.hits(chosen), four.back_ceiling.hits(chosen)], axis=1)
            halves.append((across, ceiling))
        return halves
