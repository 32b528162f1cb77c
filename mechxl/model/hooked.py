"""The only file that knows TransformerLens's model classes: build, save and load a HookedTransformer."""

from pathlib import Path

import torch
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig

from mechxl.config import ModelConfig
from mechxl.data.tokenization import transformers_tokenizer
from mechxl.model.parameters import DTYPES, save_parameters

LARGEST = 1e15  # of a parameter: the loss of a model with a larger one would not be finite


def build_model(
    config: ModelConfig, tokenizer: Tokenizer, n_ctx: int, seed: int, precision: str = "float32", device: str = "cpu"
) -> HookedTransformer:
    """A HookedTransformer with seeded initial weights and its tokenizer; global random generators do not change.

    Args:
        config: the model's settings.
        tokenizer: gives the vocabulary.
        n_ctx: the number of positions.
        seed: of the initial weights.
        precision: float32, float64, tf32 or bf16.
        device: a torch device.
    """
    settings = HookedTransformerConfig(
        n_layers=config.n_layers,
        d_model=config.d_model,
        n_ctx=n_ctx,
        d_head=config.d_model // config.n_heads,
        n_heads=config.n_heads,
        d_mlp=config.d_mlp,
        d_vocab=tokenizer.get_vocab_size(),
        act_fn=config.act_fn,
        normalization_type=config.normalization,
        initializer_range=config.init_std,
        init_mode="gpt2",
        dtype=DTYPES.get(precision, torch.float32),
        device=device,
        model_name="mechxl",
    )
    # Weights are drawn on the CPU, so that they are the same for every device.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HookedTransformer(settings, tokenizer=transformers_tokenizer(tokenizer), move_to_device=False).to(
            device, print_details=False
        )


def save_model(model: HookedTransformer, path: Path) -> None:
    """Writes the named parameters (no buffers) as safetensors."""
    save_parameters(dict(model.named_parameters()), path)


def load_parameters(model: HookedTransformer, path: Path) -> None:
    """Reads parameters that `save_model` wrote into the model, in place.

    Raises:
        ValueError: names, shapes or types are not the model's, or a number is out of range.
    """
    saved = load(path.read_bytes())  # a third of the time of mapping such a small file
    try:
        copy_parameters(model, saved)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def copy_parameters(model: HookedTransformer, saved: dict[str, Tensor]) -> None:
    """Puts named parameters into the model, in place.

    Raises:
        ValueError: names, shapes or types are not the model's, or a number is not finite or above `LARGEST`.
    """
    own = dict(model.named_parameters())
    if saved.keys() != own.keys():
        odd = sorted(saved.keys() ^ own.keys())
        raise ValueError(f"holds parameters of another model: {', '.join(odd[:3])}")
    for name, parameter in own.items():
        found = saved[name]
        if found.shape != parameter.shape or found.dtype != parameter.dtype:
            is_, should = (f"{x.dtype} {list(x.shape)}".removeprefix("torch.") for x in (found, parameter))
            raise ValueError(f"holds parameters of another model: {name} is {is_}, not {should}")
        if found.numel() and not found.abs().max() <= LARGEST:
            raise ValueError(f"{name} holds a number that is not finite, or above {LARGEST:g}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(saved[name])
