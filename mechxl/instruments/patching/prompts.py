"""Prompts, candidate answers and unpatched contents: what the patching engine prepares before it patches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.data.roles import role_positions
from mechxl.data.tokenization import EOS_ID, PAD_ID
from mechxl.instruments.patching.pairs import Pairs, value_words
from mechxl.model.blocks import READ_LATER, Past, Visit, at_columns, blocks_from, embed
from mechxl.model.weights import Weights

BOS = 1  # number of positions that all prompts share
KEYS = ("k", "v")
# Activations of an unpatched run, by (component, block): from position BOS on; keys and values from position 0 on.
Contents = dict[tuple[str, int], Tensor]


@dataclass(frozen=True)
class Side:
    """Prompts of the donors or of the receivers, and the positions of their roles.

    Attributes:
        tokens: right-padded.
        length: the number of tokens of each prompt.
        positions: of each role; -1 if a prompt does not have it.
    """

    tokens: Int[Tensor, "pair pos"]
    length: Int[Tensor, " pair"]
    positions: Int[np.ndarray, "pair role"]

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        fact: Int[np.ndarray, " pair"],
        language: Int[np.ndarray, " pair"],
        roles: Sequence[str],
        device: torch.device | str,
    ) -> "Side":
        """The prompts of facts told in languages, as tensors on the model's device."""
        sentences = corpus.sequences(fact, language)
        tokens = torch.as_tensor(np.maximum(sentences.prompts(), PAD_ID), device=device)
        length = torch.as_tensor(sentences.prompt_length, device=device)
        return cls(tokens, length, role_positions(corpus, fact, language, list(roles)))

    @property
    def last(self) -> Int[np.ndarray, " pair"]:
        """The position that predicts the answer."""
        return self.length.cpu().numpy() - 1

    def has(self, receiver: "Side", role: int, pattern: bool) -> Bool[np.ndarray, " pair"]:
        """Whether the donors (self) and the receivers have a role; for a pattern, also whether lengths are equal."""
        both = (self.positions[:, role] >= 0) & (receiver.positions[:, role] >= 0)
        return both & (self.last == receiver.last) if pattern else both


@dataclass(frozen=True)
class Candidates:
    """The answers of the donor's and the receiver's value in the receiver's language.

    Attributes:
        tokens: padded with -1.
        differ: the first place where their tokens differ; -1: nowhere.
    """

    tokens: Int[Tensor, "pair 2 place"]
    differ: Int[Tensor, " pair"]

    @classmethod
    def of(cls, corpus: Corpus, pairs: Pairs, device: torch.device | str) -> "Candidates":
        """The two answers of each pair, as token tensors on the model's device."""
        value = corpus.world.value
        donors = value_words(corpus, pairs, value[pairs.donor_fact, pairs.donor_language], pairs.language)
        receivers = value_words(corpus, pairs, value[pairs.fact, pairs.language], pairs.language)
        tokens = corpus.word_tokens[np.stack([donors, receivers], axis=1)]
        if corpus.answers_end_with_eos:
            tokens = np.concatenate([tokens, np.full((*tokens.shape[:2], 1), -1)], axis=2)
            np.put_along_axis(tokens, (tokens >= 0).sum(axis=2, keepdims=True), EOS_ID, axis=2)
        candidates = torch.as_tensor(tokens[:, :, (tokens >= 0).any(axis=(0, 1))], device=device)
        differ = (candidates[:, 0] != candidates[:, 1]) & (candidates >= 0).all(1)
        return cls(candidates, torch.where(differ.any(1), differ.int().argmax(1), -1))


@dataclass(frozen=True)
class PatchPrompts:
    """Prompts in the form that is run: many begin with the same two tokens, and each such beginning runs once.

    Attributes:
        beginning: the distinct pairs of BOS and first token.
        which: the index of each prompt's beginning.
        rest: the tokens after the beginning, right-padded.
        last: the position that predicts the answer.
    """

    beginning: Int[Tensor, "kind 2"]
    which: Int[Tensor, " row"]
    rest: Int[Tensor, "row pos"]
    last: Int[Tensor, " row"]

    @classmethod
    def of(cls, sides: Sequence[Side]) -> "PatchPrompts":
        """The prompts of several sides, one side after the other."""
        width = max(side.tokens.shape[1] for side in sides)
        tokens = torch.cat([F.pad(side.tokens, (0, width - side.tokens.shape[1])) for side in sides])
        beginning, which = torch.unique(tokens[:, : BOS + 1], dim=0, return_inverse=True)
        return cls(beginning, which, tokens[:, BOS + 1 :], torch.cat([side.length for side in sides]) - 1)


def contents(weights: Weights, prompts: PatchPrompts, components: set[str], at_last: bool) -> Contents:
    """Activations of an unpatched run, at every position after BOS; of keys and values also at BOS.

    Args:
        weights: of the model.
        prompts: the prompts to run.
        components: the components to keep.
        at_last: in the last block, compute the queries and all that follows only at the prompt's last position.

    Returns:
        Activations by (component, block); "final" is the stream that predicts the answer.
    """
    n_blocks, begun, rest_contents = len(weights.blocks), Contents(), Contents()
    blocks_from(weights, embed(weights, prompts.beginning), 0, _keeper(begun, components | {*KEYS}, n_blocks))
    past = Past(
        k=[begun["k", block].index_select(0, prompts.which) for block in range(n_blocks)],
        v=[begun["v", block].index_select(0, prompts.which) for block in range(n_blocks)],
    )
    rest, last_only = embed(weights, prompts.rest, BOS + 1), prompts.last if at_last else None
    keep = _keeper(rest_contents, components, n_blocks)
    final = blocks_from(weights, rest, 0, keep, past=past, asked=last_only)
    for (component, block), content in rest_contents.items():
        if component in KEYS or (at_last and block == n_blocks - 1 and component not in READ_LATER):
            continue
        first = begun[component, block]
        if component == "pattern":
            first = F.pad(first[:, :, BOS:], (0, content.shape[3] - first.shape[3]))
            rest_contents[component, block] = torch.cat([first.index_select(0, prompts.which), content], dim=2)
        else:
            rest_contents[component, block] = torch.cat([first[:, BOS:].index_select(0, prompts.which), content], dim=1)
    rest_contents["final", n_blocks - 1] = final if at_last else at_columns(final, prompts.last - BOS - 1)
    if "resid_post" in components:
        rest_contents |= {("resid_post", block): rest_contents["resid_pre", block + 1] for block in range(n_blocks - 1)}
    return rest_contents


def _keeper(contents: Contents, components: set[str], n_blocks: int) -> Visit:
    """A visit that keeps components. resid_post is kept for the last block only; else as the next block's resid_pre."""
    components = components | ({"resid_pre"} if "resid_post" in components else set())

    def keep(component: str, block: int, content: Tensor, positions: Tensor) -> Tensor:
        if component in components and (component != "resid_post" or block == n_blocks - 1):
            contents[component, block] = content
        return content

    return keep
