"""A model's parameters by TransformerLens's names: drawn and saved. Training needs no more than this of a model."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mechxl.config import ModelConfig

DTYPES = {"float32": torch.float32, "float64": torch.float64}  # tf32 and bf16 keep float32 parameters


def initial_parameters(
    config: ModelConfig, d_vocab: int, n_ctx: int, seed: int, precision: str = "float32", device: str = "cpu"
) -> dict[str, Tensor]:
    """Seeded initial parameters, bit by bit those of `build_model`; global random generators do not change.

    Weights are normal with deviation `init_std`, biases are 0, and the weights of norms are 1.

    Args:
        config: the model's settings.
        d_vocab: the number of tokens.
        n_ctx: the number of positions.
        seed: of the draw.
        precision: float32, float64, tf32 or bf16.
        device: a torch device. Weights are drawn on the CPU, so that they are the same for every device.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = {}
    for name, shape in _shapes(config, d_vocab, n_ctx).items():
        parameter = torch.full(shape, float(name.endswith(".w")), dtype=DTYPES.get(precision, torch.float32))
        if "W_" in name:
            parameter.normal_(std=config.init_std, generator=generator)
        parameters[name] = parameter.to(device)
    return parameters


def _shapes(config: ModelConfig, d_vocab: int, n_ctx: int) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, in HookedTransformer's order, which is also that of its draws."""
    d, d_mlp, heads, d_head = config.d_model, config.d_mlp, config.n_heads, config.d_model // config.n_heads

    def norm(name: str) -> dict[str, tuple[int, ...]]:
        return {f"{name}.{part}": (d,) for part in ("w", "b")[: 2 if config.normalization == "LN" else 1]}

    block = {
        **norm("ln1"),
        **norm("ln2"),
        "attn.W_Q": (heads, d, d_head),
        "attn.W_O": (heads, d_head, d),
        "attn.b_Q": (heads, d_head),
        "attn.b_O": (d,),
        "attn.W_K": (heads, d, d_head),
        "attn.W_V": (heads, d, d_head),
        "attn.b_K": (heads, d_head),
        "attn.b_V": (heads, d_head),
        "mlp.W_in": (d, d_mlp),
        "mlp.b_in": (d_mlp,),
        "mlp.W_out": (d_mlp, d),
        "mlp.b_out": (d,),
    }
    blocks = {f"blocks.{layer}.{name}": shape for layer in range(config.n_layers) for name, shape in block.items()}
    ends = {"unembed.W_U": (d, d_vocab), "unembed.b_U": (d_vocab,)}
    return {"embed.W_E": (d_vocab, d), "pos_embed.W_pos": (n_ctx, d)} | blocks | norm("ln_final") | ends


def save_parameters(parameters: Mapping[str, Tensor], path: Path) -> None:
    """Writes named parameters as safetensors: the same bytes, whatever their order and their strides."""
    save_file({name: parameter.detach().contiguous() for name, parameter in parameters.items()}, path)
