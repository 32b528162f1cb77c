"""`patch(run, ...)`: puts a donor's activation into a receiver's run; whose answer comes out, in which language?

Activation patching (interchange intervention: Geiger et al. 2021; Vig et al. 2020): the donor is a fact told in one
language, the receiver another fact in the same or another language. The donor's component at (layer, role) takes the
receiver's place there, prompt positions only, and stays through greedy decoding of the whole answer. Donors run once;
receivers restart at the patched layer, and all roles (and heads) of a layer run in one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.data.roles import PROMPT_ROLES, role_names, role_positions
from mechxl.data.tokenization import EOS_ID, PAD_ID
from mechxl.instruments.pairs import OUTCOMES, Pairs, draw_pairs, outcomes
from mechxl.instruments.patched import BY_HEAD, COMPONENTS, blocks_from, embed, unembed
from mechxl.model.evaluation import AnswerTrie, answer_trie
from mechxl.model.weights import Weights, weights_of
from mechxl.refusals import InputError
from mechxl.run import Run

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


def patch(
    run: Run,
    *,
    donor: str | int,
    receiver: str | int,
    at: str = "resid_post",
    roles: Sequence[str] | str = "all",
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    step: int = -1,
    n: int = 256,
    group: str = "mono",
    seed: int = 0,
) -> xr.Dataset:
    """Patches a component from donors into receivers at every layer and role, pair by pair.

    Args:
        run: a run with checkpoints.
        donor: language of the donors, by name or number.
        receiver: language of the receivers.
        at: a component: resid_pre, resid_mid, resid_post, attn_out, mlp_out, q, k, v, z or pattern.
        roles: of the prompt; "all" that the sentences have.
        layers: resid_post: 0 (embeddings) to the number of blocks; the others: from 1. None: all.
        heads: of q, k, v, z, pattern: one at a time; None: all heads at once.
        step: a saved step; negative: from the end.
        n: pairs at most.
        group: mono or parallel facts.
        seed: of the pairs.

    Returns:
        By (layer, role, head, pair): outcome (index into OUTCOMES), log_prob_donor and log_prob_receiver (nats, of the
        two values in the receiver's language), logit_diff, there. Beside them the pairs; attribute `kept`: the share of
        pairs drawn whose clean answers were both right.

    Raises:
        InputError: an unknown component, layer, head, role, language or step; or no pair with both answers right.
    """
    corpus, names = run.corpus, run.corpus.lexicon.language_names
    if at not in COMPONENTS:
        raise InputError(f"at = {at!r}: there is no such component; there are: {', '.join(COMPONENTS)}")
    a, b = (_language(names, language) for language in (donor, receiver))
    n_blocks, n_heads = run.config.model.n_layers, run.config.model.n_heads
    first = 0 if at == "resid_post" else 1
    layers = _among("layers", layers, range(first, n_blocks + 1))
    if heads is not None and at not in BY_HEAD:
        raise InputError(f"heads: {at} has none; {', '.join(BY_HEAD)} have")
    one_by_one = [None] if heads is None else _among("heads", heads, range(n_heads))
    chosen = choose_prompt_roles(corpus, roles)
    pairs, kept = draw_pairs(run, n, donor=a, receiver=b, step=step, group=group, seed=seed)
    places = [
        Place("resid_pre" if at == "resid_post" and not layer else at, max(layer - 1, 0), role, head)
        for layer in layers
        for role in range(len(chosen))
        for head in one_by_one
    ]
    found = run_patches(weights_of(run.model(step)), corpus, pairs, chosen, places)
    if not found.there.any():
        raise InputError(f"roles = {', '.join(chosen)}: no pair has any of them in both sentences")
    shape = (len(layers), len(chosen), len(one_by_one), len(pairs))
    dims = ("layer", "role", "head", "pair")
    data = {
        "outcome": outcomes(corpus, pairs, found.word),
        "log_prob_donor": found.log_prob[..., 0],
        "log_prob_receiver": found.log_prob[..., 1],
        "logit_diff": found.logit_diff,
        "there": found.there,
    }
    return xr.Dataset(
        {name: (dims, values.reshape(shape)) for name, values in data.items()},
        coords={
            "layer": list(layers),
            "role": chosen,
            "head": ["all" if head is None else str(head) for head in one_by_one],
            "donor_fact": ("pair", pairs.donor_fact),
            "fact": ("pair", pairs.fact),
        },
        attrs={"component": at, "donor": names[a], "receiver": names[b], "kept": kept, "outcomes": list(OUTCOMES)},
    )


def choose_prompt_roles(corpus: Corpus, roles: Sequence[str] | str) -> list[str]:
    """Roles of the prompt that sentences have; InputError for others."""
    there = [role for role in role_names(corpus) if role in PROMPT_ROLES]
    if roles == "all":
        return there
    asked = [roles] if isinstance(roles, str) else list(roles)
    for role in asked:
        if role not in there:
            raise InputError(f"roles = {role!r}: no such role in these prompts; there are: {', '.join(there)}")
    return asked


def _language(names: Sequence[str], language: str | int) -> int:
    if isinstance(language, str) and language in names:
        return list(names).index(language)
    if isinstance(language, int) and 0 <= language < len(names):
        return language
    raise InputError(f"language {language!r}: there is no such language; there are: {', '.join(names)}")


def _among(what: str, asked: Sequence[int] | None, there: range) -> list[int]:
    chosen = list(there) if asked is None else list(asked)
    for one in chosen:
        if one not in there:
            raise InputError(f"{what} = {one}: there is none; there are {there[0]} to {there[-1]}")
    return chosen


@torch.no_grad()
def run_patches(
    weights: Weights, corpus: Corpus, pairs: Pairs, roles: Sequence[str], places: Sequence[Place]
) -> Patched:
    """Runs every place on every pair.

    Args:
        weights: of the model.
        corpus: of the facts.
        pairs: donors and receivers.
        roles: that places refer to.
        places: where; those of one block run together.

    Raises:
        InputError: patterns of prompts of different lengths.
    """
    device = weights.W_E.device
    sides = [_Side.of(corpus, pairs.donor_fact, pairs.donor_language, roles, device)]
    sides.append(_Side.of(corpus, pairs.fact, pairs.language, roles, device))
    if any(place.component == "pattern" for place in places) and not torch.equal(sides[0].length, sides[1].length):
        raise InputError("at = pattern: donor and receiver have prompts of different lengths; q, k and v fit any")
    held: dict[tuple[str, int], Tensor] = {}
    wanted = {(place.component, place.block) for place in places}

    def keep(component: str, layer: int, content: Tensor) -> Tensor:
        if (component, layer) in wanted:
            held[component, layer] = content
        return content

    blocks_from(weights, embed(weights, sides[0].tokens), 0, keep)
    streams: dict[int, Tensor] = {}

    def keep_streams(component: str, layer: int, content: Tensor) -> Tensor:
        if component == "resid_pre":
            streams[layer] = content
        return content

    blocks_from(weights, embed(weights, sides[1].tokens), 0, keep_streams)
    candidates = _candidates(corpus, pairs)
    trie, n = answer_trie(corpus), len(pairs)
    word = np.full((len(places), n), -1)
    log_prob, logit_diff = np.full((len(places), n, 2), np.nan), np.full((len(places), n), np.nan)
    there = np.array([(sides[0].at[:, p.role] >= 0) & (sides[1].at[:, p.role] >= 0) for p in places])
    each = max(1, ROWS_AT_ONCE // n)
    for block in sorted({place.block for place in places}):
        here = [at for at, place in enumerate(places) if place.block == block]
        for start in range(0, len(here), each):
            some = here[start : start + each]
            batch = _Batch(weights, [places[at] for at in some], sides[0], sides[1], held, streams[block])
            word[some], log_prob[some], logit_diff[some] = batch.answers(candidates, trie)
    word[~there], log_prob[~there], logit_diff[~there] = -1, np.nan, np.nan
    return Patched(word, log_prob, logit_diff, there)


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


def _candidates(corpus: Corpus, pairs: Pairs) -> Int[np.ndarray, "pair 2 place"]:
    """The answers of the donor's and the receiver's value in the receiver's language as tokens, padded with -1."""
    world = corpus.world
    relation = world.relation[pairs.fact]
    value = np.stack([world.value[fact, pairs.language] for fact in (pairs.donor_fact, pairs.fact)], axis=1)
    tokens = corpus.word_tokens[corpus.lexicon.value_words[relation[:, None], value, pairs.language[:, None]]]
    if corpus.answers_end_with_eos:
        tokens = np.concatenate([tokens, np.full((*tokens.shape[:2], 1), -1)], axis=2)
        np.put_along_axis(tokens, (tokens >= 0).sum(axis=2, keepdims=True), EOS_ID, axis=2)
    return tokens[:, :, (tokens >= 0).any(axis=(0, 1))]


@dataclass(frozen=True)
class _Batch:
    """Places of one block, run together: rows are places by pairs."""

    weights: Weights
    places: list[Place]
    donor: _Side
    receiver: _Side
    held: dict[tuple[str, int], Tensor]
    stream: Float[Tensor, "pair pos d_model"]

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
                content = self._put(content, which, place)
        return content

    def _put(self, content: Tensor, which: int, place: Place) -> Tensor:
        """The content with the donors' in the rows of one place, at its role."""
        source = self.held[place.component, place.block]
        role, n = place.role, len(self.receiver.tokens)
        known = np.flatnonzero((self.donor.at[:, role] >= 0) & (self.receiver.at[:, role] >= 0))
        pair = torch.as_tensor(known, device=content.device)
        start = torch.as_tensor(self.donor.at[known, role], device=content.device)
        end = torch.as_tensor(self.receiver.at[known, role], device=content.device)
        rows, content = which * n + pair, content.clone()
        if place.component == "pattern":
            heads = slice(None) if place.head is None else slice(place.head, place.head + 1)
            width = source.shape[3]
            content[rows, heads, end, :width] = source[pair, heads, start]
        elif place.component in BY_HEAD and place.head is not None:
            content[rows, end, place.head] = source[pair, start, place.head]
        else:
            content[rows, end] = source[pair, start]
        return content
