"""One restart of the receivers: several places are patched in one batch, which runs from one block and position on."""

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
    """Places that restart at the same block and position and run together. A row is a pair at a place.

    Attributes:
        weights: of the model.
        plan: the plan of all places.
        place_numbers: the places of the plan that run in this batch.
        from_donors: the donors' activations.
        unpatched: the receivers' activations without a patch.
        block: the first block that is run.
        start: the first position that is run.
        mean: whether the donors' mean replaces each donor's activation.
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
        """The patched stream that predicts the answer's first token."""
        n_places, block = len(self.place_numbers), self.block
        if block == len(self.weights.blocks):
            stream, positions = self.unpatched["final", block - 1].repeat(n_places, 1, 1), self._length[:, None] - 1
            self._visit("resid_post", block - 1, stream, positions)
            return stream[:, 0]
        stream = self.unpatched["resid_pre", block][:, self.start - BOS :].repeat(n_places, 1, 1)
        positions = torch.arange(self.start, self.plan.receiver.tokens.shape[1], device=stream.device)[None]
        self._visit("resid_post", block - 1, stream, positions)
        self._visit("resid_pre", block, stream, positions)
        return self._run(stream, block, self._length - 1, self._projected(stream))

    def _projected(self, stream: Float[Tensor, "row pos d_model"]) -> Projected:
        """The first block's queries, keys and values: unpatched, and recomputed where the stream is patched."""
        block, n = self.block, len(self.plan.receiver.tokens)
        last = block == len(self.weights.blocks) - 1
        n_places = len(self.place_numbers)
        q, k, v = (self.unpatched[name, block].repeat(n_places, 1, 1, 1) for name in ("q", "k", "v"))  # copies
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
        patched_q, patched_k, patched_v = project_heads(
            self.weights, block, at_rows(stream, rows, positions - self.start)
        )
        k[rows, positions], v[rows, positions] = patched_k, patched_v
        if last:
            at_last = positions == self._length[rows] - 1
            q[rows[at_last], 0] = patched_q[at_last]
        else:
            q[rows, positions - self.start] = patched_q
        return q, k, v

    def answers(self, final: Float[Tensor, "row d_model"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decoded words, log probabilities and logit differences, by (place, pair)."""
        n_places, n = len(self.place_numbers), len(self.plan.receiver.tokens)
        first_logits = unembed(self.weights, final)
        decoded = [first_logits.argmax(-1)]
        for _ in range(1, self.plan.trie.longest):
            decoded.append(self._next_logits(torch.stack(decoded, dim=1), len(decoded)).argmax(-1))
        word = self.plan.trie.read(torch.stack(decoded, dim=1).cpu().numpy()).reshape(n_places, n)
        log_prob, diff = self._scored(first_logits)
        return word, log_prob.reshape(n_places, n, 2), diff.reshape(n_places, n)

    def _repeated(self, tensor: Tensor) -> Tensor:
        """A tensor over pairs, repeated for each place."""
        n_places = len(self.place_numbers)
        return tensor if n_places == 1 else tensor.repeat(n_places, *(1 for _ in tensor.shape[1:]))

    @cached_property
    def _length(self) -> Int[Tensor, " row"]:
        return self._repeated(self.plan.receiver.length)

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

    def _scored(self, first_logits: Float[Tensor, "row d_vocab"]) -> tuple[np.ndarray, np.ndarray]:
        """Summed log p of both candidates, and the logit difference at the first token where they differ."""
        tokens, differ = self._repeated(self.plan.candidates.tokens), self._repeated(self.plan.candidates.differ)
        n_rows, device = len(first_logits), first_logits.device
        log_prob = torch.zeros(n_rows, 2, dtype=torch.double, device=device)
        diff = torch.full((n_rows,), torch.nan, dtype=torch.double, device=device)
        for place in range(tokens.shape[2]):
            target = tokens[:, :, place]
            # Each candidate's next token is predicted after its own earlier tokens; both start from the same logits.
            after_donors = self._next_logits(tokens[:, 0], place) if place else first_logits
            after_receivers = self._next_logits(tokens[:, 1], place) if place else first_logits
            of_donor = after_donors.log_softmax(-1).gather(1, target.clamp(min=0))
            of_receiver = after_receivers.log_softmax(-1).gather(1, target.clamp(min=0)) if place else of_donor
            # Both candidates have the same tokens up to the first one that differs.
            diff = torch.where(differ == place, (of_donor[:, 0] - of_donor[:, 1]).double(), diff)
            log_prob += torch.where(target >= 0, torch.stack([of_donor[:, 0], of_receiver[:, 1]], dim=1), 0).double()
        return log_prob.cpu().numpy(), diff.cpu().numpy()

    def _next_logits(self, answer: Int[Tensor, "row place"], done: int) -> Float[Tensor, "row d_vocab"]:
        """Logits after the first `done` tokens of answers, with the patch; it runs from block 0: the tokens are new."""
        tokens = self._repeated(self.plan.receiver.tokens)
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
        """Writes the donors' activation into the rows of one place, at its role, if `content` has that position."""
        place, move = self.plan.places[self.place_numbers[index]], self.plan.moves[self.place_numbers[index]]
        rows = move.pair + index * len(self.plan.receiver.tokens)
        activation = self._activation(place, move)
        column = move.receiver_position - (positions[0, 0] if len(positions) == 1 else positions[rows, 0])
        inside = (column >= 0) & (column < content.shape[2 if place.component == "pattern" else 1])
        if not inside.all():  # the last block runs at one position; its output elsewhere is never read
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
        """The donors' activation at a place, or its mean."""
        source = self.from_donors[place.component, place.block]
        last_block = place.block == len(self.weights.blocks) - 1
        if self.plan.donors_at_last and last_block and place.component not in READ_LATER:
            column = torch.zeros_like(move.donor_position)  # only the last position is kept
        else:
            column = move.donor_position - (0 if place.component in KEYS else BOS)
        is_pattern = place.component == "pattern"
        activation = source[move.pair, :, column] if is_pattern else at_rows(source, move.pair, column)
        return activation.mean(0, keepdim=True).expand_as(activation) if self.mean else activation
