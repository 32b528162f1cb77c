"""Asks a model while its residual stream is edited at the positions of the prompt.

An edit maps the streams of all sentences at one slot: the k-th token of the tag, of the first word or of the second, by
what the word is (name, relation), so that a slot means the same in every tokenization and word order. BOS, the answer
and padding are never edited; an edit stays through greedy decoding of the whole answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus
from mechxl.model.answers import AnswerTrie, Questions

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

ROWS_AT_ONCE = 2048
Edit = Callable[[Float[Tensor, "row d"]], Float[Tensor, "row d"]]
Edits = Mapping[int, Mapping[int, Edit]]  # by layer, by slot


@dataclass(frozen=True)
class Slots:
    """Which slot each position of some prompts is.

    Attributes:
        names: of the slots: "cue", "name 1", "name 2", "relation 1", ...
        of: index into names by prompt and position; -1 for BOS, the answer and padding.
        last: the slot of each prompt's last token.
    """

    names: list[str]
    of: Int[np.ndarray, "prompt position"]
    last: Int[np.ndarray, " prompt"]


def prompt_slots(
    corpus: Corpus, fact: Int[np.ndarray, " prompt"], language: Int[np.ndarray, " prompt"], tag: bool = True
) -> Slots:
    """The slots of facts' prompts in the given languages; the same numbers for all prompts of a corpus."""
    words = corpus.words_of(fact, language, tag)[:, :3]
    length = np.where(words >= 0, (corpus.word_tokens[words] >= 0).sum(axis=2), 0)
    longest = corpus.word_tokens.shape[1]
    relation_first = corpus.lexicon.relation_first[language]
    kind = np.stack([np.zeros(len(fact), int), np.where(relation_first, 2, 1), np.where(relation_first, 1, 2)], axis=1)
    of = np.full((len(fact), 1 + int(length.sum(axis=1).max(initial=0))), -1)
    start = np.ones(len(fact), dtype=int)
    rows = np.arange(len(fact))
    for word in range(3):
        for place in range(int(length[:, word].max(initial=0))):
            there = length[:, word] > place
            of[rows[there], start[there] + place] = kind[there, word] * longest + place
        start = start + length[:, word]
    every = [f"{name} {place + 1}" for name in ("cue", "name", "relation") for place in range(longest)]
    return Slots(every, of, of[rows, start - 1])


def stream_hook(layer: int) -> str:
    """TransformerLens's name of the residual stream after `layer` blocks."""
    return f"blocks.{layer - 1}.hook_resid_post" if layer else "blocks.0.hook_resid_pre"


def apply_edits(
    by_slot: Mapping[int, Edit], slots: Int[Tensor, "batch prompt_pos"], stream: Float[Tensor, "batch pos d"]
) -> Float[Tensor, "batch pos d"]:
    """The stream with each slot's edit; positions past the prompts stay."""
    width = min(slots.shape[1], stream.shape[1])
    edited = stream.clone()
    for slot, edit in by_slot.items():
        place = (slots[:, :width] == slot).nonzero(as_tuple=True)
        if len(place[0]):
            edited[place] = edit(stream[place])
    return edited


def _hooks(edits: Edits, slots: Int[Tensor, "batch pos"]) -> list[tuple[str, Callable[..., Tensor]]]:
    def hook(stream: Tensor, hook: object, by_slot: Mapping[int, Edit]) -> Tensor:
        return apply_edits(by_slot, slots, stream)

    return [(stream_hook(layer), partial(hook, by_slot=by_slot)) for layer, by_slot in edits.items()]


@torch.no_grad()
def edited_streams(
    model: "HookedTransformer",
    tokens: Int[Tensor, "prompt pos"],
    slots: Int[np.ndarray, "prompt position"],
    edits: Edits,
    layers: Sequence[int],
) -> dict[int, Float[Tensor, "prompt pos d"]]:
    """The residual stream after each of some layers, edits applied."""
    found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for rows in torch.arange(len(tokens)).split(ROWS_AT_ONCE):
        here = torch.as_tensor(slots[rows.numpy()], device=tokens.device)

        def keep(stream: Tensor, hook: object, layer: int) -> None:
            found[layer].append(stream)

        kept = [(stream_hook(layer), partial(keep, layer=layer)) for layer in layers]
        hooks = [*_hooks(edits, here), *kept]
        model.run_with_hooks(tokens[rows], stop_at_layer=max(*layers, 1), fwd_hooks=hooks)
    return {layer: torch.cat(parts) for layer, parts in found.items()}


@torch.no_grad()
def edited_answers(
    model: "HookedTransformer",
    questions: Questions,
    slots: Int[np.ndarray, "question position"],
    edits: Edits,
    trie: AnswerTrie,
) -> Int[np.ndarray, " question"]:
    """The value word that greedy decoding gives under the edits; -1 where it gives none."""
    decoded = np.zeros((len(questions), trie.longest), dtype=int)
    longest = int(questions.prompt_length.max())
    for rows in torch.arange(len(questions), device=questions.tokens.device).split(ROWS_AT_ONCE):
        place = rows.cpu().numpy()
        here = torch.as_tensor(slots[place], device=questions.tokens.device)
        length, row = questions.prompt_length[rows], torch.arange(len(rows), device=rows.device)
        tokens = questions.tokens[rows, :longest]
        tokens = torch.cat([tokens, tokens.new_zeros(len(rows), trie.longest - 1)], dim=1)
        for done in range(trie.longest):
            logits = model.run_with_hooks(tokens[:, : longest + done], fwd_hooks=[*_hooks(edits, here)])
            following = logits[row, length - 1 + done].argmax(-1)
            decoded[place, done] = following.cpu().numpy()
            if done + 1 < trie.longest:
                tokens[row, length + done] = following
    return trie.read(decoded)
