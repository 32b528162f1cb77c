"""Asks a model while its residual stream is edited at the positions of the prompt.

An edit maps the stream at every position of the prompts, by slot. A slot is the k-th token of the tag, of the name or
of the relation word, so that it means the same in every tokenization and word order. The prompt's last token is a slot
of its own, since the answer is read there whatever kind of word it belongs to. BOS, the answer and padding are never
edited. The edits stay in place while the whole answer is decoded greedily.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechxl.data.corpus import Corpus, crossed
from mechxl.model.answers import AnswerTrie, Questions
from mechxl.model.blocks import Visit, blocks_from, embed, unembed
from mechxl.model.weights import Weights, weights_of

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

ROWS_AT_ONCE = 2048
Edit = Callable[[Float[Tensor, "row d"], Int[Tensor, " row"]], Float[Tensor, "row d"]]  # (stream, slot) -> stream
Edits = Mapping[int, Edit]  # by layer


@dataclass(frozen=True)
class Slots:
    """Which slot each position of some prompts is.

    Attributes:
        names: the slots' names: "cue 1", "name 1", "name 2", "relation 1", ..., "last".
        index: the slot of each position, as an index into `names`; -1 for BOS, the answer and padding.
    """

    names: list[str]
    index: Int[np.ndarray, "prompt position"]

    @property
    def last(self) -> int:
        """The slot of every prompt's last token."""
        return len(self.names) - 1


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
    index[rows, start - 1] = len(names)
    return Slots([*names, "last"], index)


@dataclass(frozen=True)
class FitPrompts:
    """The prompts that erasers and steering directions are fitted on: every fact in every language.

    Attributes:
        tokens: the prompts' tokens, padded with 0.
        slots: which slot each of their positions is.
        fact: the fact of each prompt.
        relation: the relation of each prompt.
        language: the language of each prompt.
        value_class: a random class of the prompt's value within its relation; there are as many classes as languages.
    """

    tokens: Int[Tensor, "prompt pos"]
    slots: Slots
    fact: Int[np.ndarray, " prompt"]
    relation: Int[np.ndarray, " prompt"]
    language: Int[np.ndarray, " prompt"]
    value_class: Int[np.ndarray, " prompt"]


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
    return FitPrompts(tokens, prompt_slots(corpus, fact, language), fact, relation, language, split[relation, value])


def apply_edit(
    edit: Edit, slots: Int[Tensor, "batch prompt_pos"], stream: Float[Tensor, "batch pos d"]
) -> Float[Tensor, "batch pos d"]:
    """The stream after an edit at the prompts' positions; other positions are unchanged."""
    width = min(slots.shape[1], stream.shape[1])
    places = (slots[:, :width] >= 0).nonzero(as_tuple=True)
    edited = stream.clone()
    edited[places] = edit(stream[places], slots[places])
    return edited


def next_stream(weights: Weights, stream: Float[Tensor, "prompt pos d"], layer: int) -> Float[Tensor, "prompt pos d"]:
    """The stream one layer on: block `layer` applied to the stream that it reads."""
    one = replace(weights, blocks=weights.blocks[: layer + 1])
    return torch.cat([blocks_from(one, rows, layer, _unchanged) for rows in stream.split(ROWS_AT_ONCE)])


def _unchanged(component: str, number: int, content: Tensor, positions: Tensor) -> Tensor:
    return content


@torch.no_grad()
def edited_streams(
    model: "HookedTransformer",
    tokens: Int[Tensor, "prompt pos"],
    slots: Int[np.ndarray, "prompt position"],
    edits: Edits,
    layers: Sequence[int],
) -> dict[int, Float[Tensor, "prompt pos d"]]:
    """The residual stream at each of some layers, after the edits of that layer and of the earlier ones."""
    weights, slot = weights_of(model), torch.as_tensor(slots, device=tokens.device)
    stream, streams = embed(weights, tokens), {}
    for layer in range(max(layers) + 1):
        if layer:
            stream = next_stream(weights, stream, layer - 1)
        if layer in edits:
            stream = apply_edit(edits[layer], slot, stream)
        if layer in layers:
            streams[layer] = stream
    return streams


@torch.no_grad()
def edited_answers(
    model: "HookedTransformer",
    questions: Questions,
    slots: Int[np.ndarray, "question position"],
    edits: Edits,
    trie: AnswerTrie,
) -> Int[np.ndarray, " question"]:
    """The value word that each question is answered with under the edits, by greedy decoding; -1: no value word."""
    weights = weights_of(model)
    decoded = np.zeros((len(questions), trie.longest), dtype=int)
    longest = int(questions.prompt_length.max())
    for rows in torch.arange(len(questions), device=questions.tokens.device).split(ROWS_AT_ONCE):
        row_index = rows.cpu().numpy()
        row_slots = torch.as_tensor(slots[row_index], device=questions.tokens.device)
        length, row = questions.prompt_length[rows], torch.arange(len(rows), device=rows.device)
        tokens = questions.tokens[rows, :longest]
        tokens = torch.cat([tokens, tokens.new_zeros(len(rows), trie.longest - 1)], dim=1)
        for done in range(trie.longest):
            begun = tokens[:, : longest + done]
            following = _following(weights, begun, row_slots, edits, length - 1 + done)
            decoded[row_index, done] = following.cpu().numpy()
            if done + 1 < trie.longest:
                tokens[row, length + done] = following
    return trie.read(decoded)


def _following(
    weights: Weights,
    tokens: Int[Tensor, "row pos"],
    slots: Int[Tensor, "row prompt_pos"],
    edits: Edits,
    asked: Int[Tensor, " row"],
) -> Int[Tensor, " row"]:
    """The likeliest token after one position of each row, under the edits."""
    visit = _editing(edits, slots)
    stream = visit("resid_post", -1, embed(weights, tokens), torch.arange(tokens.shape[1], device=asked.device)[None])
    return unembed(weights, blocks_from(weights, stream, 0, visit, asked=asked)[:, 0]).argmax(-1)


def _editing(edits: Edits, slots: Int[Tensor, "row prompt_pos"]) -> Visit:
    """Edits each block's output; the embeddings count as the output of block -1."""

    def visit(component: str, number: int, content: Tensor, positions: Tensor) -> Tensor:
        if component != "resid_post" or (edit := edits.get(number + 1)) is None:
            return content
        if len(positions) == 1:  # the same positions in all rows
            return apply_edit(edit, slots, content)
        inside = positions < slots.shape[1]
        here = slots.gather(1, positions.clamp(max=slots.shape[1] - 1)).where(inside, -1)
        return apply_edit(edit, here, content)

    return visit
