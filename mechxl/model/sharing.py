"""What many sequences have in common: it is computed once.

A causal model's activations inside a beginning depend on that beginning alone: every sentence begins with BOS, and with
syllables as tokens many begin with the same one. What comes before any attention depends on the token and its position
alone, and sentences have few of these pairs (kinds).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

SHARED_BY = 4  # something is shared while there is at most one of it for as many sequences


@dataclass(frozen=True)
class Shared:
    """What sequences have in common.

    Attributes:
        tokens: beginnings, each once; none of them has any tokens where none is shared.
        of: the beginning of each sequence.
        kinds: (token, position) of each kind; None where kinds are not shared.
        begun: the kinds of the beginnings.
        kind: the kinds of each sequence.
    """

    tokens: Int[Tensor, "beginning shared"]
    of: Int[Tensor, " sequence"]
    kinds: Int[Tensor, "two kind"] | None = None
    begun: Int[Tensor, "beginning shared"] | None = None
    kind: Int[Tensor, "sequence pos"] | None = None

    def __getitem__(self, rows: Int[Tensor, " chosen"] | slice) -> "Shared":
        """The same for some of the sequences."""
        return replace(self, of=self.of[rows], kind=None if self.kind is None else self.kind[rows])

    def beginnings(self) -> "Shared":
        """The beginnings alone, for sequences that go on in other ways."""
        return Shared(self.tokens, self.of)


@dataclass(frozen=True)
class Rows:
    """The rows that a forward computes: the positions of the beginnings, then those of the sequences that follow.

    Attributes:
        kinds: (token, position) of each kind.
        kind: of each row.
        begun_kind: the kinds of the beginnings.
        sequence_kind: the kinds of the sequences.
        begun: the rows of the beginnings.
        sequence: the rows of the sequences: those of the beginning, then their own.
    """

    kinds: Int[Tensor, "two kind"]
    kind: Int[Tensor, " row"]
    begun_kind: Int[Tensor, "beginning shared"]
    sequence_kind: Int[Tensor, "sequence pos"]
    begun: Int[Tensor, "beginning shared"]
    sequence: Int[Tensor, "sequence pos"]

    def own(self, flat: Float[Tensor, "row *d"]) -> Float[Tensor, "sequence own *d"]:
        """What the rows of the sequences hold, without their beginnings."""
        return flat[self.begun.numel() :].unflatten(0, (len(self.sequence), -1))


def nothing_shared(tokens: Int[Tensor, "sequence pos"]) -> Shared:
    """Each sequence by itself."""
    return Shared(tokens[:1, :0], tokens.new_zeros(len(tokens)))


def shared(tokens: Int[Tensor, "sequence pos"], longest: int, at_once: int) -> Shared:
    """The longest beginnings that are few beside the sequences computed at once, and kinds if they are few too.

    Args:
        tokens: of all sequences that will be asked for.
        longest: of a beginning, in tokens: the first position at which any sequence is asked.
        at_once: sequences in a batch.
    """
    every, device = tokens.cpu().numpy(), tokens.device
    vocabulary, width = int(every.max(initial=0)) + 1, every.shape[1]
    kept, length = np.zeros(len(every), dtype=int), 0
    for place in range(longest):
        found, finer = _numbered(kept * vocabulary + every[:, place])
        if len(found) * SHARED_BY > at_once:
            break
        kept, length = finer, place + 1
    first = np.zeros(int(kept.max(initial=0)) + 1, dtype=int)
    first[kept] = np.arange(len(kept))  # any sequence that begins so
    beginnings = Shared(tokens[torch.as_tensor(first, device=device), :length], torch.as_tensor(kept, device=device))
    pairs, kind = _numbered(every * width + np.arange(width))
    if len(pairs) * SHARED_BY > at_once:
        return beginnings
    kinds = np.stack([pairs // width, pairs % width])
    kinds, begun, kind = (torch.as_tensor(x, device=device) for x in (kinds, kind[first, :length], kind))
    return replace(beginnings, kinds=kinds, begun=begun, kind=kind)


def _numbered(codes: Int[np.ndarray, "*n"]) -> tuple[Int[np.ndarray, " found"], Int[np.ndarray, "*n"]]:
    """The codes that occur, in order, and each code's place among them. Codes are small: counted, not sorted."""
    found = np.flatnonzero(np.bincount(codes.ravel()))
    number = np.zeros(int(found.max(initial=0)) + 1, dtype=int)
    number[found] = np.arange(len(found))
    return found, number[codes]


def rows_of(tokens: Int[Tensor, "sequence pos"], common: Shared) -> Rows:
    """Which rows a forward of these sequences computes, and where each position finds its row and its kind."""
    (n, k), (batch, length) = common.tokens.shape, tokens.shape
    here = torch.arange(n * k + batch * (length - k), device=tokens.device)
    begun, own = here[: n * k].view(n, k), here[n * k :].view(batch, length - k)
    sequence = torch.cat([begun[common.of], own], dim=1)
    if common.kinds is None or common.begun is None or common.kind is None:
        places = torch.arange(length, device=tokens.device)
        token = torch.cat([common.tokens.flatten(), tokens[:, k:].flatten()])
        place = torch.cat([places[:k].repeat(n), places[k:].repeat(batch)])
        return Rows(torch.stack([token, place]), here, begun, sequence, begun, sequence)
    kind = torch.cat([common.begun.flatten(), common.kind[:, k:length].flatten()])
    return Rows(common.kinds, kind, common.begun, common.kind[:, :length], begun, sequence)
