"""The patching engine: a donor's activation is put into a receiver's run; what is then answered, and how surely?

Activation patching (interchange intervention: Geiger et al. 2021; Vig et al. 2020): the donor is a fact told in one
language, the receiver another fact in the same or another language. The donor's component at (layer, role) takes the
receiver's place there, prompt positions only, and stays through greedy decoding of the whole answer. Donors run once;
receivers restart at the patched layer, all roles (and heads) of a layer run in one batch, and roles at one position
run once. A donor may come from another checkpoint, and the donors' mean may take each donor's place (mean ablation);
resample ablation is a donor of the receiver's own language.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.instruments.pairs import Pairs
from mechxl.instruments.patched import (
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
from mechxl.instruments.prompts import BOS, KEYS, Candidates, Contents, Prompts, Side, contents
from mechxl.model.evaluation import AnswerTrie, answer_trie
from mechxl.model.weights import Weights

NOTHING = "nothing"
ROWS_AT_ONCE = 2048  # what a processor's cache holds the activations of


@dataclass(frozen=True)
class Place:
    """Where an activation is put.

    Attributes:
        component: of `mechxl.instruments.patched.COMPONENTS`; NOTHING: the receiver's own answer, unpatched.
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
    """Runs every place on every pair once; `Patching` for many checkpoints."""
    patching = Patching.of(corpus, pairs, roles, places, len(weights.blocks), weights.W_E.device)
    return patching.run(weights, donor_weights=donor_weights, mean=mean)


@dataclass(frozen=True)
class Patching:
    """Places and pairs made ready to be run on any number of checkpoints.

    Attributes:
        places: of `of`.
        there: whether both sentences have the role (and, for a pattern, are as long as each other).
        run_at: of each place, the place that is run for it: one for all that are at the same position.
        restarts: places that run together, by the block and the position that they restart at.
        moves: of each place: the pairs that have it, and its position in their donors and in their receivers.
        donors_at_last: whether of the last block no donor's content is needed but at the prompt's last position.
    """

    places: Sequence[Place]
    donor: Side
    receiver: Side
    candidates: Candidates
    trie: AnswerTrie
    there: Bool[np.ndarray, "place pair"]
    run_at: Sequence[int]
    restarts: dict[tuple[int, int], list[int]]
    moves: Sequence[tuple[Tensor, Tensor, Tensor]]
    donors_at_last: bool

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        pairs: Pairs,
        roles: Sequence[str],
        places: Sequence[Place],
        n_blocks: int,
        device: torch.device | str = "cpu",
    ) -> "Patching":
        """Sentences and places as tensors.

        Args:
            corpus: of the facts.
            pairs: donors and receivers.
            roles: that places refer to.
            places: where to patch.
            n_blocks: of the model.
            device: of the model.
        """
        donor = Side.of(corpus, pairs.donor_fact, pairs.donor_language, roles, device)
        receiver = Side.of(corpus, pairs.fact, pairs.language, roles, device)
        there = np.array([donor.has(receiver, place.role, place.component == "pattern") for place in places])
        there = there.reshape(len(places), len(pairs))
        at_last = there & (receiver.at == receiver.last[:, None]).T[[place.role for place in places]]
        keys = []
        for place, effect in zip(places, at_last, strict=True):
            # What the last block makes at a position that nothing is predicted from is never read.
            read = place.block < n_blocks - 1 or place.component in READ_LATER or effect.any()
            read &= place.component != NOTHING
            where = (side.at[:, place.role].tobytes() for side in (donor, receiver))
            keys.append((place.component, place.block, place.head, *where) if read else ())
        once = {key: at for at, key in reversed(list(enumerate(keys)))}
        restarts: dict[tuple[int, int], list[int]] = {}
        for at in (at for at in once.values() if there[at].any()):
            place = places[at]
            block = place.block + (place.component == "resid_post")
            # The last block runs at one position, wherever it starts: there places of all roles go together.
            start = int(receiver.at[there[at], place.role].min()) if block < n_blocks - 1 else BOS
            restarts.setdefault((block, start), []).append(at)
        donors = [
            (donor.at[effect, place.role] == donor.last[effect]).all()
            for place, effect in zip(places, at_last, strict=True)
            if place.block == n_blocks - 1 and place.component not in READ_LATER
        ]
        moves = []
        for place, pair in zip(places, map(np.flatnonzero, there), strict=True):
            ends = (pair, donor.at[pair, place.role], receiver.at[pair, place.role])
            moves.append(tuple(torch.as_tensor(part, device=device) for part in ends))
        candidates = Candidates.of(corpus, pairs, device)
        run_at = [once[key] for key in keys]
        trie = answer_trie(corpus)
        return cls(places, donor, receiver, candidates, trie, there, run_at, restarts, moves, all(donors))

    def where(self, place: int) -> tuple[str, int]:
        """The component and block of a place."""
        return self.places[place].component, self.places[place].block

    @torch.inference_mode()
    def run(self, weights: Weights, *, donor_weights: Weights | None = None, mean: bool = False) -> Patched:
        """Every place on every pair.

        Args:
            weights: of the model.
            donor_weights: of the model that donors run in; None: the same.
            mean: put the donors' mean at a role in the place of each donor's activation: mean ablation.

        Returns:
            By (place, pair). A pattern fits prompts of its own length only: elsewhere `there` is False.
        """
        needed, n = {place.component for place in self.places}, len(self.candidates.tokens)
        receivers = {"resid_pre", "q", *KEYS}
        if donor_weights is None:
            both = contents(weights, self._both, needed | receivers, self.donors_at_last)
            held, plain = ({key: one[half] if len(one) > 1 else one for key, one in both.items()}
                           for half in (slice(n), slice(n, None)))  # fmt: skip
        else:
            held = contents(donor_weights, Prompts.of([self.donor]), needed, self.donors_at_last)
            plain = contents(weights, Prompts.of([self.receiver]), receivers, True)
        each = max(1, ROWS_AT_ONCE // max(n, 1))
        batches = [
            _Batch(weights, self, here[at : at + each], held, plain, *restart, mean)
            for restart, here in self.restarts.items()
            for at in range(0, len(here), each)
        ]
        word = np.full((len(self.places), n), -1)
        log_prob, logit_diff = np.full((*word.shape, 2), np.nan), np.full(word.shape, np.nan)
        finals = [(batch, batch.final()) for batch in batches]
        if finals and self.trie.longest == 1:  # nothing is run again, so that all are read off together
            every = replace(batches[0], some=[at for batch in batches for at in batch.some])
            finals = [(every, torch.cat([final for _, final in finals]))]
        for batch, final in finals:
            word[batch.some], log_prob[batch.some], logit_diff[batch.some] = batch.answers(final)
        word, log_prob, logit_diff = word[self.run_at], log_prob[self.run_at], logit_diff[self.run_at]
        word[~self.there], log_prob[~self.there], logit_diff[~self.there] = -1, np.nan, np.nan
        return Patched(word, log_prob, logit_diff, self.there)

    @cached_property
    def _both(self) -> Prompts:
        return Prompts.of([self.donor, self.receiver])


@dataclass(frozen=True)
class _Batch:
    """Places that restart together, run together: rows are places by pairs.

    Attributes:
        some: of the places of `of`.
        held: donors' contents.
        plain: receivers' contents without a patch.
        block: the first that is run.
        start: the first position that is run.
    """

    weights: Weights
    of: Patching
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
