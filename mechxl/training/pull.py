"""An added loss that pulls the languages' vectors of a fact together, or pushes them apart (`training.pull`).

Each step draws facts of one relation, the relations in turn, and takes the residual stream after `pull_layer` blocks at
the last token of each fact's prompt in every language, tag shown. No answer is shown: of a mono fact, the prompts in
languages that it is never told in are read too, and nothing says what would follow there. So the loss works on
representations alone, and whether transfer follows is open.

From the vectors of each language their mean over the drawn facts is taken off, and they are brought to length 1. The
*alignment* C is the mean cosine of a fact's vectors in two languages, over facts and pairs of languages. With weight w
the loss adds

    w (1 - C)   where w > 0: least where a fact has one vector in all languages
    |w| C^2     where w < 0: least where a fact's vectors are no nearer than those of unrelated facts

A cosine has no scale, so that neither shrinking nor growing the vectors satisfies it. Without the means, neither does
an offset between the languages: with words of its own for each language, the last token alone may say which language is
asked, and a loss on the whole vectors would have to erase it. C^2 and not C: at C = -1 the languages would be mirrored,
which is as shared a code as C = 1.

Control: with `pull_pairs = permuted`, a fact's vector in one language is paired with another entity's fact in the
other. Facts of a relation and group (parallel, mono) stand in a seeded circle; language number l takes the fact l
places on. So each vector has one partner a language, always the same, and the groups are mixed as they are: the same
pressure, without the right pairing. (A push has less to do there, since unrelated facts are hardly aligned.)
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.config import RunConfig, TrainingConfig
from mechxl.data.corpus import Corpus
from mechxl.errors import refuse
from mechxl.model.forward import residual_stream
from mechxl.model.weights import Weights, first_blocks
from mechxl.random import generator
from mechxl.training.batches import STEPS_A_BLOCK

SHARE = 4  # prompts of a step: one for so many sentences of its batch
FEWEST = 4  # facts that a mean is taken of


class Pull:
    """The prompts that the added loss reads, and their draws, which depend on the seed and the step alone.

    Args:
        corpus: the facts.
        training: the loss's settings; `pull` is not 0.
        seed: of the order of batches.
        device: the tensors' device.

    Raises:
        InputError: no relation has enough facts of these groups.
    """

    def __init__(self, corpus: Corpus, training: TrainingConfig, seed: int, device: str) -> None:
        self.weight, self.layer, self.seed = training.pull, training.pull_layer, seed
        self.n_languages = corpus.world.n_languages
        self.n_facts = max(FEWEST, training.batch_size // (SHARE * self.n_languages))
        self.joined = joined_facts(corpus, training.pull_facts, training.pull_pairs, seed)
        facts = np.unique(np.concatenate(self.joined))
        fact, language = np.repeat(facts, self.n_languages), np.tile(np.arange(self.n_languages), len(facts))
        prompts = corpus.sequences(fact, language, tag=True)
        width = int(prompts.prompt_length.max())
        self.tokens = torch.as_tensor(prompts.tokens[:, :width], device=device)
        self.last = torch.as_tensor(prompts.prompt_length - 1, device=device)
        # a row of prompts for each place of each joined row
        self.rows = [
            np.searchsorted(facts, part) * self.n_languages + np.arange(self.n_languages) for part in self.joined
        ]
        self.width = self.n_facts * self.n_languages
        self.block, self.drawn = -1, np.zeros((0, 0), dtype=int)

    def draw(self, block: int) -> Int[np.ndarray, "step prompt"]:
        """The prompts of the steps of a block, fact by fact and language by language."""
        # batches take the first numbers of this key; these are 2^192 draws on
        bits = np.random.Philox(key=np.array([self.seed, block], dtype=np.uint64), counter=[0, 0, 0, 1])
        rng = np.random.Generator(bits)
        drawn = []
        for step in range(block * STEPS_A_BLOCK, (block + 1) * STEPS_A_BLOCK):
            rows = self.rows[step % len(self.rows)]
            chosen = rng.choice(len(rows), min(self.n_facts, len(rows)), replace=False)
            drawn.append(rows[np.resize(chosen, self.n_facts)].ravel())  # again from the start where facts are few
        return np.stack(drawn)

    def loss(self, weights: Weights, step: int) -> Float[Tensor, ""]:
        """The added loss of a step (0, 1, ...)."""
        block, place = divmod(step, STEPS_A_BLOCK)
        if block != self.block:
            self.drawn, self.block = self.draw(block), block
        rows = torch.as_tensor(self.drawn[place], device=self.tokens.device)
        resid, _ = residual_stream(first_blocks(weights, self.layer), self.tokens[rows], self.last[rows, None])
        vectors = resid.reshape(1, -1, self.n_languages, resid.shape[-1])
        return added_loss(vectors, resid.new_tensor([self.weight])).sum()


def pull_of(config: RunConfig, corpus: Corpus, device: str) -> Pull | None:
    """The added loss of a run; None if it has none."""
    return Pull(corpus, config.training, config.seeds.order, device) if config.training.pull else None


def added_loss(
    vectors: Float[Tensor, "member fact language d"], weight: Float[Tensor, " member"]
) -> Float[Tensor, " member"]:
    """The added loss, from the vectors of each member's drawn facts, and its weight."""
    alignment = aligned(vectors)
    return torch.where(weight > 0, weight * (1 - alignment), -weight * alignment**2)


def aligned(vectors: Float[Tensor, "member fact language d"]) -> Float[Tensor, " member"]:
    """The mean cosine of a fact's vectors in two languages, each language's mean over facts taken off."""
    centred = vectors - vectors.mean(1, keepdim=True)
    unit = centred / (centred.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    n = vectors.shape[2]
    together = unit.sum(2).square().sum(-1) - unit.square().sum((2, 3))
    return together.mean(1) / (n * (n - 1))


def joined_facts(corpus: Corpus, group: str, pairs: str, seed: int) -> list[Int[np.ndarray, "joined language"]]:
    """Which facts' vectors the loss joins: for each relation, rows with the fact that each language gives.

    Args:
        corpus: the facts.
        group: all, mono or parallel.
        pairs: same or permuted.
        seed: of the circle.

    Raises:
        InputError: no relation has enough of them.
    """
    n_languages, groups = corpus.world.n_languages, corpus.mixture.group
    whole = corpus.world.complete  # a prompt needs words
    found: list[Int[np.ndarray, "joined language"]] = []
    for relation in range(corpus.world.n_relations):
        parts = []
        for one in ("parallel", "mono") if group == "all" else (group,):
            facts = np.flatnonzero(whole & (groups == one) & (corpus.world.relation == relation))
            if len(facts) < n_languages:  # too few for a circle; left out of `same` too, so that both act on the same
                continue
            circle = generator(seed, f"pull {relation} {one}").permutation(facts)
            step = np.arange(n_languages) if pairs == "permuted" else np.zeros(n_languages, dtype=int)
            parts.append(circle[(np.arange(len(facts))[:, None] + step) % len(facts)])
        if sum(map(len, parts)) >= FEWEST:
            found.append(np.concatenate(parts))
    if not found:
        reason = f"no relation has {FEWEST} facts of this group"
        raise refuse("training.pull_facts", group, reason, "all, or more entities")
    return found
