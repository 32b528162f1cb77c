"""The pairs that the question `patching` patches: each group's, in both directions, with their ceilings."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Bool

from mechxl.data.corpus import Corpus
from mechxl.instruments.patching.pairs import Pairs, draw_pairs

Content = TypeVar("Content")
Other = TypeVar("Other")


@dataclass(frozen=True)
class BothWays(Generic[Content]):
    """What a group has of each direction and of its ceiling.

    Attributes:
        forth: of donors in the language with the lower number.
        forth_ceiling: of the same donor facts in the receiver's language.
        back: of donors in the language with the higher number.
        back_ceiling: of the same donor facts in the receiver's language.
    """

    forth: Content
    forth_ceiling: Content
    back: Content
    back_ceiling: Content

    def in_order(self) -> list[Content]:
        """The four, in the order of `map`."""
        return [self.forth, self.forth_ceiling, self.back, self.back_ceiling]

    def map(self, function: Callable[[Content], Other]) -> "BothWays[Other]":
        """The function's value of each of the four, called in the order of the fields."""
        return BothWays(
            forth=function(self.forth),
            forth_ceiling=function(self.forth_ceiling),
            back=function(self.back),
            back_ceiling=function(self.back_ceiling),
        )


@dataclass(frozen=True)
class GroupPairs:
    """The pairs of a group; each fact is a donor in one direction and a receiver in the other.

    Attributes:
        group: mono or parallel.
        forth: donors in the language with the lower number.
    """

    group: str
    forth: Pairs

    @property
    def both_ways(self) -> BothWays[Pairs]:
        """Both directions and their ceilings."""
        forth = self.forth
        back = Pairs(
            donor_fact=forth.fact,
            donor_language=forth.language,
            fact=forth.donor_fact,
            language=forth.donor_language,
        )
        return BothWays(forth=forth, forth_ceiling=forth.within(), back=back, back_ceiling=back.within())

    @property
    def choosing(self) -> Bool[np.ndarray, " pair"]:
        """The half that chooses the place."""
        return np.arange(len(self.forth)) % 2 == 0


def draw_groups(corpus: Corpus, n: int) -> list[GroupPairs]:
    """At most n pairs of each group, over all pairs of languages; no entity is in two pairs of a group."""
    languages = list(combinations(range(corpus.world.n_languages), 2))
    groups = []
    for group in ("mono", "parallel"):
        used: set[int] = set()
        drawn = []
        for donor, receiver in languages:
            pairs = draw_pairs(
                corpus, max(1, n // len(languages)), donor=donor, receiver=receiver, group=group, without=used
            )
            used |= {int(e) for facts in (pairs.donor_fact, pairs.fact) for e in corpus.world.entity[facts]}
            drawn.append(pairs)
        if any(len(pairs) for pairs in drawn):
            groups.append(GroupPairs(group, Pairs.joined(drawn)))
    return groups
