"""Where to patch, and on which pairs: places and sentences made ready for any number of checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.instruments.patching.pairs import Pairs
from mechxl.instruments.patching.prompts import BOS, Candidates, Prompts, Side
from mechxl.model.answers import AnswerTrie, answer_trie
from mechxl.model.blocks import READ_LATER

NOTHING = "nothing"


@dataclass(frozen=True)
class Place:
    """Where an activation is put.

    Attributes:
        component: of `mechxl.model.blocks.COMPONENTS`; NOTHING: the receiver's own answer, unpatched.
        block: TransformerLens's number of the block.
        role: index into the roles asked for.
        head: of q, k, v, z or pattern; None: all heads, and for the other components.
    """

    component: str
    block: int
    role: int
    head: int | None = None


@dataclass(frozen=True)
class Plan:
    """Places and pairs made ready to be run on any number of checkpoints.

    Attributes:
        places: of `of`.
        there: whether both sentences have the role (and, for a pattern, are as long as each other).
        run_at: of each place, the place that is run for it: one for all that are at the same position.
        restarts: places that run together, by the block and the position that they restart at.
        moves: of each place: the pairs that have it, and its position in their donors and in their receivers.
        donors_at_last: whether of the last block no donor's content is needed but at the prompt's last position.
    """

    places: Sequence[Place]
    donor: Side
    receiver: Side
    candidates: Candidates
    trie: AnswerTrie
    there: Bool[np.ndarray, "place pair"]
    run_at: Sequence[int]
    restarts: dict[tuple[int, int], list[int]]
    moves: Sequence[tuple[Tensor, Tensor, Tensor]]
    donors_at_last: bool

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        pairs: Pairs,
        roles: Sequence[str],
        places: Sequence[Place],
        n_blocks: int,
        device: torch.device | str = "cpu",
    ) -> "Plan":
        """Sentences and places as tensors.

        Args:
            corpus: of the facts.
            pairs: donors and receivers.
            roles: that places refer to.
            places: where to patch.
            n_blocks: of the model.
            device: of the model.
        """
        donor = Side.of(corpus, pairs.donor_fact, pairs.donor_language, roles, device)
        receiver = Side.of(corpus, pairs.fact, pairs.language, roles, device)
        there = np.array([donor.has(receiver, place.role, place.component == "pattern") for place in places])
        there = there.reshape(len(places), len(pairs))
        at_last = there & (receiver.at == receiver.last[:, None]).T[[place.role for place in places]]
        keys = []
        for place, effect in zip(places, at_last, strict=True):
            # What the last block makes at a position that nothing is predicted from is never read.
            read = place.block < n_blocks - 1 or place.component in READ_LATER or effect.any()
            read &= place.component != NOTHING
            where = (side.at[:, place.role].tobytes() for side in (donor, receiver))
            keys.append((place.component, place.block, place.head, *where) if read else ())
        once = {key: at for at, key in reversed(list(enumerate(keys)))}
        restarts: dict[tuple[int, int], list[int]] = {}
        for at in (at for at in once.values() if there[at].any()):
            place = places[at]
            block = place.block + (place.component == "resid_post")
            # The last block runs at one position, wherever it starts: there places of all roles go together.
            start = int(receiver.at[there[at], place.role].min()) if block < n_blocks - 1 else BOS
            restarts.setdefault((block, start), []).append(at)
        donors = [
            (donor.at[effect, place.role] == donor.last[effect]).all()
            for place, effect in zip(places, at_last, strict=True)
            if place.block == n_blocks - 1 and place.component not in READ_LATER
        ]
        moves = []
        for place, pair in zip(places, map(np.flatnonzero, there), strict=True):
            ends = (pair, donor.at[pair, place.role], receiver.at[pair, place.role])
            moves.append(tuple(torch.as_tensor(part, device=device) for part in ends))
        candidates = Candidates.of(corpus, pairs, device)
        run_at = [once[key] for key in keys]
        trie = answer_trie(corpus)
        return cls(places, donor, receiver, candidates, trie, there, run_at, restarts, moves, all(donors))

    def where(self, place: int) -> tuple[str, int]:
        """The component and block of a place."""
        return self.places[place].component, self.places[place].block

    @cached_property
    def both(self) -> Prompts:
        """The prompts of donors, then of receivers."""
        return Prompts.of([self.donor, self.receiver])
