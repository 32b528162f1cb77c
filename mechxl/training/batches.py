"""Training batches as ready tensors: independent draws with replacement from the distribution of tellings."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechxl.config import TrainingConfig
from mechxl.data.corpus import Corpus
from mechxl.data.tokenization import PAD_ID
from mechxl.model.forward import Positions
from mechxl.model.sharing import Shared, shared

STEPS_A_BLOCK = 64


@dataclass(frozen=True)
class TrainingBatch:
    """The sentences of one step.

    Attributes:
        tokens: the model's input.
        positions: the positions at which the model predicts the next token.
        targets: the next token at these positions; padding if the position has no loss.
        is_answer: which targets belong to the answer.
        common: the beginnings that sentences share.
    """

    tokens: Int[Tensor, "batch pos"]
    positions: Positions
    targets: Int[Tensor, "batch asked"]
    is_answer: Bool[Tensor, "batch asked"]
    common: Shared


class TrainingBatches:
    """Draws the batch of a step. The draws depend on the seed and the step alone, so training can resume anywhere.

    Args:
        corpus: the tellings, their weights and cue states.
        objective: answer (loss on the answer's tokens) or all (on every token after BOS).
        batch_size: sentences a step.
        seed: of the order of batches.
        device: the tensors' device.
        mono_from: updates after which only mono facts are drawn; None: never.
    """

    def __init__(
        self, corpus: Corpus, objective: str, batch_size: int, seed: int, device: str, mono_from: int | None = None
    ) -> None:
        fact, language = corpus.tellings
        self.shape, self.seed = (STEPS_A_BLOCK, batch_size), seed
        weight = corpus.mixture.weight[fact, language]
        self.cumulative = np.cumsum(weight)
        self.mono_from, self.cumulative_mono = mono_from, np.cumsum(weight * corpus.mixture.mono[fact])
        self.tag_dropout = corpus.cue_dropout if corpus.has_tags else 0.0
        parts = [corpus.sequences(fact, language, tag=True)]
        if self.tag_dropout > 0:
            parts.append(corpus.sequences(fact, language, tag=False))
        width = max(part.tokens.shape[1] for part in parts)
        tokens = np.concatenate(
            [np.pad(part.tokens, ((0, 0), (0, width - part.tokens.shape[1])), constant_values=PAD_ID) for part in parts]
        )
        prompt, answer, length = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("prompt_length", "answer_length", "length")
        )
        if objective == "answer":
            answer_place = np.arange(answer.max())
            input_length = int((prompt + answer).max()) - 1
            positions = np.minimum(prompt[:, None] - 1 + answer_place, input_length - 1)
            has_loss = is_answer = answer_place < answer[:, None]
        else:
            positions = np.broadcast_to(np.arange(width - 1), (len(tokens), width - 1))
            has_loss = positions + 1 < length[:, None]
            is_answer = has_loss & (positions + 1 >= prompt[:, None]) & (positions + 1 < (prompt + answer)[:, None])
            input_length = width - 1
        targets = np.where(has_loss, np.take_along_axis(tokens, positions + 1, axis=1), PAD_ID)
        same_everywhere = bool((positions == positions[0]).all())
        self.tokens = torch.as_tensor(tokens[:, :input_length], device=device)
        self.positions = torch.as_tensor(positions.copy(), device=device)
        self.targets = torch.as_tensor(targets, device=device)
        self.is_answer = torch.as_tensor(is_answer, device=device)
        self.fixed = slice(int(positions[0, 0]), int(positions[0, -1]) + 1) if same_everywhere else None
        self.common = shared(self.tokens, int(positions.min()), batch_size)
        self.block, self.drawn = -1, np.zeros((0, 0), dtype=int)

    def rows(self, step: int) -> Int[np.ndarray, " batch"]:
        """Rows of a step's batch (0, 1, ...): the tellings come first, then the tellings without their tag."""
        block, step_in_block = divmod(step, STEPS_A_BLOCK)
        if block != self.block:
            self.drawn, self.block = self.draw(block), block
        return self.drawn[step_in_block]

    def draw(self, block: int) -> Int[np.ndarray, "step batch"]:
        """The rows of the `STEPS_A_BLOCK` steps of a block."""
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, block], dtype=np.uint64)))
        uniform = rng.random(self.shape)
        drawn = _search(self.cumulative, uniform)
        if self.mono_from is not None:
            late = np.arange(STEPS_A_BLOCK) + block * STEPS_A_BLOCK >= self.mono_from
            drawn[late] = _search(self.cumulative_mono, uniform[late])
        if self.tag_dropout > 0:
            drawn += len(self.cumulative) * (rng.random(self.shape) < self.tag_dropout)
        return drawn

    def __getitem__(self, step: int) -> TrainingBatch:
        rows = torch.as_tensor(self.rows(step), device=self.tokens.device)
        positions = self.fixed if self.fixed is not None else self.positions[rows]
        return TrainingBatch(self.tokens[rows], positions, self.targets[rows], self.is_answer[rows], self.common[rows])


def mono_from(training: TrainingConfig) -> int | None:
    """The updates after which only mono facts are drawn; None: never."""
    return training.late_step if training.late_facts == "mono" else None


def _search(
    cumulative: Float[np.ndarray, " telling"], uniform: Float[np.ndarray, "step batch"]
) -> Int[np.ndarray, "step batch"]:
    """The telling whose interval contains each uniform number."""
    telling = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return np.minimum(telling, len(cumulative) - 1)
