"""`activations(run, ...)`: labelled activations across checkpoints, computed on first use and then cached."""

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Int
from xarray.backends import BackendArray
from xarray.core import indexing

from mechxl.data.corpus import crossed
from mechxl.data.roles import role_positions
from mechxl.errors import InputError
from mechxl.instruments.activations.hooks import hooks_of
from mechxl.instruments.activations.request import Request
from mechxl.instruments.selection import choose_facts, choose_roles, choose_steps
from mechxl.run import Run


def activations(
    run: Run,
    hook: str | Sequence[str] = "resid_post",
    *,
    steps: Any = "all",
    layers: int | Sequence[int] | None = None,
    facts: Any = "all",
    relation: int | Sequence[int] | None = None,
    n: int | None = None,
    seed: int = 0,
    role: str | Sequence[str] = "prompt_last",
    tag: bool = True,
    batch_size: int | None = None,
) -> xr.DataArray:
    """Activations of facts in every language (also in languages that training does not tell them in), by checkpoint.

    The array is lazy, as with `xarray.open_dataset`. This call only checks the arguments. Values are computed, or read
    from the run's activations.zarr, when they are used (.values, .load(), arithmetic), and only the selected ones. Used
    values stay in the array's memory. Every dimension is kept, even of length 1; `.squeeze()` or `.sel` drops it.

    Args:
        run: a run with checkpoints.
        hook: a short name (resid_post, attn_out, mlp.hook_post, z) means that hook of every block. A full name of
            TransformerLens, or several names of either kind, are stacked along `component`.
        steps: "all", a saved step (negative: from the end), several, or a slice of step numbers, both ends included.
        layers: which layers of a short name; layer l is TransformerLens's block l - 1. None: all.
        facts: "all" (with unseen entities), "mono", "parallel", "unseen", a list of indices, or one bool for each fact.
        relation: keep only the facts of this relation, or of these.
        n: keep only a sample of n facts, in the order of the facts.
        seed: of the sample.
        role: one or several of `mechxl.data.roles.role_names`, or "all" that these facts have. If a sentence lacks a
            role (a shorter answer; an unseen entity's answer), its values are NaN and its position is -1.
        tag: whether the tag is shown; no effect if the languages have no tag.
        batch_size: how many sentences run at once; None: chosen by size.

    Returns:
        float, in the model's own units and precision: (checkpoint, layer or component, language, fact, role,
        *TransformerLens's trailing dimensions: d_model | head_index d_head | d_mlp | head_index key_pos | scale).
        Layer l is the stream after l blocks; for other hooks, layer l is TransformerLens's block l - 1. Layer 0 is the
        embeddings with positions; only resid_post has it. An attention pattern is indexed by its query's position;
        key_pos has length n_ctx. Further coordinates: entity, relation, group (fact); value, told (language, fact);
        position (language, fact, role).

    Raises:
        InputError: an unknown hook, a step that is not saved, or a role, split, fact, relation or layer that this run
            does not have. When values are used: a checkpoint that can't be read.

    Example:
        >>> h = activations(run, "resid_post", facts="mono", role=["name_last", "prompt_last"])
        >>> h.sel(checkpoint=run.steps[-1], layer=1, language="A", role="prompt_last").values  # (fact, d_model)
        >>> activations(run, "pattern", steps=-1, n=100).mean("fact")  # attention from the prompt's last token
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size = {batch_size}: must be at least 1")
    corpus = run.corpus
    chosen_steps = choose_steps(run, steps)
    hooks = hooks_of(run, hook, layers)
    chosen = choose_facts(corpus, facts, relation, n, seed)
    languages, roles = np.arange(corpus.world.n_languages), choose_roles(corpus, role, tag)
    position = role_positions(corpus, *crossed(chosen, len(languages)), roles, tag)
    position = position.reshape(len(chosen), len(languages), len(roles)).transpose(1, 0, 2)
    present = np.any(position >= 0, axis=(0, 1)).tolist()
    if role == "all":
        roles, position = list(compress(roles, present)), position[:, :, present]
    elif not all(present):
        lacked = roles[present.index(False)]
        raise InputError(f"role = {lacked}: none of these facts has it: unseen entities have no answer")
    request = Request(
        run, np.array(chosen_steps), np.array(hooks.names), languages, chosen, np.array(roles), hooks.trailing, tag,
        batch_size,
    )  # fmt: skip
    dims = ("checkpoint", hooks.dim, "language", "fact", "role", *hooks.trailing)
    lazy: Any = indexing.LazilyIndexedArray(_Lazy(request))
    lazy = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))
    world, mixture = corpus.world, corpus.mixture
    coords: dict[str, Any] = {
        "checkpoint": chosen_steps,
        hooks.dim: hooks.labels,
        "language": corpus.lexicon.language_names,
        "fact": chosen,
        "role": roles,
        "entity": ("fact", world.entity[chosen]),
        "relation": ("fact", world.relation[chosen]),
        "group": ("fact", mixture.group[chosen]),
        "value": (("language", "fact"), world.value[chosen].T),
        "told": (("language", "fact"), mixture.told[chosen].T),
        "position": (("language", "fact", "role"), position),
    }
    if hooks.dim == "layer":
        coords["hook"] = ("layer", hooks.names)
    shown = "none" if not corpus.has_tags else "shown" if tag else "hidden"
    attrs = {
        "long_name": "activation",
        "units": "the model's own",
        "run": str(run.path),
        "hooks": hooks.names,
        "tag": shown,
        "languages": "every fact in every language, told so in training or not",
    }
    name = hook if isinstance(hook, str) else "activation"
    return xr.DataArray(xr.Variable(dims, lazy), coords=coords, name=name, attrs=attrs)


class _Lazy(BackendArray):
    """A request as an array that is computed when it is indexed."""

    def __init__(self, request: Request) -> None:
        self.request, self.shape, self.dtype = request, request.shape, request.dtype

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Lazy":
        return self  # it never changes

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[int | slice | Int[np.ndarray, " _"], ...]) -> np.ndarray:
        index = [np.atleast_1d(np.arange(size)[which]) for which, size in zip(key, self.shape, strict=True)]
        values = (
            self.request.part(*index[:5]).fill()
            if all(map(len, index))
            else np.empty([len(i) for i in index], self.dtype)
        )
        for axis, which in enumerate(index[5:], start=5):
            if len(which) != values.shape[axis] or (which != np.arange(len(which))).any():
                values = values.take(which, axis=axis)
        return values[tuple(0 if isinstance(which, int | np.integer) else slice(None) for which in key)]
