"""Computes the activations of facts at a checkpoint: by the lean forward if it can, else by TransformerLens."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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

PATIENCE = 2  # seconds without a line in a notebook
NO_LINE = """<style>.jp-OutputArea-child:has(.mechxl-no-line) { display: none }</style><i class="mechxl-no-line"></i>"""
_LINES: dict[int, Any] = {}  # handles by the cell's number: rich's bars each leave an empty block in JupyterLab
AT_ONCE, AT_ONCE_BYTES = 4096, 2**26  # most sentences in a batch, and about the most memory of their activations


@dataclass(frozen=True)
class SentenceBatch:
    """Sentences that are run together.

    Attributes:
        rows: the index of each sentence among all requested sentences.
        tokens: the sentences' tokens, up to the last requested position.
        positions: the position of each role; an arbitrary one if the sentence lacks the role.
        common: the beginnings that the sentences share.
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
    """The sentences of facts in languages, in batches; sentences with the same beginning are neighbours.

    Args:
        corpus: the corpus of the sentences.
        fact: the fact of each sentence.
        language: the language of each sentence.
        roles: the requested roles.
        tag: whether the tag is shown.
        at_once: gives the number of sentences in a batch from the number of tokens of the longest.
    """
    tokens = corpus.sequences(fact, language, tag).tokens
    positions = role_positions(corpus, fact, language, roles, tag)
    positions = np.where(positions < 0, positions.max(axis=1, keepdims=True), positions)
    batch_size = at_once(int(positions.max()) + 1)
    order = np.lexsort(tokens.T[::-1])
    batches = []
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        row_positions, width = positions[rows], int(positions[rows].max()) + 1
        sentences = torch.as_tensor(tokens[rows, :width])
        common = shared(sentences, int(row_positions.min()), len(rows))
        batches.append(SentenceBatch(rows, sentences, torch.as_tensor(row_positions), common))
    return batches


@torch.no_grad()
def read_batch(
    model: "HookedTransformer", weights: Weights | None, batch: SentenceBatch, names: list[str]
) -> Iterator[tuple[str, Float[np.ndarray, "batch role *d"]]]:
    """The activations of each hook at the positions of a batch; by the lean forward if its weights are given."""
    if weights is not None:
        streams = lean_streams(weights, batch.tokens, batch.positions, names, batch.common)
        yield from ((name, streams[name].numpy()) for name in names)
        return
    stop, logits = block_after(names, model.cfg.n_layers), any(name.startswith("unembed") for name in names)
    _, cache = model.run_with_cache(
        batch.tokens,
        names_filter=lambda name: name in names,
        stop_at_layer=stop,
        return_type="logits" if logits else None,
    )
    row = torch.arange(len(batch.tokens))[:, None]
    for name in names:
        values = cache[name]
        if name.endswith(("hook_pattern", "hook_attn_scores")):  # batch, head, query, key
            values = values.transpose(1, 2)
            later_keys = values.new_full((*values.shape[:3], model.cfg.n_ctx - values.shape[3]), _masked_value(name))
            values = torch.cat([values, later_keys], dim=3)
        yield name, values[row, batch.positions].numpy()


def _masked_value(name: str) -> float:
    """The value of an attention hook for a key that comes after the query."""
    return 0.0 if name.endswith("hook_pattern") else -torch.inf


class Computer:
    """Computes activations, one checkpoint after the other, with one model; equal sentences reuse their batches."""

    def __init__(
        self, run: Run, roles: list[str], tag: bool, batch_size: int | None, show: Callable[[int, int], None]
    ) -> None:
        """`show` is told how many checkpoints are done, of how many."""
        self.run, self.roles, self.tag, self.batch_size, self.show = run, roles, tag, batch_size, show
        self.model = empty_model(run)
        self.planned: tuple[bytes, list[SentenceBatch]] = (b"", [])

    def read(
        self,
        step: int,
        checkpoint: Checkpoint,
        names: list[str],
        fact: Int[np.ndarray, " row"],
        language: Int[np.ndarray, " row"],
    ) -> Iterator[tuple[Int[np.ndarray, " batch"], int, Float[np.ndarray, "batch role *d"]]]:
        """Yields (rows, index of the hook, activations), batch by batch, of facts in languages at a checkpoint."""
        use_checkpoint(self.run, step, checkpoint, self.model)
        with torch.no_grad():
            weights = stream_weights(self.model, names)
        kept = 0 if weights is not None else len(names)  # TransformerLens keeps these hooks at all positions

        def at_once(width: int) -> int:
            cfg = self.model.cfg
            sentence_bytes = width * max(cfg.d_mlp or 0, 4 * cfg.d_model) * cfg.dtype.itemsize * (2 + kept)
            return self.batch_size or min(max(AT_ONCE_BYTES // sentence_bytes, 1), AT_ONCE)

        key = b" ".join((fact.tobytes(), language.tobytes(), bytes(kept)))
        if self.planned[0] != key:
            self.planned = (key, sentence_batches(self.run.corpus, fact, language, self.roles, self.tag, at_once))
        for batch in self.planned[1]:
            for hook_index, (_, values) in enumerate(read_batch(self.model, weights, batch, names)):
                yield batch.rows, hook_index, values


@contextmanager
def computing(run: Run, roles: list[str], tag: bool, batch_size: int | None) -> Iterator[Computer]:
    """A Computer that shows its progress: a bar on stderr if that is a terminal, a line in a notebook."""
    console = Console(stderr=True)
    with kept_memory():
        if console.is_jupyter:
            with _line() as show:
                yield Computer(run, roles, tag, batch_size, show)
        else:
            with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
                task = bar.add_task("activations: checkpoints", total=None)
                yield Computer(
                    run, roles, tag, batch_size, lambda done, total: bar.update(task, completed=done, total=total)
                )


@contextmanager
def _line() -> Iterator[Callable[[int, int], None]]:
    """A line in a notebook, once the work takes seconds. It takes no place at the end."""
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    since, shell = time.monotonic(), get_ipython()
    cell = shell.execution_count if shell is not None else 0

    def show(done: int, total: int) -> None:
        if time.monotonic() - since < PATIENCE:
            return
        text = {"text/plain": f"activations: {done:,} of {total:,} checkpoints"}
        if cell in _LINES:
            _LINES[cell].update(text, raw=True)
        else:
            _LINES[cell] = display(text, raw=True, display_id=True)

    try:
        yield show
    finally:
        if cell in _LINES:
            _LINES[cell].update({"text/html": NO_LINE, "text/plain": ""}, raw=True)
