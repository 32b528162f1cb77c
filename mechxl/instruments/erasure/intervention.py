"""Asks a model while its residual stream is edited at the positions of the prompt.

An edit maps the streams of all sentences at one slot. A slot is the k-th token of the tag, of the name or of the
relation word, so that it means the same in every tokenization and word order. BOS, the answer and padding are never
edited. The edits stay in place while the whole answer is decoded greedily.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus, crossed
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
        names: the slots' names: "cue", "name 1", "name 2", "relation 1", ...
        index: the slot of each position, as an index into `names`; -1 for BOS, the answer and padding.
        last: the slot of each prompt's last token, as an index into `names`.
    """

    names: list[str]
    index: Int[np.ndarray, "prompt position"]
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
    index = np.full((len(fact), 1 + int(length.sum(axis=1).max(initial=0))), -1)
    start = np.ones(len(fact), dtype=int)
    rows = np.arange(len(fact))
    for word in range(3):
        for place in range(int(length[:, word].max(initial=0))):
            has_token = length[:, word] > place
            index[rows[has_token], start[has_token] + place] = kind[has_token, word] * longest + place
        start = start + length[:, word]
    names = [f"{name} {place + 1}" for name in ("cue", "name", "relation") for place in range(longest)]
    return Slots(names, index, index[rows, start - 1])


@dataclass(frozen=True)
class FitPrompts:
    """The prompts that erasers and steering directions are fitted on: every fact in every language.

    Attributes:
        tokens: the prompts' tokens, padded with 0.
        slots: which slot each of their positions is.
        fact: the fact of each prompt.
        language: the language of each prompt.
        value_half: a random class of the prompt's value within its relation; there are as many classes as languages.
    """

    tokens: Int[Tensor, "prompt pos"]
    slots: Slots
    fact: Int[np.ndarray, " prompt"]
    language: Int[np.ndarray, " prompt"]
    value_half: Int[np.ndarray, " prompt"]


def fit_prompts(
    corpus: Corpus, facts: Int[np.ndarray, " fact"], rng: np.random.Generator, device: str = "cpu"
) -> FitPrompts:
    """The prompts of some facts in every language, tag shown; `rng` splits the values into classes."""
    world = corpus.world
    fact, language = crossed(facts, world.n_languages)
    tokens = torch.as_tensor(np.maximum(corpus.sequences(fact, language).prompts(), 0), device=device)
    relation, value = world.relation[fact], world.value[fact, language]
    n_values = int(world.value.max()) + 1
    split = np.array([rng.permutation(n_values) % world.n_languages for _ in range(world.n_relations)])
    return FitPrompts(tokens, prompt_slots(corpus, fact, language), fact, language, split[relation, value])


def stream_hook(layer: int) -> str:
    """TransformerLens's name of the residual stream after `layer` blocks."""
    return f"blocks.{layer - 1}.hook_resid_post" if layer else "blocks.0.hook_resid_pre"


def apply_edits(
    by_slot: Mapping[int, Edit], slots: Int[Tensor, "batch prompt_pos"], stream: Float[Tensor, "batch pos d"]
) -> Float[Tensor, "batch pos d"]:
    """The stream after each slot's edit; positions after the prompts are unchanged."""
    width = min(slots.shape[1], stream.shape[1])
    edited = stream.clone()
    for slot, edit in by_slot.items():
        positions = (slots[:, :width] == slot).nonzero(as_tuple=True)
        if len(positions[0]):
            edited[positions] = edit(stream[positions])
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
    """The residual stream at each of some layers, after the edits of that layer and of the earlier ones."""
    streams: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for rows in torch.arange(len(tokens)).split(ROWS_AT_ONCE):
        row_slots = torch.as_tensor(slots[rows.numpy()], device=tokens.device)

        def keep(stream: Tensor, hook: object, layer: int) -> None:
            streams[layer].append(stream)

        keepers = [(stream_hook(layer), partial(keep, layer=layer)) for layer in layers]
        hooks = [*_hooks(edits, row_slots), *keepers]
        model.run_with_hooks(tokens[rows], stop_at_layer=max(*layers, 1), fwd_hooks=hooks)
    return {layer: torch.cat(parts) for layer, parts in streams.items()}


@torch.no_grad()
def edited_answers(
    model: "HookedTransformer",
    questions: Questions,
    slots: Int[np.ndarray, "question position"],
    edits: Edits,
    trie: AnswerTrie,
) -> Int[np.ndarray, " question"]:
    """The value word that each question is answered with under the edits, by greedy decoding; -1: no value word."""
    decoded = np.zeros((len(questions), trie.longest), dtype=int)
    longest = int(questions.prompt_length.max())
    for rows in torch.arange(len(questions), device=questions.tokens.device).split(ROWS_AT_ONCE):
        row_index = rows.cpu().numpy()
        row_slots = torch.as_tensor(slots[row_index], device=questions.tokens.device)
        length, row = questions.prompt_length[rows], torch.arange(len(rows), device=rows.device)
        tokens = questions.tokens[rows, :longest]
        tokens = torch.cat([tokens, tokens.new_zeros(len(rows), trie.longest - 1)], dim=1)
        for done in range(trie.longest):
            logits = model.run_with_hooks(tokens[:, : longest + done], fwd_hooks=[*_hooks(edits, row_slots)])
            following = logits[row, length - 1 + done].argmax(-1)
            decoded[row_index, done] = following.cpu().numpy()
            if done + 1 < trie.longest:
                tokens[row, length + done] = following
    return trie.read(decoded)
