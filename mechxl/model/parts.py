"""The parts of a block: what attention reads, and what follows attention.

Both forwards take the first from here. blocks.py has attention and what follows it in a shape of its own, since every
component of it can be patched: it scales queries before the product, so that one attention for both would change the
last bits of checkpoints or of findings; and with `after_attention` in patching too, a patch took 5 to 8 % more
processor time (medians of 5 turns, on a busy machine).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mechxl.model.architecture import ACTIVATIONS
from mechxl.model.weights import Block, Norm

See = Callable[[str, Float[Tensor, "row d_model"]], Float[Tensor, "row d_model"]]  # (component, content) -> goes on


def normalize(norm: Norm, x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
    """LayerNorm, or RMSNorm where the norm has no bias, as the model has it."""
    if norm.b is None:
        return F.rms_norm(x, x.shape[-1:], norm.w, norm.eps)
    return F.layer_norm(x, x.shape[-1:], norm.w, norm.b, norm.eps)


def project(
    block: Block, resid: Float[Tensor, "row d_model"], columns: slice | None = None
) -> Float[Tensor, "row column"]:
    """Queries, keys and values, or some columns of these three, from the stream that the block reads."""
    bias, matrix = block.b_QKV, block.W_QKV
    if columns is not None:
        bias, matrix = bias[columns], matrix[:, columns]
    return torch.addmm(bias, normalize(block.ln1, resid), matrix)


def after_attention(
    block: Block,
    act_fn: str,
    resid: Float[Tensor, "row d_model"],
    mixed: Float[Tensor, "row z"],
    see: See,
) -> Float[Tensor, "row d_model"]:
    """The stream after the block, from the stream before it and what its heads mix.

    Args:
        block: its weights.
        act_fn: of the MLP.
        resid: the stream that the block reads.
        mixed: the values that the heads attend to, (head; d_head) in a row.
        see: called with attn_out, resid_mid, mlp_out and resid_post; what it returns goes on.
    """
    attn_out = see("attn_out", torch.addmm(block.b_O, mixed, block.W_O))
    resid = see("resid_mid", resid + attn_out)
    hidden = torch.addmm(block.b_in, normalize(block.ln2, resid), block.W_in)
    mlp_out = see("mlp_out", torch.addmm(block.b_out, ACTIVATIONS[act_fn](hidden), block.W_out))
    return see("resid_post", resid + mlp_out)
