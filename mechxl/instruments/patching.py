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
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.data.roles import role_positions
from mechxl.data.tokenization import EOS_ID, PAD_ID
from mechxl.instruments.pairs import Pairs, value_words
from mechxl.instruments.patched import BY_HEAD, Past, Visit, blocks_from, embed, unembed
from mechxl.model.evaluation import AnswerTrie, answer_trie
from mechxl.model.weights import Weights

ROWS_AT_ONCE = 2048  # what a processor's cache holds the activations of
BOS = 1  # positions that all prompts share


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
    n_blocks, needed = len(weights.blocks), {(place.component, place.block) for place in places}
    held = _contents(donor_weights or weights, donor.tokens, needed)
    streams = {("resid_pre", block) for block in range(n_blocks)} | {("resid_post", n_blocks - 1)}
    past = {(name, block) for name in "kv" for block in range(n_blocks)}
    plain = _contents(weights, receiver.tokens, streams | past, asked=receiver.length - 1)
    there = np.array([donor.has(receiver, place) for place in places]).reshape(len(places), len(pairs))
    keys = [
        (p.component, p.block, p.head, *(side.at[:, p.role].tobytes() for side in (donor, receiver))) for p in places
    ]
    once = {key: at for at, key in reversed(list(enumerate(keys)))}  # of places at one position, the first is run
    restarts: dict[tuple[int, int], list[int]] = {}
    for at in (at for at in once.values() if there[at].any()):
        place = places[at]
        block = place.block + (place.component == "resid_post")
        # The last block runs at one position, wherever it starts: there places of all roles go together.
        start = int(receiver.at[there[at], place.role].min()) if block < n_blocks - 1 else BOS
        restarts.setdefault((block, start), []).append(at)
    word = np.full((len(places), len(pairs)), -1)
    log_prob, logit_diff = np.full((*word.shape, 2), np.nan), np.full(word.shape, np.nan)
    candidates, trie = _Candidates.of(corpus, pairs, device), answer_trie(corpus)
    each = max(1, ROWS_AT_ONCE // max(len(pairs), 1))
    for restart, here in restarts.items():
        for some in (here[at : at + each] for at in range(0, len(here), each)):
            batch = _Batch(
                weights, [places[at] for at in some], there[some], donor, receiver, held, plain, *restart, mean
            )
            word[some], log_prob[some], logit_diff[some] = batch.answers(candidates, trie)
    run = [once[key] for key in keys]
    word, log_prob, logit_diff = word[run], log_prob[run], logit_diff[run]
    word[~there], log_prob[~there], logit_diff[~there] = -1, np.nan, np.nan
    return Patched(word, log_prob, logit_diff, there)


Contents = dict[tuple[str, int], Tensor]  # of a run without any patch, by (component, block), from position BOS on


def _contents(
    weights: Weights,
    tokens: Int[Tensor, "pair pos"],
    wanted: set[tuple[str, int]],
    asked: Int[Tensor, " pair"] | None = None,
) -> Contents:
    """Components at every position after BOS; queries and streams of the last block at `asked` alone, if that is given.

    All prompts begin with BOS, so that it is run once.
    """
    begun: Contents = {}
    blocks_from(weights, embed(weights, tokens[:1, :BOS]), 0, _keeper(begun, {"k", "v"}))
    one = [[begun[name, block] for block in range(len(weights.blocks))] for name in "kv"]
    past = Past(*([content.expand(len(tokens), -1, -1, -1) for content in contents] for contents in one))
    held: Contents = {}
    components = {component for component, _ in wanted}
    blocks_from(weights, embed(weights, tokens[:, BOS:], BOS), 0, _keeper(held, components), past=past, asked=asked)
    return held | {(f"{name}_bos", block): content for (name, block), content in begun.items()}


def _keeper(held: Contents, components: set[str]) -> Visit:
    def keep(component: str, block: int, content: Tensor, positions: Tensor) -> Tensor:
        if component in components:
            held[component, block] = content
        return content

    return keep


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


@dataclass(frozen=True)
class _Candidates:
    """The answers of the donor's and the receiver's value in the receiver's language.

    Attributes:
        tokens: padded with -1.
        differ: the first place where the two have different tokens; -1: nowhere.
    """

    tokens: Int[Tensor, "pair 2 place"]
    differ: Int[Tensor, " pair"]

    @classmethod
    def of(cls, corpus: Corpus, pairs: Pairs, device: Any) -> "_Candidates":
        value = corpus.world.value
        sides = (value[pairs.donor_fact, pairs.donor_language], value[pairs.fact, pairs.language])
        tokens = corpus.word_tokens[np.stack([value_words(corpus, pairs, of, pairs.language) for of in sides], axis=1)]
        if corpus.answers_end_with_eos:
            tokens = np.concatenate([tokens, np.full((*tokens.shape[:2], 1), -1)], axis=2)
            np.put_along_axis(tokens, (tokens >= 0).sum(axis=2, keepdims=True), EOS_ID, axis=2)
        given = torch.as_tensor(tokens[:, :, (tokens >= 0).any(axis=(0, 1))], device=device)
        differ = (given[:, 0] != given[:, 1]) & (given >= 0).all(1)
        return cls(given, torch.where(differ.any(1), differ.int().argmax(1), -1))


@dataclass(frozen=True)
class _Batch:
    """Places that restart together, run together: rows are places by pairs.

    Attributes:
        block: of the first that is run.
        start: the first position that is run.
    """

    weights: Weights
    places: list[Place]
    there: Bool[np.ndarray, "place pair"]
    donor: _Side
    receiver: _Side
    held: Contents
    plain: Contents
    block: int
    start: int
    mean: bool

    def answers(self, candidates: _Candidates, trie: AnswerTrie) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decoded words, log probabilities and logit differences, by (place, pair)."""
        many, n, block, n_blocks = len(self.places), len(self.receiver.tokens), self.block, len(self.weights.blocks)
        last, device = self._length - 1, self.weights.W_E.device
        if block == n_blocks:
            stream, positions = self.plain["resid_post", block - 1].repeat(many, 1, 1), last[:, None]
        else:
            stream = self.plain["resid_pre", block][:, self.start - BOS :].repeat(many, 1, 1)
            positions = torch.arange(self.start, self.receiver.tokens.shape[1], device=device)[None]
        if block:
            self._visit("resid_post", block - 1, stream, positions)
        first = unembed(self.weights, stream[:, 0]) if block == n_blocks else self._logits(stream, block, last)
        decoded = [first.argmax(-1)]
        for _ in range(1, trie.longest):
            decoded.append(self._again(torch.stack(decoded, dim=1), len(decoded)).argmax(-1))
        word = trie.read(torch.stack(decoded, dim=1).cpu().numpy()).reshape(many, n)
        log_prob, diff = self._scored(first, candidates)
        return word, log_prob.reshape(many, n, 2), diff.reshape(many, n)

    def _times(self, tensor: Tensor) -> Tensor:
        """What pairs have, for each place."""
        many = len(self.places)
        return tensor if many == 1 else tensor.repeat(many, *(1 for _ in tensor.shape[1:]))

    @cached_property
    def _length(self) -> Int[Tensor, " row"]:
        return self._times(self.receiver.length)

    @cached_property
    def _past(self) -> Past:
        n, before = len(self.receiver.tokens), self.start - BOS
        k, v = (
            [
                self._times(
                    torch.cat(
                        [self.plain[f"{name}_bos", block].expand(n, -1, -1, -1), self.plain[name, block][:, :before]],
                        dim=1,
                    )
                )
                for block in range(len(self.weights.blocks))
            ]
            for name in "kv"
        )
        return Past(k, v)

    def _logits(
        self, stream: Float[Tensor, "row pos d_model"], block: int, asked: Int[Tensor, " row"]
    ) -> Float[Tensor, "row d_vocab"]:
        resid = blocks_from(self.weights, stream, block, self._visit, past=self._past, asked=asked)
        return unembed(self.weights, resid[:, 0])

    def _scored(self, first: Float[Tensor, "row d_vocab"], candidates: _Candidates) -> tuple[np.ndarray, np.ndarray]:
        """Summed log p of both candidates, and the logit difference at their first different token."""
        given, differ = self._times(candidates.tokens), self._times(candidates.differ)
        log_prob = torch.zeros(len(first), 2, dtype=torch.double, device=first.device)
        diff = torch.full((len(first),), torch.nan, dtype=torch.double, device=first.device)
        for place in range(given.shape[2]):
            target = given[:, :, place]
            of = (first, first) if not place else tuple(self._again(given[:, which], place) for which in (0, 1))
            both = of[0].gather(1, target.clamp(min=0))
            diff = torch.where(differ == place, (both[:, 0] - both[:, 1]).double(), diff)  # up to there one string
            beside = both if not place else of[1].gather(1, target.clamp(min=0))
            total = [of[0].logsumexp(-1)]
            total.append(of[1].logsumexp(-1) if place else total[0])
            picked = torch.stack([both[:, 0] - total[0], beside[:, 1] - total[1]], dim=1)
            log_prob += torch.where(target >= 0, picked, 0).double()
        return log_prob.cpu().numpy(), diff.cpu().numpy()

    def _again(self, answer: Int[Tensor, "row place"], done: int) -> Float[Tensor, "row d_vocab"]:
        """Logits after the first `done` tokens of answers, the patch in place: from block 0, as these are new."""
        tokens = self._times(self.receiver.tokens)
        grown = torch.cat([tokens, tokens.new_zeros(len(tokens), done)], dim=1)
        row = torch.arange(len(tokens), device=tokens.device)
        for place in range(done):
            grown[row, self._length + place] = answer[:, place].clamp(min=0)
        stream = embed(self.weights, grown[:, self.start :], self.start)
        return self._logits(stream, 0, self._length - 1 + done)

    def _visit(self, component: str, block: int, content: Tensor, positions: Int[Tensor, "some pos"]) -> Tensor:
        for which, place in enumerate(self.places):
            if place.component == component and place.block == block:
                self._put(content, positions, which, place)  # in place: each batch has contents of its own
        return content

    def _put(self, content: Tensor, positions: Int[Tensor, "some pos"], which: int, place: Place) -> None:
        """Writes the donors' content into the rows of one place, at its role, where the content has that position."""
        source, device = self.held[place.component, place.block], content.device
        pair = torch.as_tensor(np.flatnonzero(self.there[which]), device=device)
        start, end = (
            torch.as_tensor(side.at[:, place.role], device=device)[pair] for side in (self.donor, self.receiver)
        )
        rows = which * len(self.receiver.tokens) + pair
        start = start - BOS
        given = source[pair, :, start] if place.component == "pattern" else source[pair, start]
        given = given.mean(0, keepdim=True).expand_as(given) if self.mean else given
        if len(positions) == 1:
            column = end - positions[0, 0]
        else:  # one position a row: most roles are at another, whose content nothing reads
            kept = positions[rows, 0] == end
            rows, given, column = rows[kept], given[kept], torch.zeros_like(end[kept])
        heads = slice(None) if place.head is None else slice(place.head, place.head + 1)
        if place.component == "pattern":
            width = min(source.shape[3], content.shape[3])
            content[rows, heads, column, :width] = given[:, heads, :width]
        elif place.component in BY_HEAD:
            content[rows, column, heads] = given[:, heads]
        else:
            content[rows, column] = given
