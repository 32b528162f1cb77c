"""One restart of the receivers: places that are patched into one batch, from one block and one position on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.instruments.patching.plan import Move, PatchPlan, Place
from mechxl.instruments.patching.prompts import BOS, KEYS, Contents
from mechxl.model.blocks import (
    BY_HEAD,
    READ_LATER,
    Past,
    Projected,
    at_columns,
    at_rows,
    blocks_from,
    embed,
    project_heads,
    unembed,
)
from mechxl.model.weights import Weights


@dataclass(frozen=True)
class Restart:
    """Places that restart at one block and position, run together: rows are places by pairs.

    Attributes:
        weights: of the model.
        plan: of all places.
        place_numbers: the plan's places that are run here.
        from_donors: the donors' contents.
        unpatched: the receivers' contents without a patch.
        block: the first that is run.
        start: the first position that is run.
        mean: whether the donors' mean takes the place of each donor's activation.
    """

    weights: Weights
    plan: PatchPlan
    place_numbers: list[int]
    from_donors: Contents
    unpatched: Contents
    block: int
    start: int
    mean: bool

    def final(self) -> Float[Tensor, "row d_model"]:
        """The stream that the answer's first token is predicted from, patched."""
        many, block = len(self.place_numbers), self.block
        if block == len(self.weights.blocks):
            stream, positions = self.unpatched["final", block - 1].repeat(many, 1, 1), self._length[:, None] - 1
            self._visit("resid_post", block - 1, stream, positions)
            return stream[:, 0]
        stream = self.unpatched["resid_pre", block][:, self.start - BOS :].repeat(many, 1, 1)
        positions = torch.arange(self.start, self.plan.receiver.tokens.shape[1], device=stream.device)[None]
        self._visit("resid_post", block - 1, stream, positions)
        self._visit("resid_pre", block, stream, positions)
        return self._run(stream, block, self._length - 1, self._projected(stream))

    def _projected(self, stream: Float[Tensor, "row pos d_model"]) -> Projected:
        """The first block's queries, keys and values: unpatched ones, computed anew where the stream is patched."""
        block, n = self.block, len(self.plan.receiver.tokens)
        last = block == len(self.weights.blocks) - 1
        many = len(self.place_numbers)
        q, k, v = (self.unpatched[name, block].repeat(many, 1, 1, 1) for name in ("q", "k", "v"))  # to write into
        if not last:
            q = q[:, self.start - BOS :]
        elif q.shape[1] > 1:
            q = at_columns(q, self._length - 1 - BOS)
        stream_parts = {("resid_post", block - 1), ("resid_pre", block)}
        moves = [
            (index * n, self.plan.moves[number])
            for index, number in enumerate(self.place_numbers)
            if self.plan.where(number) in stream_parts
        ]
        if not moves:
            return q, k, v
        rows = torch.cat([first_row + move.pair for first_row, move in moves])
        positions = torch.cat([move.receiver_position for _, move in moves])
        own_q, own_k, own_v = project_heads(self.weights, block, at_rows(stream, rows, positions - self.start))
        k[rows, positions], v[rows, positions] = own_k, own_v
        if last:
            at_last = positions == self._length[rows] - 1
            q[rows[at_last], 0] = own_q[at_last]
        else:
            q[rows, positions - self.start] = own_q
        return q, k, v

    def answers(self, final: Float[Tensor, "row d_model"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decoded words, log probabilities and logit differences, by (place, pair)."""
        many, n = len(self.place_numbers), len(self.plan.receiver.tokens)
        first = unembed(self.weights, final)
        decoded = [first.argmax(-1)]
        for _ in range(1, self.plan.trie.longest):
            decoded.append(self._again(torch.stack(decoded, dim=1), len(decoded)).argmax(-1))
        word = self.plan.trie.read(torch.stack(decoded, dim=1).cpu().numpy()).reshape(many, n)
        log_prob, diff = self._scored(first)
        return word, log_prob.reshape(many, n, 2), diff.reshape(many, n)

    def _times(self, tensor: Tensor) -> Tensor:
        """What pairs have, for each place."""
        many = len(self.place_numbers)
        return tensor if many == 1 else tensor.repeat(many, *(1 for _ in tensor.shape[1:]))

    @cached_property
    def _length(self) -> Int[Tensor, " row"]:
        return self._times(self.plan.receiver.length)

    @cached_property
    def _past(self) -> Past:
        blocks = range(len(self.weights.blocks))
        return Past(
            k=[self.unpatched["k", block][:, : self.start] for block in blocks],
            v=[self.unpatched["v", block][:, : self.start] for block in blocks],
        )

    def _run(
        self,
        stream: Float[Tensor, "row pos d_model"],
        block: int,
        asked: Int[Tensor, " row"],
        projected: Projected | None = None,
    ) -> Float[Tensor, "row d_model"]:
        past = self._past
        return blocks_from(self.weights, stream, block, self._visit, past=past, asked=asked, projected=projected)[:, 0]

    def _scored(self, first: Float[Tensor, "row d_vocab"]) -> tuple[np.ndarray, np.ndarray]:
        """Summed log p of both candidates, and the logit difference at their first different token."""
        tokens, differ = self._times(self.plan.candidates.tokens), self._times(self.plan.candidates.differ)
        log_prob = torch.zeros(len(first), 2, dtype=torch.double, device=first.device)
        diff = torch.full((len(first),), torch.nan, dtype=torch.double, device=first.device)
        for place in range(tokens.shape[2]):
            target = tokens[:, :, place]
            # Each candidate's next token is predicted after its own earlier tokens; both start from the same logits.
            after_donors = self._again(tokens[:, 0], place) if place else first
            after_receivers = self._again(tokens[:, 1], place) if place else first
            of_donor = after_donors.log_softmax(-1).gather(1, target.clamp(min=0))
            of_receiver = after_receivers.log_softmax(-1).gather(1, target.clamp(min=0)) if place else of_donor
            # Up to the first token that differs, the two candidates are one string.
            diff = torch.where(differ == place, (of_donor[:, 0] - of_donor[:, 1]).double(), diff)
            log_prob += torch.where(target >= 0, torch.stack([of_donor[:, 0], of_receiver[:, 1]], dim=1), 0).double()
        return log_prob.cpu().numpy(), diff.cpu().numpy()

    def _again(self, answer: Int[Tensor, "row place"], done: int) -> Float[Tensor, "row d_vocab"]:
        """Logits after the first `done` tokens of answers, the patch in place: from block 0, as these are new."""
        tokens = self._times(self.plan.receiver.tokens)
        grown = torch.cat([tokens, tokens.new_zeros(len(tokens), done)], dim=1)
        row = torch.arange(len(tokens), device=tokens.device)
        for place in range(done):
            grown[row, self._length + place] = answer[:, place].clamp(min=0)
        stream = embed(self.weights, grown[:, self.start :], self.start)
        return unembed(self.weights, self._run(stream, 0, self._length - 1 + done))

    def _visit(self, component: str, block: int, content: Tensor, positions: Int[Tensor, "some pos"]) -> Tensor:
        for index, number in enumerate(self.place_numbers):
            if self.plan.where(number) == (component, block):
                self._put(content, positions, index)  # in place: each batch has its own contents
        return content

    def _put(self, content: Tensor, positions: Int[Tensor, "some pos"], index: int) -> None:
        """Writes the donors' content into the rows of one place, at its role, where the content has that position."""
        place, move = self.plan.places[self.place_numbers[index]], self.plan.moves[self.place_numbers[index]]
        rows = move.pair + index * len(self.plan.receiver.tokens)
        activation = self._activation(place, move)
        column = move.receiver_position - (positions[0, 0] if len(positions) == 1 else positions[rows, 0])
        inside = (column >= 0) & (column < content.shape[2 if place.component == "pattern" else 1])
        if not inside.all():  # the last block runs at one position: what it makes elsewhere is never read
            rows, activation, column = rows[inside], activation[inside], column[inside]
        heads = slice(None) if place.head is None else slice(place.head, place.head + 1)
        if place.component == "pattern":
            width = min(activation.shape[2], content.shape[3])
            content[rows, heads, column, :width] = activation[:, heads, :width]
        elif place.component in BY_HEAD:
            content[rows, column, heads] = activation[:, heads]
        else:
            content[rows, column] = activation

    def _activation(self, place: Place, move: Move) -> Float[Tensor, "some *d"]:
        """What the donors hold at a place, or their mean."""
        source = self.from_donors[place.component, place.block]
        last_block = place.block == len(self.weights.blocks) - 1
        if self.plan.donors_at_last and last_block and place.component not in READ_LATER:
            column = torch.zeros_like(move.donor_position)  # kept at the last position alone
        else:
            column = move.donor_position - (0 if place.component in KEYS else BOS)
        is_pattern = place.component == "pattern"
        activation = source[move.pair, :, column] if is_pattern else at_rows(source, move.pair, column)
        return activation.mean(0, keepdim=True).expand_as(activation) if self.mean else activation
