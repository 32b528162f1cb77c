"""Parts of a block: the projections before attention, and everything after attention.

Both forwards use `normalize` and `project`. blocks.py has its own attention and its own steps after it, since every
component there can be patched. It scales queries before the product, so one attention for both would change the last
bits of checkpoints or of findings. With `after_attention` there, a patch took 5 to 8 % more processor time (medians of
5 repetitions, on a busy machine).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mechxl.model.architecture import ACTIVATIONS
from mechxl.model.weights import Block, Norm

See = Callable[[str, Float[Tensor, "row d_model"]], Float[Tensor, "row d_model"]]  # (component, content) -> content


def normalize(norm: Norm, x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
    """LayerNorm; RMSNorm if the norm has no bias."""
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
    """The stream after the block, from the stream before it and the output of its heads.

    Args:
        block: the block's weights.
        act_fn: the MLP's activation function.
        resid: the stream that the block reads.
        mixed: the heads' outputs, (head; d_head) in a row.
        see: called with attn_out, resid_mid, mlp_out and resid_post; what it returns replaces the content.
    """
    attn_out = see("attn_out", torch.addmm(block.b_O, mixed, block.W_O))
    resid = see("resid_mid", resid + attn_out)
    hidden = torch.addmm(block.b_in, normalize(block.ln2, resid), block.W_in)
    mlp_out = see("mlp_out", torch.addmm(block.b_out, ACTIVATIONS[act_fn](hidden), block.W_out))
    return see("resid_post", resid + mlp_out)
