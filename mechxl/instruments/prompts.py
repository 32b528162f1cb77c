"""Prompts, candidates and unpatched contents: what the patching engine makes ready before it patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.data.roles import role_positions
from mechxl.data.tokenization import EOS_ID, PAD_ID
from mechxl.instruments.pairs import Pairs, value_words
from mechxl.instruments.patched import Past, Visit, blocks_from, embed
from mechxl.model.weights import Weights

BOS = 1  # positions that all prompts share
Contents = dict[tuple[str, int], Tensor]  # of a run without any patch, by (component, block), from position BOS on


@dataclass(frozen=True)
class Side:
    """Donors or receivers: prompts and where their roles are."""

    tokens: Int[Tensor, "pair pos"]
    length: Int[Tensor, " pair"]
    at: Int[np.ndarray, "pair role"]

    @classmethod
    def of(cls, corpus: Corpus, fact: np.ndarray, language: np.ndarray, roles: Sequence[str], device: Any) -> "Side":
        """Of facts told in languages."""
        sentences = corpus.sequences(fact, language)
        tokens = torch.as_tensor(np.maximum(sentences.prompts(), PAD_ID), device=device)
        length = torch.as_tensor(sentences.prompt_length, device=device)
        return cls(tokens, length, role_positions(corpus, fact, language, list(roles)))

    @property
    def last(self) -> Int[np.ndarray, " pair"]:
        """Where the answer is predicted."""
        return self.length.cpu().numpy() - 1

    def has(self, receiver: "Side", role: int, pattern: bool) -> Bool[np.ndarray, " pair"]:
        """Whether donors (these) and receivers have a role; a pattern's prompts must be as long as each other."""
        both = (self.at[:, role] >= 0) & (receiver.at[:, role] >= 0)
        return both & (self.last == receiver.last) if pattern else both


@dataclass(frozen=True)
class Candidates:
    """The answers of the donor's and the receiver's value in the receiver's language.

    Attributes:
        tokens: padded with -1.
        differ: the first place where the two have different tokens; -1: nowhere.
    """

    tokens: Int[Tensor, "pair 2 place"]
    differ: Int[Tensor, " pair"]

    @classmethod
    def of(cls, corpus: Corpus, pairs: Pairs, device: Any) -> "Candidates":
        """Of pairs, as tokens on a device."""
        value = corpus.world.value
        sides = (value[pairs.donor_fact, pairs.donor_language], value[pairs.fact, pairs.language])
        tokens = corpus.word_tokens[np.stack([value_words(corpus, pairs, of, pairs.language) for of in sides], axis=1)]
        if corpus.answers_end_with_eos:
            tokens = np.concatenate([tokens, np.full((*tokens.shape[:2], 1), -1)], axis=2)
            np.put_along_axis(tokens, (tokens >= 0).sum(axis=2, keepdims=True), EOS_ID, axis=2)
        given = torch.as_tensor(tokens[:, :, (tokens >= 0).any(axis=(0, 1))], device=device)
        differ = (given[:, 0] != given[:, 1]) & (given >= 0).all(1)
        return cls(given, torch.where(differ.any(1), differ.int().argmax(1), -1))


def contents(weights: Weights, sides: Sequence[Side], components: set[str], at_last: bool) -> list[Contents]:
    """Components at every position after BOS of one side or two, run together.

    All prompts begin with BOS, so that it is run once.

    Args:
        weights: of the model.
        sides: prompts.
        components: to keep.
        at_last: the last block's queries and what follows them at the prompt's last position alone.

    Returns:
        By (component, block); "final" is the stream that the answer is predicted from, k_bos and v_bos are BOS's.
    """
    width = max(side.tokens.shape[1] for side in sides)
    tokens = torch.cat([F.pad(side.tokens, (0, width - side.tokens.shape[1])) for side in sides])
    asked = torch.cat([side.length for side in sides]) - 1
    begun: Contents = {}
    blocks_from(weights, embed(weights, tokens[:1, :BOS]), 0, _keeper(begun, {"k", "v"}))
    one = [[begun[name, block] for block in range(len(weights.blocks))] for name in "kv"]
    past = Past(*([content.expand(len(tokens), -1, -1, -1) for content in contents] for contents in one))
    held: Contents = {}
    keep, stream = _keeper(held, components), embed(weights, tokens[:, BOS:], BOS)
    blocks_from(weights, stream, 0, keep, past=past, asked=asked if at_last else None)
    ends = np.cumsum([0, *(len(side.tokens) for side in sides)])
    found = [{key: content[a:b] for key, content in held.items()} for a, b in pairwise(ends)]
    for side, own in zip(sides, found, strict=True):
        last = ("resid_post", len(weights.blocks) - 1)
        if last in own:
            row, at = torch.arange(len(side.tokens), device=asked.device), 0 if at_last else side.length - 1 - BOS
            own["final", last[1]] = own[last][row, at][:, None]
        own |= {(f"{name}_bos", block): content for (name, block), content in begun.items()}
    return found


def _keeper(held: Contents, components: set[str]) -> Visit:
    def keep(component: str, block: int, content: Tensor, positions: Tensor) -> Tensor:
        if component in components:
            held[component, block] = content
        return content

    return keep
