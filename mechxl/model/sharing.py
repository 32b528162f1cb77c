"""Finds what many sequences share, so that the lean forward computes it once.

Sequences share beginnings: a causal model's activations inside a beginning depend only on that beginning. Every
sentence begins with BOS, and many with the same syllable. Sequences also share kinds, pairs (token, position): before
any attention, activations depend only on the kind, and sentences have few kinds.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

SHARED_BY = 4  # beginnings or kinds are shared only if there is at most one of them for so many sequences


@dataclass(frozen=True)
class Shared:
    """What sequences share.

    Attributes:
        tokens: the tokens of the distinct beginnings; of width 0 if no beginning is shared.
        beginning: the index of each sequence's beginning.
        kinds: (token, position) of each kind; None if kinds are not shared.
        begun: the kind of each position of the beginnings.
        kind: the kind of each position of the sequences.
    """

    tokens: Int[Tensor, "beginning shared"]
    beginning: Int[Tensor, " sequence"]
    kinds: Int[Tensor, "two kind"] | None = None
    begun: Int[Tensor, "beginning shared"] | None = None
    kind: Int[Tensor, "sequence pos"] | None = None

    def __getitem__(self, rows: Int[Tensor, " chosen"] | slice) -> "Shared":
        """The same for some of the sequences."""
        return replace(self, beginning=self.beginning[rows], kind=None if self.kind is None else self.kind[rows])

    def beginnings(self) -> "Shared":
        """Only the beginnings, for sequences that continue with other tokens."""
        return Shared(self.tokens, self.beginning)


@dataclass(frozen=True)
class Rows:
    """The rows that a forward computes: the positions of the beginnings, then the further positions of the sequences.

    Attributes:
        kinds: (token, position) of each kind.
        kind: the kind of each row.
        begun_kind: the kind of each position of the beginnings.
        sequence_kind: the kind of each position of the sequences.
        begun: the row of each position of the beginnings.
        sequence: the row of each position of the sequences: first those of the beginning, then their own.
    """

    kinds: Int[Tensor, "two kind"]
    kind: Int[Tensor, " row"]
    begun_kind: Int[Tensor, "beginning shared"]
    sequence_kind: Int[Tensor, "sequence pos"]
    begun: Int[Tensor, "beginning shared"]
    sequence: Int[Tensor, "sequence pos"]

    def own(self, flat: Float[Tensor, "row *d"]) -> Float[Tensor, "sequence own *d"]:
        """The sequences' own rows, without those of the beginnings."""
        return flat[self.begun.numel() :].unflatten(0, (len(self.sequence), -1))


def nothing_shared(tokens: Int[Tensor, "sequence pos"]) -> Shared:
    """No sharing: each sequence is computed by itself."""
    return Shared(tokens[:1, :0], tokens.new_zeros(len(tokens)))


def shared(tokens: Int[Tensor, "sequence pos"], longest: int, at_once: int) -> Shared:
    """The longest beginnings, and the kinds, that are few compared with the sequences of a batch.

    Args:
        tokens: all sequences that will be run.
        longest: the most tokens of a beginning: the first position that is wanted of any sequence.
        at_once: the number of sequences in a batch.
    """
    sequences, device = tokens.cpu().numpy(), tokens.device
    vocabulary, width = int(sequences.max(initial=0)) + 1, sequences.shape[1]
    beginning, length = np.zeros(len(sequences), dtype=int), 0
    for place in range(longest):
        codes, longer = _numbered(beginning * vocabulary + sequences[:, place])
        if len(codes) * SHARED_BY > at_once:
            break
        beginning, length = longer, place + 1
    example = np.zeros(int(beginning.max(initial=0)) + 1, dtype=int)
    example[beginning] = np.arange(len(beginning))  # for each beginning, one sequence that has it
    beginnings = Shared(
        tokens[torch.as_tensor(example, device=device), :length], torch.as_tensor(beginning, device=device)
    )
    codes, kind = _numbered(sequences * width + np.arange(width))
    if len(codes) * SHARED_BY > at_once:
        return beginnings
    kinds = np.stack([codes // width, codes % width])
    kinds, begun, kind = (torch.as_tensor(x, device=device) for x in (kinds, kind[example, :length], kind))
    return replace(beginnings, kinds=kinds, begun=begun, kind=kind)


def _numbered(codes: Int[np.ndarray, "*n"]) -> tuple[Int[np.ndarray, " distinct"], Int[np.ndarray, "*n"]]:
    """The distinct codes in order, and each code's index among them. Codes are small, so counting replaces sorting."""
    distinct = np.flatnonzero(np.bincount(codes.ravel()))
    number = np.zeros(int(distinct.max(initial=0)) + 1, dtype=int)
    number[distinct] = np.arange(len(distinct))
    return distinct, number[codes]


def rows_of(tokens: Int[Tensor, "sequence pos"], common: Shared) -> Rows:
    """The rows that a forward of these sequences computes, and the row and the kind of each position."""
    (n, k), (batch, length) = common.tokens.shape, tokens.shape
    row = torch.arange(n * k + batch * (length - k), device=tokens.device)
    begun, own = row[: n * k].view(n, k), row[n * k :].view(batch, length - k)
    sequence = torch.cat([begun[common.beginning], own], dim=1)
    if common.kinds is None or common.begun is None or common.kind is None:
        places = torch.arange(length, device=tokens.device)
        token = torch.cat([common.tokens.flatten(), tokens[:, k:].flatten()])
        place = torch.cat([places[:k].repeat(n), places[k:].repeat(batch)])
        return Rows(torch.stack([token, place]), row, begun, sequence, begun, sequence)
    kind = torch.cat([common.begun.flatten(), common.kind[:, k:length].flatten()])
    return Rows(common.kinds, kind, common.begun, common.kind[:, :length], begun, sequence)
