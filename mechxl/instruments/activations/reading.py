"""Activations of some facts under some parameters: lean where that gives the same numbers, else by TransformerLens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.data.roles import role_positions
from mechxl.instruments.activations.hooks import block_after, empty_model
from mechxl.instruments.checkpoints import Checkpoint, use_checkpoint
from mechxl.model.sharing import Shared, shared
from mechxl.model.streams import lean_streams, stream_weights
from mechxl.model.weights import Weights
from mechxl.run import Run
from mechxl.training.memory import kept_memory

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

AT_ONCE, AT_ONCE_BYTES = 4096, 2**26  # sentences in a batch, and about what they take


@dataclass(frozen=True)
class SentenceBatch:
    """Sentences that are run at once.

    Attributes:
        rows: which of those asked for.
        tokens: up to the last position asked for.
        positions: of each role; where a sentence lacks the role, some other one.
        common: what the sentences begin with.
    """

    rows: Int[np.ndarray, " batch"]
    tokens: Int[Tensor, "batch pos"]
    positions: Int[Tensor, "batch role"]
    common: Shared


def sentence_batches(
    corpus: Corpus,
    fact: Int[np.ndarray, " row"],
    language: Int[np.ndarray, " row"],
    roles: list[str],
    tag: bool,
    at_once: Callable[[int], int],
) -> list[SentenceBatch]:
    """The sentences of facts in languages, those that begin alike beside each other.

    Args:
        corpus: gives the sentences.
        fact: which facts.
        language: the language of each.
        roles: whose positions are asked for.
        tag: whether the tag is shown.
        at_once: sentences in a batch, given the tokens of the longest.
    """
    tokens = corpus.sequences(fact, language, tag).tokens
    positions = role_positions(corpus, fact, language, roles, tag)
    positions = np.where(positions < 0, positions.max(axis=1, keepdims=True), positions)
    batch_size = at_once(int(positions.max()) + 1)
    order = np.lexsort(tokens.T[::-1])
    found = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        at, width = positions[rows], int(positions[rows].max()) + 1
        sentences = torch.as_tensor(tokens[rows, :width])
        common = shared(sentences, int(at.min()), len(rows))
        found.append(SentenceBatch(rows, sentences, torch.as_tensor(at), common))
    return found


@torch.no_grad()
def read_batch(
    model: "HookedTransformer", weights: Weights | None, batch: SentenceBatch, names: list[str]
) -> Iterator[tuple[str, Float[np.ndarray, "batch role *d"]]]:
    """The activations of each hook at the positions of a batch; weights: of the lean forward, if that gives them."""
    if weights is not None:
        found = lean_streams(weights, batch.tokens, batch.positions, names, batch.common)
        yield from ((name, found[name].numpy()) for name in names)
        return
    stop, logits = block_after(names, model.cfg.n_layers), any(name.startswith("unembed") for name in names)
    _, cache = model.run_with_cache(
        batch.tokens,
        names_filter=lambda name: name in names,
        stop_at_layer=stop,
        return_type="logits" if logits else None,
    )
    every = torch.arange(len(batch.tokens))[:, None]
    for name in names:
        values = cache[name]
        if name.endswith(("hook_pattern", "hook_attn_scores")):  # batch, head, query, key: no query reads later keys
            values = values.transpose(1, 2)
            beyond = values.new_full((*values.shape[:3], model.cfg.n_ctx - values.shape[3]), _never(name))
            values = torch.cat([values, beyond], dim=3)
        yield name, values[every, batch.positions].numpy()


def _never(name: str) -> float:
    """What an attention hook holds for a key that comes after the query."""
    return 0.0 if name.endswith("hook_pattern") else -torch.inf


class Computer:
    """Reads activations checkpoint after checkpoint, with one model and, for the same sentences, the same batches."""

    def __init__(self, run: Run, roles: list[str], tag: bool, batch_size: int | None, bar: Progress) -> None:
        self.run, self.roles, self.tag, self.batch_size, self.bar = run, roles, tag, batch_size, bar
        self.model = empty_model(run)
        self.task = bar.add_task("activations: checkpoints", total=None)
        self.planned: tuple[bytes, list[SentenceBatch]] = (b"", [])

    def read(
        self,
        step: int,
        checkpoint: Checkpoint,
        names: list[str],
        fact: Int[np.ndarray, " row"],
        language: Int[np.ndarray, " row"],
    ) -> Iterator[tuple[Int[np.ndarray, " batch"], int, Float[np.ndarray, "batch role *d"]]]:
        """Batches of (rows, index of the hook, activations) of facts in languages under a checkpoint's parameters."""
        use_checkpoint(self.run, step, checkpoint, self.model)
        with torch.no_grad():
            weights = stream_weights(self.model, names)
        kept = 0 if weights is not None else len(names)  # what TransformerLens keeps, it keeps at all positions

        def at_once(width: int) -> int:
            cfg = self.model.cfg
            each = width * max(cfg.d_mlp or 0, 4 * cfg.d_model) * cfg.dtype.itemsize * (2 + kept)
            return self.batch_size or min(max(AT_ONCE_BYTES // each, 1), AT_ONCE)

        key = b" ".join((fact.tobytes(), language.tobytes(), bytes(kept)))
        if self.planned[0] != key:
            self.planned = (key, sentence_batches(self.run.corpus, fact, language, self.roles, self.tag, at_once))
        for batch in self.planned[1]:
            for at, (_, values) in enumerate(read_batch(self.model, weights, batch, names)):
                yield batch.rows, at, values

    def show(self, done: int, total: int) -> None:
        """Moves the bar."""
        self.bar.update(self.task, completed=done, total=total)


@contextmanager
def computing(run: Run, roles: list[str], tag: bool, batch_size: int | None) -> Iterator[Computer]:
    """A Computer, and a bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    shown = console.is_terminal or console.is_jupyter
    with kept_memory(), Progress(console=console, transient=True, disable=not shown) as bar:
        yield Computer(run, roles, tag, batch_size, bar)
