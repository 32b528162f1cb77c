"""One restart of the receivers: places that are patched into one batch, from one block and one position on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.instruments.patching.plan import Place, Plan
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
    project,
    unembed,
)
from mechxl.model.weights import Weights


@dataclass(frozen=True)
class Restart:
    """Places that restart together, run together: rows are places by pairs.

    Attributes:
        some: of the places of `of`.
        held: donors' contents.
        plain: receivers' contents without a patch.
        block: the first that is run.
        start: the first position that is run.
    """

    weights: Weights
    of: Plan
    some: list[int]
    held: Contents
    plain: Contents
    block: int
    start: int
    mean: bool

    def final(self) -> Float[Tensor, "row d_model"]:
        """The stream that the answer's first token is predicted from, patched."""
        many, block = len(self.some), self.block
        if block == len(self.weights.blocks):
            stream, positions = self.plain["final", block - 1].repeat(many, 1, 1), self._length[:, None] - 1
            self._visit("resid_post", block - 1, stream, positions)
            return stream[:, 0]
        stream = self.plain["resid_pre", block][:, self.start - BOS :].repeat(many, 1, 1)
        positions = torch.arange(self.start, self.of.receiver.tokens.shape[1], device=stream.device)[None]
        self._visit("resid_post", block - 1, stream, positions)
        self._visit("resid_pre", block, stream, positions)
        return self._run(stream, block, self._length - 1, self._projected(stream))

    def _projected(self, stream: Float[Tensor, "row pos d_model"]) -> Projected:
        """Queries, keys and values of the block restarted at: without a patch, but where the stream is patched."""
        block, n = self.block, len(self.of.receiver.tokens)
        last = block == len(self.weights.blocks) - 1
        q, k, v = (self.plain[name, block].repeat(len(self.some), 1, 1, 1) for name in ("q", *KEYS))  # to write into
        if not last:
            q = q[:, self.start - BOS :]
        elif q.shape[1] > 1:
            q = at_columns(q, self._length - 1 - BOS)
        stands = {("resid_post", block - 1), ("resid_pre", block)}
        which = [at for at, one in enumerate(self.some) if self.of.where(one) in stands]
        if not which:
            return q, k, v
        moves = [self.of.moves[self.some[at]] for at in which]
        rows = torch.cat([pair + at * n for at, (pair, _, _) in zip(which, moves, strict=True)])
        ends = torch.cat([end for _, _, end in moves])
        own = project(self.weights, block, at_rows(stream, rows, ends - self.start))
        k[rows, ends], v[rows, ends] = own[1], own[2]
        if last:
            asked = ends == self._length[rows] - 1
            q[rows[asked], 0] = own[0][asked]
        else:
            q[rows, ends - self.start] = own[0]
        return q, k, v

    def answers(self, final: Float[Tensor, "row d_model"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decoded words, log probabilities and logit differences, by (place, pair)."""
        many, n = len(self.some), len(self.of.receiver.tokens)
        first = unembed(self.weights, final)
        decoded = [first.argmax(-1)]
        for _ in range(1, self.of.trie.longest):
            decoded.append(self._again(torch.stack(decoded, dim=1), len(decoded)).argmax(-1))
        word = self.of.trie.read(torch.stack(decoded, dim=1).cpu().numpy()).reshape(many, n)
        log_prob, diff = self._scored(first)
        return word, log_prob.reshape(many, n, 2), diff.reshape(many, n)

    def _times(self, tensor: Tensor) -> Tensor:
        """What pairs have, for each place."""
        many = len(self.some)
        return tensor if many == 1 else tensor.repeat(many, *(1 for _ in tensor.shape[1:]))

    @cached_property
    def _length(self) -> Int[Tensor, " row"]:
        return self._times(self.of.receiver.length)

    @cached_property
    def _past(self) -> Past:
        blocks = range(len(self.weights.blocks))
        return Past(*([self.plain[name, block][:, : self.start] for block in blocks] for name in KEYS))

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
        given, differ = self._times(self.of.candidates.tokens), self._times(self.of.candidates.differ)
        log_prob = torch.zeros(len(first), 2, dtype=torch.double, device=first.device)
        diff = torch.full((len(first),), torch.nan, dtype=torch.double, device=first.device)
        for place in range(given.shape[2]):
            target = given[:, :, place]
            asked = [first] if not place else [self._again(given[:, which], place) for which in (0, 1)]
            of = [logits.log_softmax(-1).gather(1, target.clamp(min=0)) for logits in asked]
            diff = torch.where(differ == place, (of[0][:, 0] - of[0][:, 1]).double(), diff)  # up to there one string
            log_prob += torch.where(target >= 0, torch.stack([of[0][:, 0], of[-1][:, 1]], dim=1), 0).double()
        return log_prob.cpu().numpy(), diff.cpu().numpy()

    def _again(self, answer: Int[Tensor, "row place"], done: int) -> Float[Tensor, "row d_vocab"]:
        """Logits after the first `done` tokens of answers, the patch in place: from block 0, as these are new."""
        tokens = self._times(self.of.receiver.tokens)
        grown = torch.cat([tokens, tokens.new_zeros(len(tokens), done)], dim=1)
        row = torch.arange(len(tokens), device=tokens.device)
        for place in range(done):
            grown[row, self._length + place] = answer[:, place].clamp(min=0)
        stream = embed(self.weights, grown[:, self.start :], self.start)
        return unembed(self.weights, self._run(stream, 0, self._length - 1 + done))

    def _visit(self, component: str, block: int, content: Tensor, positions: Int[Tensor, "some pos"]) -> Tensor:
        for which, at in enumerate(self.some):
            if self.of.where(at) == (component, block):
                self._put(content, positions, which, self.of.places[at])  # in place: each batch has its own contents
        return content

    def _put(self, content: Tensor, positions: Int[Tensor, "some pos"], which: int, place: Place) -> None:
        """Writes the donors' content into the rows of one place, at its role, where the content has that position."""
        source, (pair, start, end) = self.held[place.component, place.block], self.of.moves[self.some[which]]
        rows = pair + which * len(self.of.receiver.tokens)
        if self.of.donors_at_last and place.block == len(self.weights.blocks) - 1 and place.component not in READ_LATER:
            start = torch.zeros_like(start)  # held at the last position alone
        elif place.component not in KEYS:
            start = start - BOS
        given = source[pair, :, start] if place.component == "pattern" else at_rows(source, pair, start)
        given = given.mean(0, keepdim=True).expand_as(given) if self.mean else given
        column = end - (positions[0, 0] if len(positions) == 1 else positions[rows, 0])
        kept = (column >= 0) & (column < content.shape[2 if place.component == "pattern" else 1])
        if not kept.all():  # the last block runs at one position: what it makes elsewhere is never read
            rows, given, column = rows[kept], given[kept], column[kept]
        heads = slice(None) if place.head is None else slice(place.head, place.head + 1)
        if place.component == "pattern":
            width = min(source.shape[3], content.shape[3])
            content[rows, heads, column, :width] = given[:, heads, :width]
        elif place.component in BY_HEAD:
            content[rows, column, heads] = given[:, heads]
        else:
            content[rows, column] = given
