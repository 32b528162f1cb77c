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
from mechxl.instruments.patching.pairs import Pairs, outcomes
from mechxl.instruments.patching.plan import NOTHING, PatchPlan, Place
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.model.blocks import READ_LATER
from mechxl.model.weights import weights_of
from mechxl.questions.patching.groups import BothWays, GroupPairs
from mechxl.questions.patching.words import PARTS, SET_ASIDE

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer


SAME_PROMPTS = "the prompts are the same in both languages, so that nothing crosses from one to the other"


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


@dataclass(frozen=True)
class Part:
    """Pairs of a group that are measured together, at one checkpoint.

    Mono facts are apart by whether the donor fact transfers: where it does not, the ceiling's donor holds another fact
    than the other language's, and the ratio of the two says nothing of what the languages share.

    Attributes:
        name: parallel; mono, transferred; or mono, not transferred.
        forth: which pairs, with the donor in the language with the lower number.
        back: which pairs, with the donor in the language with the higher number.
        drawn: how many pairs there are, whatever the model answers.
        why_none: why there can't be any; empty if there can.
    """

    name: str
    forth: Bool[np.ndarray, " pair"]
    back: Bool[np.ndarray, " pair"]
    drawn: int
    why_none: str

    @property
    def set_aside(self) -> bool:
        """Whether it does not choose the place if another part can."""
        return self.name == SET_ASIDE


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

    def parts(self, model: "HookedTransformer", *, choosing: bool) -> list[list[Part]]:
        """Of each group, the pairs that a model answers rightly unpatched, of the choosing or of the measured half.

        Left out are directions in which the donor's prompt is the same in both languages: there the donor in the other
        language is the ceiling's donor.
        """
        right = iter(np.split(ask_questions(model, self._asked, answer_trie(self.corpus)).right, self._ends))
        found = []
        for group, (forth, back) in zip(self.groups, self._crosses, strict=True):
            half = group.choosing == choosing
            both = next(right) & next(right) & half
            transfers = next(right), next(right)
            why_none = "" if (forth | back).any() else SAME_PROMPTS
            names = PARTS[group.group]
            masks = [(both & forth, both & back)]
            if len(names) > 1:
                masks = [
                    (both & forth & (transfers[0] == does), both & back & (transfers[1] == does))
                    for does in (True, False)
                ]
            found.append(
                [Part(name, *mask, int(half.sum()), why_none) for name, mask in zip(names, masks, strict=True)]
            )
        return found

    @cached_property
    def _asked(self) -> Questions:
        """Of each group: both facts as they are told, then each in the other's language."""
        forth = [group.forth for group in self.groups]
        fact = [f for p in forth for f in (p.donor_fact, p.fact, p.donor_fact, p.fact)]
        language = [a for p in forth for a in (p.donor_language, p.language, p.language, p.donor_language)]
        return Questions.of(self.corpus, np.concatenate(fact), np.concatenate(language))

    @property
    def _ends(self) -> Int[np.ndarray, " part"]:
        """Where the answers to a part of `_asked` end."""
        return np.cumsum([len(group.forth) for group in self.groups for _ in range(4)])[:-1]

    @cached_property
    def _crosses(self) -> list[tuple[Bool[np.ndarray, " pair"], Bool[np.ndarray, " pair"]]]:
        """Of each group, forth and back, whether the donor's prompt differs between the two languages."""
        return [
            (
                self._differs(p.donor_fact, p.donor_language, p.language),
                self._differs(p.fact, p.language, p.donor_language),
            )
            for p in (group.forth for group in self.groups)
        ]

    def _differs(
        self, fact: Int[np.ndarray, " n"], one: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, " n"]:
        return self.corpus.prompt_keys(fact, one, True) != self.corpus.prompt_keys(fact, other, True)
