"""What many sequences begin with: a causal model's activations there depend on the beginning alone.

Every sentence begins with BOS, and with syllables as tokens many begin with the same one; the lean forward computes
each beginning once, however many sequences share it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

SHARED_BY = 4  # beginnings are shared while there is at most one for as many sequences


@dataclass(frozen=True)
class Prefixes:
    """The first tokens of sequences, each kind of beginning once.

    Attributes:
        tokens: the beginnings; none of them has any tokens where nothing is shared.
        of: the beginning of each sequence.
    """

    tokens: Int[Tensor, "prefix shared"]
    of: Int[Tensor, " sequence"]

    def __getitem__(self, rows: Int[Tensor, " chosen"] | slice) -> "Prefixes":
        """The same beginnings, for some of the sequences."""
        return Prefixes(self.tokens, self.of[rows])


def no_prefixes(tokens: Int[Tensor, "sequence pos"]) -> Prefixes:
    """Nothing shared."""
    return Prefixes(tokens[:1, :0], tokens.new_zeros(len(tokens)))


def shared_prefixes(tokens: Int[Tensor, "sequence pos"], longest: int, at_once: int) -> Prefixes:
    """The longest beginnings that are few beside the sequences computed at once.

    Args:
        tokens: of all sequences that will be asked for.
        longest: of a beginning, in tokens: the first position at which any sequence is asked.
        at_once: sequences in a batch.
    """
    every = tokens.cpu().numpy()
    kept = np.zeros(len(every), dtype=int)
    length = 0
    for place in range(longest):
        _, finer = np.unique(kept * (int(every.max()) + 1) + every[:, place], return_inverse=True)
        if (int(finer.max()) + 1) * SHARED_BY > at_once:
            break
        kept, length = finer, place + 1
    _, first = np.unique(kept, return_index=True)
    return Prefixes(tokens[torch.as_tensor(first), :length], torch.as_tensor(kept, device=tokens.device))
