"""What changes late in training (`training.late_step`): weight decay and frozen parameters."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from mechxl.config import TrainingConfig
from mechxl.model.weights import Weights


def weight_decay(training: TrainingConfig, step: int) -> float:
    """The weight decay of the update that follows `step` updates."""
    if training.late_step and step >= training.late_step and training.late_weight_decay is not None:
        return training.late_weight_decay
    return training.weight_decay


def part(weights: Weights, name: str) -> list[Tensor]:
    """The tensors of a part of the model: embeddings, attention, mlp (each with the norm before it), or none."""
    if name == "embeddings":
        return [weights.W_E, weights.W_pos]
    tensors: list[Tensor | None] = []
    for block in weights.blocks:
        if name == "attention":
            tensors += [block.ln1.w, block.ln1.b, block.W_QKV, block.b_QKV, block.W_O, block.b_O]
        elif name == "mlp":
            tensors += [block.ln2.w, block.ln2.b, block.W_in, block.b_in, block.W_out, block.b_out]
    return [tensor for tensor in tensors if tensor is not None]


@contextmanager
def held(tensors: Sequence[Tensor], rows: Sequence[int] | slice = slice(None)) -> Iterator[None]:
    """Some rows of tensors are afterwards what they were before."""
    before = [tensor.data[rows].clone() for tensor in tensors]
    yield
    for tensor, kept in zip(tensors, before, strict=True):
        tensor.data[rows] = kept
