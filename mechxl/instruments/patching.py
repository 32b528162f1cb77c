"""The patching engine: a donor's activation is put into a receiver's run; what is then answered, and how surely?

Activation patching (interchange intervention: Geiger et al. 2021; Vig et al. 2020): the donor is a fact told in one
language, the receiver another fact in the same or another language. The donor's component at (layer, role) takes the
receiver's place there, prompt positions only, and stays through greedy decoding of the whole answer. Donors run once;
receivers restart at the patched layer, all roles (and heads) of a layer run in one batch, and roles at one position
run once. A donor may come from another checkpoint, and the donors' mean may take each donor's place (mean ablation);
resample ablation is a donor of the receiver's own language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.data.roles import role_positions
from mechxl.data.tokenization import EOS_ID, PAD_ID
from mechxl.instruments.pairs import Pairs, value_words
from mechxl.instruments.patched import blocks_from, embed, unembed
from mechxl.model.evaluation import AnswerTrie, answer_trie
from mechxl.model.weights import Weights

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Place:
    """Where an activation is put.

    Attributes:
        component: of `mechxl.instruments.patched.COMPONENTS`.
        block: TransformerLens's number of the block.
        role: index into the roles asked for.
        head: of q, k, v, z or pattern; None: all heads, and for the other components.
    """

    component: str
    block: int
    role: int
    head: int | None = None


@dataclass(frozen=True)
class Patched:
    """What came out.

    Attributes:
        word: the value word decoded; -1: none.
        log_prob: of the donor's and the receiver's value in the receiver's language, summed over tokens, in nats.
        logit_diff: the first of these two less the second, at the first token where they differ; NaN if they do not.
        there: whether both sentences have the role.
    """

    word: Int[np.ndarray, "place pair"]
    log_prob: Float[np.ndarray, "place pair 2"]
    logit_diff: Float[np.ndarray, "place pair"]
    there: Bool[np.ndarray, "place pair"]


@torch.no_grad()
def run_patches(
    weights: Weights,
    corpus: Corpus,
    pairs: Pairs,
    roles: Sequence[str],
    places: Sequence[Place],
    *,
    donor_weights: Weights | None = None,
    mean: bool = False,
) -> Patched:
    """Runs every place on every pair.

    Args:
        weights: of the model.
        corpus: of the facts.
        pairs: donors and receivers.
        roles: that places refer to.
        places: where; those of one block run together.
        donor_weights: of the model that donors run in; None: the same.
        mean: put the donors' mean at a role in the place of each donor's activation: mean ablation.

    Returns:
        By (place, pair). A pattern fits prompts of its own length only: elsewhere `there` is False.
    """
    device = weights.W_E.device
    donor = _Side.of(corpus, pairs.donor_fact, pairs.donor_language, roles, device)
    receiver = _Side.of(corpus, pairs.fact, pairs.language, roles, device)
    wanted = {(place.component, place.block) for place in places}
    held = _contents(donor_weights or weights, donor.tokens, wanted)
    streams = _contents(weights, receiver.tokens, {("resid_pre", place.block) for place in places})
    there = np.array([donor.has(receiver, place) for place in places]).reshape(len(places), len(pairs))
    keys = [
        (p.component, p.block, p.head, *(side.at[:, p.role].tobytes() for side in (donor, receiver))) for p in places
    ]
    once = {key: at for at, key in reversed(list(enumerate(keys)))}  # of places at one position, the first is run
    word = np.full((len(places), len(pairs)), -1)
    log_prob, logit_diff = np.full((*word.shape, 2), np.nan), np.full(word.shape, np.nan)
    candidates, trie = _candidates(corpus, pairs), answer_trie(corpus)
    each = max(1, ROWS_AT_ONCE // max(len(pairs), 1))
    for block in sorted({place.block for place in places}):
        here = [at for at in once.values() if places[at].block == block]
        for start in range(0, len(here), each):
            some = here[start : start + each]
            batch = _Batch(
                weights,
                [places[at] for at in some],
                there[some],
                donor,
                receiver,
                held,
                streams["resid_pre", block],
                mean,
            )
            word[some], log_prob[some], logit_diff[some] = batch.answers(candidates, trie)
    run = [once[key] for key in keys]
    word, log_prob, logit_diff = word[run], log_prob[run], logit_diff[run]
    word[~there], log_prob[~there], logit_diff[~there] = -1, np.nan, np.nan
    return Patched(word, log_prob, logit_diff, there)


def _contents(
    weights: Weights, tokens: Int[Tensor, "pair pos"], wanted: set[tuple[str, int]]
) -> dict[tuple[str, int], Tensor]:
    """Components of a run without any patch, by (component, block)."""
    held: dict[tuple[str, int], Tensor] = {}

    def keep(component: str, layer: int, content: Tensor) -> Tensor:
        if (component, layer) in wanted:
            held[component, layer] = content
        return content

    blocks_from(weights, embed(weights, tokens), 0, keep)
    return held


@dataclass(frozen=True)
class _Side:
    """Donors or receivers: prompts and where their roles are."""

    tokens: Int[Tensor, "pair pos"]
    length: Int[Tensor, " pair"]
    at: Int[np.ndarray, "pair role"]

    @classmethod
    def of(cls, corpus: Corpus, fact: np.ndarray, language: np.ndarray, roles: Sequence[str], device: Any) -> "_Side":
        sentences = corpus.sequences(fact, language)
        tokens = torch.as_tensor(np.maximum(sentences.prompts(), PAD_ID), device=device)
        length = torch.as_tensor(sentences.prompt_length, device=device)
        return cls(tokens, length, role_positions(corpus, fact, language, list(roles)))

    def has(self, receiver: "_Side", place: Place) -> Bool[np.ndarray, " pair"]:
        """Whether donors (these) and receivers have a place; a pattern's prompts must be as long as each other."""
        both = (self.at[:, place.role] >= 0) & (receiver.at[:, place.role] >= 0)
        return both & (self.length == receiver.length).cpu().numpy() if place.component == "pattern" else both


