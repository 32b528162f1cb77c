"""The plan of a patching run: the places and the pairs, prepared once for any number of checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.instruments.patching.pairs import Pairs
from mechxl.instruments.patching.prompts import BOS, Candidates, PatchPrompts, Side
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
        head: of q, k, v, z or pattern; None: all heads together; always None for the other components.
    """

    component: str
    block: int
    role: int
    head: int | None = None


@dataclass(frozen=True)
class Move:
    """Which pairs have a place's role, and at which positions.

    Attributes:
        pair: index of each pair that has the role.
        donor_position: the role's position in the donors' prompts.
        receiver_position: the role's position in the receivers' prompts.
    """

    pair: Int[Tensor, " some"]
    donor_position: Int[Tensor, " some"]
    receiver_position: Int[Tensor, " some"]


@dataclass(frozen=True)
class PatchPlan:
    """Places and pairs, prepared for any number of checkpoints.

    Attributes:
        places: where to patch.
        donor: prompts of the donors.
        receiver: prompts of the receivers.
        candidates: the answers whose log probabilities are computed.
        trie: of all answers.
        there: whether both sentences have the role (and, for a pattern, equal length).
        run_at: for each place, the place that is run for it; places at the same position share one run.
        restarts: the places that run together, by the block and the position where they restart.
        moves: for each place.
        donors_at_last: whether the last block's donor contents are needed only at the prompt's last position.
    """

    places: Sequence[Place]
    donor: Side
    receiver: Side
    candidates: Candidates
    trie: AnswerTrie
    there: Bool[np.ndarray, "place pair"]
    run_at: Sequence[int]
    restarts: dict[tuple[int, int], list[int]]
    moves: Sequence[Move]
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
    ) -> "PatchPlan":
        """Prepares sentences and places as tensors.

        Args:
            corpus: of the facts.
            pairs: donors and receivers.
            roles: the roles that places index.
            places: where to patch.
            n_blocks: of the model.
            device: of the model.
        """
        donor = Side.of(corpus, pairs.donor_fact, pairs.donor_language, roles, device)
        receiver = Side.of(corpus, pairs.fact, pairs.language, roles, device)
        there = np.array([donor.has(receiver, place.role, place.component == "pattern") for place in places])
        there = there.reshape(len(places), len(pairs))
        role_of_place = [place.role for place in places]
        at_last = there & (receiver.positions == receiver.last[:, None]).T[role_of_place]
        run_at = _run_at(places, donor, receiver, at_last, n_blocks)
        donors_at_last = all(
            (donor.positions[pair, place.role] == donor.last[pair]).all()
            for place, pair in zip(places, at_last, strict=True)
            if place.block == n_blocks - 1 and place.component not in READ_LATER
        )
        return cls(
            places=places,
            donor=donor,
            receiver=receiver,
            candidates=Candidates.of(corpus, pairs, device),
            trie=answer_trie(corpus),
            there=there,
            run_at=run_at,
            restarts=_restarts(places, receiver, there, run_at, n_blocks),
            moves=_moves(places, donor, receiver, there, device),
            donors_at_last=donors_at_last,
        )

    def where(self, place_number: int) -> tuple[str, int]:
        """The component and block of a place."""
        return self.places[place_number].component, self.places[place_number].block

    @cached_property
    def both(self) -> PatchPrompts:
        """The prompts of donors, then of receivers."""
        return PatchPrompts.of([self.donor, self.receiver])


def _run_at(
    places: Sequence[Place], donor: Side, receiver: Side, at_last: Bool[np.ndarray, "place pair"], n_blocks: int
) -> list[int]:
    """For each place, the first place with the same effect."""
    keys = []
    for place, last in zip(places, at_last, strict=True):
        # In the last block, only the position that predicts the answer is read.
        read = place.block < n_blocks - 1 or place.component in READ_LATER or last.any()
        positions = (side.positions[:, place.role].tobytes() for side in (donor, receiver))
        has_effect = read and place.component != NOTHING
        keys.append((place.component, place.block, place.head, *positions) if has_effect else ())
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    return [first[key] for key in keys]


def _restarts(
    places: Sequence[Place],
    receiver: Side,
    there: Bool[np.ndarray, "place pair"],
    run_at: Sequence[int],
    n_blocks: int,
) -> dict[tuple[int, int], list[int]]:
    """The places that are run, by the block and the position where they restart."""
    restarts: dict[tuple[int, int], list[int]] = {}
    for number in dict.fromkeys(reversed(run_at)):
        if not there[number].any():
            continue
        place = places[number]
        block = place.block + (place.component == "resid_post")
        # The last block runs at one position only, so places of all roles can run together.
        # Receivers that a pattern does not fit run along, and may end before the first that it fits.
        first = min(receiver.positions[there[number], place.role].min(), receiver.last.min())
        start = int(first) if block < n_blocks - 1 else BOS
        restarts.setdefault((block, start), []).append(number)
    return restarts


def _moves(
    places: Sequence[Place],
    donor: Side,
    receiver: Side,
    there: Bool[np.ndarray, "place pair"],
    device: torch.device | str,
) -> list[Move]:
    moves = []
    for place, pair in zip(places, map(np.flatnonzero, there), strict=True):
        moves.append(
            Move(
                pair=torch.as_tensor(pair, device=device),
                donor_position=torch.as_tensor(donor.positions[pair, place.role], device=device),
                receiver_position=torch.as_tensor(receiver.positions[pair, place.role], device=device),
            )
        )
    return moves
