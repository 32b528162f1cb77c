"""Finds the TransformerLens hooks that a name means, and their dimensions after batch and position."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mechxl.data.tokenization import BOS_ID
from mechxl.errors import InputError
from mechxl.run import Run

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

# Trailing dimensions by the last part of a hook's name; all others have d_model.
TRAILING = {
    "hook_scale": ("scale",),
    **dict.fromkeys(("hook_q", "hook_k", "hook_v", "hook_z"), ("head_index", "d_head")),
    **dict.fromkeys(("hook_attn_scores", "hook_pattern"), ("head_index", "key_pos")),
    **dict.fromkeys(("hook_pre", "hook_post"), ("d_mlp",)),
}


@dataclass(frozen=True)
class Hooks:
    """Hooks whose activations are stacked in one array.

    Attributes:
        names: TransformerLens's names.
        dim: the dimension that they are stacked along: layer or component.
        labels: the labels of that dimension: numbers of layers, or the names.
        trailing: the dimensions after batch and position, and their sizes.
    """

    names: list[str]
    dim: str
    labels: list[int] | list[str]
    trailing: dict[str, int]


def empty_model(run: Run) -> "HookedTransformer":
    """The run's model with arbitrary parameters; checkpoints are then loaded into it."""
    from mechxl.model.hooked import build_model  # TransformerLens takes seconds to import

    config = run.config
    n_ctx, precision = run.environment["n_ctx"], config.training.precision
    return build_model(config.model, run.tokenizer, n_ctx, config.seeds.init, precision)


def hooks_of(run: Run, hook: str | Sequence[str], layers: int | Sequence[int] | None = None) -> Hooks:
    """The hooks that one name, or several, stand for.

    Args:
        run: the run whose model has the hooks.
        hook: a short name (resid_post, mlp_out, z, attn.hook_z) means the hook of that name in every block, stacked
            along `layer`. A full name, or several names of either kind, are stacked along `component`.
        layers: which layers of short names. Layer l is TransformerLens's block l - 1. Layer 0 is the embeddings
            (blocks.0.hook_resid_pre); only resid_post has it.

    Raises:
        InputError: a hook or layer does not exist, the model does not run it, or the hooks differ in dimensions.
    """
    import torch

    model = empty_model(run)
    _, cache = model.run_with_cache(torch.tensor([[BOS_ID]]), return_type="logits")
    run_hooks, n_layers = list(cache.keys()), run.config.model.n_layers
    asked = [hook] if isinstance(hook, str) else list(hook)
    if not asked:
        raise InputError("hook: names no hook; name one, for example resid_post or blocks.0.attn.hook_z")
    all_layers = [(name, _stack(name, run_hooks, list(model.hook_dict), n_layers)) for name in asked]
    stacks = [_some_layers(name, stack, layers) if isinstance(stack, dict) else stack for name, stack in all_layers]
    if layers is not None and not any(isinstance(stack, dict) for stack in stacks):
        raise InputError(f"layers = {layers}: {', '.join(asked)} is one hook already; use layers with a short name")
    if isinstance(hook, str) and isinstance(stacks[0], dict):
        dim, labels, names = "layer", list(stacks[0]), list(stacks[0].values())
    else:
        parts = [list(stack.values()) if isinstance(stack, dict) else [stack] for stack in stacks]
        names = list(dict.fromkeys(name for part in parts for name in part))
        dim, labels = "component", names
    shapes = {name: _trailing(name, tuple(cache[name].shape), run.environment["n_ctx"]) for name in names}
    for name, shape in shapes.items():
        if shape != shapes[names[0]]:
            one, other = (" x ".join(f"{d} {n}" for d, n in x.items()) for x in (shapes[names[0]], shape))
            raise InputError(f"hook: {names[0]} is {one} and {name} is {other}; ask for them one by one")
    return Hooks(names, dim, labels, shapes[names[0]])


def _stack(name: str, run_hooks: list[str], all_hooks: list[str], n_layers: int) -> str | dict[int, str]:
    """A full name as it is; for a short name, the full name at each layer."""
    if name in run_hooks:
        return name
    suffixes = [hook.removeprefix("blocks.0.") for hook in run_hooks if hook.startswith("blocks.0.")]
    matches = [suffix for suffix in suffixes if name in _short(suffix)]
    if len(matches) == 1:
        stack = {layer: f"blocks.{layer - 1}.{matches[0]}" for layer in range(1, n_layers + 1)}
        return {0: "blocks.0.hook_resid_pre"} | stack if matches[0] == "hook_resid_post" else stack
    if matches:
        raise InputError(f"hook = {name}: may be {' or '.join(matches)}; name one of them")
    if name in all_hooks or any(name in _short(hook.removeprefix("blocks.0.")) for hook in all_hooks):
        raise InputError(f"hook = {name}: TransformerLens does not run this hook with the settings of this model")
    known = list(dict.fromkeys([*(short for suffix in suffixes for short in _short(suffix)), *run_hooks]))
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.6)
    listed = ", ".join(near or [*suffixes, *(hook for hook in run_hooks if not hook.startswith("blocks."))])
    raise InputError(f"hook = {name}: there is no such hook; {'did you mean' if near else 'there are'}: {listed}")


def _short(suffix: str) -> list[str]:
    """The short names of a block's hook: attn.hook_z, attn.z, hook_z or z."""
    last = suffix.split(".")[-1]
    return [suffix, suffix.replace("hook_", ""), last, last.replace("hook_", "")]


def _some_layers(name: str, stack: dict[int, str], layers: int | Sequence[int] | None) -> dict[int, str]:
    if layers is None:
        return stack
    asked = [layers] if isinstance(layers, int) else list(layers)
    for layer in asked:
        if layer not in stack:
            known = ", ".join(map(str, stack))
            raise InputError(f"layers = {layer}: {name} has the layers {known} (layer l is block l - 1)")
    if not asked:
        raise InputError(f"layers: names no layer; {name} has the layers {', '.join(map(str, stack))}")
    return {layer: stack[layer] for layer in asked}


def _trailing(name: str, shape: tuple[int, ...], n_ctx: int) -> dict[str, int]:
    """A hook's dimensions after batch and position, from its shape for one token."""
    last = name.split(".")[-1]
    dims = ("d_vocab",) if name == "unembed.hook_out" else TRAILING.get(last, ("d_model",))
    if dims[-1] == "key_pos":  # (batch, head, query, key): the query is the position
        return {"head_index": shape[1], "key_pos": n_ctx}
    return dict(zip(dims, shape[2:], strict=True))


def block_after(names: Sequence[str], n_layers: int) -> int | None:
    """The first block that these hooks do not need; None: they need all blocks, or what follows the last one."""
    blocks = [re.match(r"blocks\.(\d+)\.", name) for name in names]
    needed = max(0 if block is None else int(block[1]) + 1 for block in blocks)
    after_all = any(name.startswith(("ln_final", "unembed")) for name in names)
    return None if after_all or needed == n_layers else needed