def _candidates(corpus: Corpus, pairs: Pairs) -> Int[np.ndarray, "pair 2 place"]:
    """The answers of the donor's and the receiver's value in the receiver's language as tokens, padded with -1."""
    value = corpus.world.value
    sides = (value[pairs.donor_fact, pairs.donor_language], value[pairs.fact, pairs.language])
    tokens = corpus.word_tokens[np.stack([value_words(corpus, pairs, of, pairs.language) for of in sides], axis=1)]
    if corpus.answers_end_with_eos:
        tokens = np.concatenate([tokens, np.full((*tokens.shape[:2], 1), -1)], axis=2)
        np.put_along_axis(tokens, (tokens >= 0).sum(axis=2, keepdims=True), EOS_ID, axis=2)
    return tokens[:, :, (tokens >= 0).any(axis=(0, 1))]


@dataclass(frozen=True)
class _Batch:
    """Places of one block, run together: rows are places by pairs."""

    weights: Weights
    places: list[Place]
    there: Bool[np.ndarray, "place pair"]
    donor: _Side
    receiver: _Side
    held: dict[tuple[str, int], Tensor]
    stream: Float[Tensor, "pair pos d_model"]
    mean: bool

    def answers(
        self, candidates: Int[np.ndarray, "pair 2 place"], trie: AnswerTrie
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decoded words, log probabilities and logit differences, by (place, pair)."""
        many, n = len(self.places), len(self.receiver.tokens)
        length = self.receiver.length.repeat(many)
        block = self.places[0].block
        resid = blocks_from(self.weights, self.stream.repeat(many, 1, 1), block, self._visit)
        first = unembed(self.weights, resid, length - 1)
        decoded = [first.argmax(-1)]
        tokens = self.receiver.tokens.repeat(many, 1)
        for _ in range(1, trie.longest):
            logits = self._again(tokens, length, torch.stack(decoded, dim=1), len(decoded))
            decoded.append(logits.argmax(-1))
        word = trie.read(torch.stack(decoded, dim=1).cpu().numpy()).reshape(many, n)
        log_prob, diff = self._scored(first, tokens, length, candidates)
        return word, log_prob.reshape(many, n, 2), diff.reshape(many, n)

    def _scored(
        self, first: Float[Tensor, "row d_vocab"], tokens: Tensor, length: Tensor, candidates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Summed log p of both candidates, and the logit difference at their first different token."""
        many = len(self.places)
        given = torch.as_tensor(candidates, device=tokens.device).repeat(many, 1, 1)
        places = torch.arange(given.shape[2], device=tokens.device)
        differ = (given[:, 0] != given[:, 1]) & (given >= 0).all(1)
        at = torch.where(differ.any(1), differ.int().argmax(1), -1)
        log_prob = torch.zeros(len(first), 2, dtype=torch.double, device=tokens.device)
        diff = torch.full((len(first),), torch.nan, dtype=torch.double, device=tokens.device)
        for which in (0, 1):
            for place in places.tolist():
                logits = first if not place else self._again(tokens, length, given[:, which], place)
                target = given[:, which, place]
                picked = logits.log_softmax(-1).gather(1, target.clamp(min=0)[:, None])[:, 0]
                log_prob[:, which] += torch.where(target >= 0, picked, 0).double()
                if which == 0:  # up to the first different token both are one string
                    both = logits.gather(1, given[:, :, place].clamp(min=0))
                    diff = torch.where(at == place, (both[:, 0] - both[:, 1]).double(), diff)
        return log_prob.cpu().numpy(), diff.cpu().numpy()

    def _again(
        self, tokens: Int[Tensor, "row pos"], length: Int[Tensor, " row"], answer: Int[Tensor, "row place"], done: int
    ) -> Float[Tensor, "row d_vocab"]:
        """Logits after the first `done` tokens of answers, the patch in place: from the start, as these are new."""
        grown = torch.cat([tokens, tokens.new_zeros(len(tokens), done)], dim=1)
        row = torch.arange(len(tokens), device=tokens.device)
        for place in range(done):
            grown[row, length + place] = answer[:, place].clamp(min=0)
        resid = blocks_from(self.weights, embed(self.weights, grown), 0, self._visit)
        return unembed(self.weights, resid, length - 1 + done)

    def _visit(self, component: str, layer: int, content: Tensor) -> Tensor:
        for which, place in enumerate(self.places):
            if place.component == component and place.block == layer:
                self._put(content, which, place)  # in place: each batch has contents of its own
        return content

    def _put(self, content: Tensor, which: int, place: Place) -> None:
        """Writes the donors' content into the rows of one place, at its role."""
        source = self.held[place.component, place.block]
        known = np.flatnonzero(self.there[which])
        pair = torch.as_tensor(known, device=content.device)
        start = torch.as_tensor(self.donor.at[known, place.role], device=content.device)
        end = torch.as_tensor(self.receiver.at[known, place.role], device=content.device)
        rows = which * len(self.receiver.tokens) + pair
        if place.component == "pattern":
            heads = slice(None) if place.head is None else slice(place.head, place.head + 1)
            given = source[pair, heads, start]
            content[rows, heads, end, : source.shape[3]] = self._given(given)
        elif place.head is not None:
            content[rows, end, place.head] = self._given(source[pair, start, place.head])
        else:
            content[rows, end] = self._given(source[pair, start])

    def _given(self, content: Float[Tensor, "pair ..."]) -> Float[Tensor, "pair ..."]:
        return content.mean(0, keepdim=True).expand_as(content) if self.mean else content
