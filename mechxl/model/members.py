"""The lean forward of many models at once: parameters have a leading member axis, and matrix products are batched.

Members have equal settings of the model. Vocabularies and contexts may differ: the smaller ones are padded with zeros.
Tokens of the padding are never read, its logits are -inf, and its gradients are 0, so that it stays 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mechxl.model.architecture import ACTIVATIONS
from mechxl.model.forward import attend, later_keys, pick
from mechxl.model.weights import Norm, Weights, changed, tensors_of

ALIGNED = 64  # every tensor of every member begins at a multiple of 256 bytes: else cuBLAS takes its slow kernels
COLUMNS = 8  # so does every row of W_U, at a multiple of 32 bytes

Positions = slice | Int[Tensor, "member batch asked"]


@dataclass(frozen=True)
class Members:
    """The parameters of several models as one matrix, with a row for each member.

    Attributes:
        matrix: all parameters, in the order of `pack`'s vector.
        gradient: of the matrix.
        weights: views of the matrix with a leading member axis.
        leaves: the tensors of `weights`, by which a loss is differentiated; each with its view of `gradient`.
        shapes: of each member's own tensors, without padding.
        padding: -inf for logits that a member does not have, else 0.
    """

    matrix: Float[Tensor, "member parameter"]
    gradient: Float[Tensor, "member parameter"]
    weights: Weights
    leaves: tuple[tuple[Tensor, Tensor], ...]
    shapes: tuple[tuple[torch.Size, ...], ...]
    padding: Float[Tensor, "member 1 d_vocab"]

    def differentiate(self, loss: Float[Tensor, ""]) -> None:
        """Writes the gradient of a loss."""
        slopes = torch.autograd.grad(loss, [leaf for leaf, _ in self.leaves])
        for (_, view), slope in zip(self.leaves, slopes, strict=True):
            view.copy_(slope)

    def own(self, row: Float[Tensor, " parameter"], member: int) -> Float[Tensor, " own_parameter"]:
        """A row of the matrix (or of the optimizer's moments) without padding: a vector as `pack` has it."""
        return torch.cat([piece.flatten() for piece in self._own_pieces(row, member)])

    def put(self, row: Float[Tensor, " parameter"], member: int, own: Float[Tensor, " own_parameter"]) -> None:
        """Writes a vector as `pack` has it into a row; the padding of the row stays as it is."""
        pieces = self._own_pieces(row, member)
        for piece, part in zip(pieces, own.to(row).split([piece.numel() for piece in pieces]), strict=True):
            piece.copy_(part.view(piece.shape))

    def _own_pieces(self, row: Float[Tensor, " parameter"], member: int) -> list[Tensor]:
        pieces, start = [], 0
        for (leaf, _), own in zip(self.leaves, self.shapes[member], strict=True):
            padded = leaf.shape[1:]
            piece = row[start : start + padded.numel()].view(padded)
            pieces.append(piece[tuple(slice(size) for size in own)])
            start += _aligned(padded.numel(), ALIGNED)
        return pieces


def join(each: Sequence[Weights], device: str) -> Members:
    """The parameters of models of equal settings as one matrix on a device; each keeps its own."""
    shapes = tuple(tuple(tensor.shape for tensor in tensors_of(weights)) for weights in each)
    common = [torch.Size(map(max, zip(*same, strict=True))) for same in zip(*shapes, strict=True)]
    d_vocab = _aligned(max(len(one.b_U) for one in each), COLUMNS)
    common[-2:] = [torch.Size([common[-2][0], d_vocab]), torch.Size([d_vocab])]  # W_U and b_U
    sizes = [_aligned(shape.numel(), ALIGNED) for shape in common]
    matrix = torch.zeros(len(each), sum(sizes), dtype=each[0].W_E.dtype, device=device)
    gradient = torch.zeros_like(matrix)
    values, slopes = (
        [flat[:, : shape.numel()].unflatten(1, shape) for flat, shape in zip(x.split(sizes, 1), common, strict=True)]
        for x in (matrix, gradient)
    )
    leaves = [nn.Parameter(value) for value in values]
    unused = iter(leaves)
    weights = changed(each[0], lambda _: next(unused))
    vocabulary = torch.tensor([len(one.b_U) for one in each], device=device)
    missing = torch.arange(weights.b_U.shape[1], device=device) >= vocabulary[:, None]
    padding = torch.zeros(missing.shape, dtype=matrix.dtype, device=device).masked_fill_(missing, -torch.inf)
    members = Members(matrix, gradient, weights, tuple(zip(leaves, slopes, strict=True)), shapes, padding[:, None])
    with torch.no_grad():
        for member, one in enumerate(each):
            members.put(matrix[member], member, torch.cat([tensor.flatten() for tensor in tensors_of(one)]))
    return members


def _aligned(size: int, to: int) -> int:
    """The next multiple."""
    return -(-size // to) * to


def member_logits(
    members: Members, tokens: Int[Tensor, "member batch pos"], positions: Positions
) -> Float[Tensor, "member batch asked d_vocab"]:
    """Each member's logits for its own sequences at some positions.

    Args:
        members: the models.
        tokens: right-padded.
        positions: a slice if they are the same for all sequences, else indices for each sequence.
    """
    weights = members.weights
    resid = member_stream(weights, tokens, positions)
    scores = _product(_normalize(weights.ln_final, resid), weights.W_U, weights.b_U) + members.padding
    return scores.unflatten(1, (tokens.shape[1], -1))


def member_stream(
    weights: Weights, tokens: Int[Tensor, "member batch pos"], positions: Positions
) -> Float[Tensor, "member asked_row d_model"]:
    """Each member's residual stream after the last block of `weights`, at the positions of `member_logits`."""
    n, batch, length = tokens.shape
    places = torch.arange(length, device=tokens.device)
    asked = places[positions] if isinstance(positions, slice) else positions.flatten(0, 1)

    def wanted(flat: Float[Tensor, "member row d"]) -> Float[Tensor, "member asked_row d"]:
        chosen = positions if isinstance(positions, slice) else asked
        return pick(flat.reshape(n * batch, length, -1), chosen).reshape(n, -1, flat.shape[2])

    first = torch.arange(n, device=tokens.device)[:, None, None] * weights.W_E.shape[1]
    token = F.embedding(tokens + first, weights.W_E.flatten(0, 1))
    resid = (token + weights.W_pos[:, None, :length]).flatten(1, 2)
    for number, block in enumerate(weights.blocks):
        width, read = block.W_O.shape[1], _normalize(block.ln1, resid)
        if number < len(weights.blocks) - 1:
            q, kv = _product(read, block.W_QKV, block.b_QKV).split([width, 2 * width], dim=-1)
            queries = places
        else:
            q = _product(wanted(read), block.W_QKV[..., :width], block.b_QKV[..., :width])
            kv = _product(read, block.W_QKV[..., width:], block.b_QKV[..., width:])
            resid, queries = wanted(resid), asked
        by_sequence = [flat.reshape(n * batch, -1, flat.shape[2]) for flat in (q, kv)]
        mixed = attend(*by_sequence, later_keys(queries, places, kv), weights.n_heads).reshape(q.shape)
        resid = resid + _product(mixed, block.W_O, block.b_O)
        hidden = _product(_normalize(block.ln2, resid), block.W_in, block.b_in)
        resid = resid + _product(ACTIVATIONS[weights.act_fn](hidden), block.W_out, block.b_out)
    return resid


def _product(
    x: Float[Tensor, "member row i"], matrix: Float[Tensor, "member i j"], bias: Float[Tensor, "member j"]
) -> Float[Tensor, "member row j"]:
    return torch.baddbmm(bias[:, None], x, matrix)


def _normalize(norm: Norm, x: Float[Tensor, "member row d"]) -> Float[Tensor, "member row d"]:
    if norm.b is None:
        return F.rms_norm(x, x.shape[-1:], eps=norm.eps) * norm.w[:, None]
    return F.layer_norm(x, x.shape[-1:], eps=norm.eps) * norm.w[:, None] + norm.b[:, None]
