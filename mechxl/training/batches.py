"""Training batches as ready tensors: independent draws with replacement from the distribution of tellings."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.data.tokenization import PAD_ID
from mechxl.model.forward import Positions
from mechxl.model.sharing import Shared, shared

STEPS_A_BLOCK = 64


@dataclass(frozen=True)
class Batch:
    """Sentences of one step.

    Attributes:
        tokens: the model's input.
        positions: where loss is borne.
        targets: the next token at those positions; padding where a sentence bears none.
        is_answer: which targets belong to the answer.
        common: what the sentences share.
    """

    tokens: Int[Tensor, "batch pos"]
    positions: Positions
    targets: Int[Tensor, "batch asked"]
    is_answer: Bool[Tensor, "batch asked"]
    common: Shared


class Batches:
    """Draws a step's batch; a step's draws depend on the seed and the step alone, so training resumes anywhere.

    Args:
        corpus: the tellings, their weights and cue states.
        objective: answer (loss on the answer's tokens) or all (on every token after BOS).
        batch_size: sentences a step.
        seed: of the order of batches.
        device: where the tensors lie.
    """

    def __init__(self, corpus: Corpus, objective: str, batch_size: int, seed: int, device: str) -> None:
        fact, language = corpus.tellings
        self.shape, self.seed = (STEPS_A_BLOCK, batch_size), seed
        self.cumulative = np.cumsum(corpus.mixture.weight[fact, language])
        self.hidden = corpus.cue_dropout if corpus.has_tags else 0.0
        shown = corpus.sequences(fact, language, tag=True)
        parts = [shown, corpus.sequences(fact, language, tag=False)] if self.hidden > 0 else [shown]
        width = max(part.tokens.shape[1] for part in parts)
        tokens = np.concatenate(
            [np.pad(p.tokens, ((0, 0), (0, width - p.tokens.shape[1])), constant_values=PAD_ID) for p in parts]
        )
        prompt, answer, length = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("prompt_length", "answer_length", "length")
        )
        if objective == "answer":
            place = np.arange(answer.max())
            inputs = int((prompt + answer).max()) - 1
            positions = np.minimum(prompt[:, None] - 1 + place, inputs - 1)
            bears = is_answer = place < answer[:, None]
        else:
            positions = np.broadcast_to(np.arange(width - 1), (len(tokens), width - 1))
            bears = positions + 1 < length[:, None]
            is_answer = bears & (positions + 1 >= prompt[:, None]) & (positions + 1 < (prompt + answer)[:, None])
            inputs = width - 1
        targets = np.where(bears, np.take_along_axis(tokens, positions + 1, axis=1), PAD_ID)
        same = bool((positions == positions[0]).all())
        self.tokens = torch.as_tensor(tokens[:, :inputs], device=device)
        self.positions = torch.as_tensor(positions.copy(), device=device)
        self.targets = torch.as_tensor(targets, device=device)
        self.is_answer = torch.as_tensor(is_answer, device=device)
        self.fixed = slice(int(positions[0, 0]), int(positions[0, -1]) + 1) if same else None
        self.common = shared(self.tokens, int(positions.min()), batch_size)
        self.block, self.drawn = -1, np.zeros((0, 0), dtype=int)

    def rows(self, step: int) -> Int[np.ndarray, " batch"]:
        """Which sentences the batch of a step (0, 1, ...) holds: tellings, and then tellings with the tag left out."""
        block, at = divmod(step, STEPS_A_BLOCK)
        if block != self.block:
            rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, block], dtype=np.uint64)))
            n = len(self.cumulative)
            self.drawn = _search(self.cumulative, rng.random(self.shape))
            if self.hidden > 0:
                self.drawn += n * (rng.random(self.shape) < self.hidden)
            self.block = block
        return self.drawn[at]

    def __getitem__(self, step: int) -> Batch:
        rows = torch.as_tensor(self.rows(step), device=self.tokens.device)
        positions = self.fixed if self.fixed is not None else self.positions[rows]
        return Batch(self.tokens[rows], positions, self.targets[rows], self.is_answer[rows], self.common[rows])


def _search(
    cumulative: Float[np.ndarray, " telling"], uniform: Float[np.ndarray, "step batch"]
) -> Int[np.ndarray, "step batch"]:
    """The telling whose interval each uniform number falls into."""
    place = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return np.minimum(place, len(cumulative) - 1)
