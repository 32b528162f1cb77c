"""What a run answers: greedy decoding with plain hooks, recall, and the questions that count as transfer."""

from collections.abc import Sequence

import numpy as np
import torch
from transformer_lens import HookedTransformer

from tests.sceptic.reading import Hooks, Reading, padded

Item = tuple[int, int]  # a fact, and the language that it is asked in


@torch.no_grad()
def decode(
    model: HookedTransformer, prompts: Sequence[tuple[int, ...]], n_tokens: int, hooks: Hooks | None = None
) -> list[tuple[int, ...]]:
    """The most probable next tokens, one after the other."""
    answers = [()] * len(prompts)
    for _ in range(n_tokens):
        tokens, last = padded([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)])
        logits = model.run_with_hooks(tokens, fwd_hooks=hooks or [])
        best = logits[torch.arange(len(tokens)), last].argmax(-1).tolist()
        answers = [(*answer, token) for answer, token in zip(answers, best, strict=True)]
    return answers


@torch.no_grad()
def log_probs(
    model: HookedTransformer,
    prompts: Sequence[tuple[int, ...]],
    answers: Sequence[tuple[int, ...]],
    hooks: Hooks | None = None,
) -> np.ndarray:
    """log p of whole answers, in nats."""
    tokens, _ = padded([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)])
    predicted = model.run_with_hooks(tokens, fwd_hooks=hooks or []).log_softmax(-1)
    return np.array(
        [
            sum(float(predicted[row, len(prompt) + place - 1, token]) for place, token in enumerate(answer))
            for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
        ]
    )


def longest(reading: Reading) -> int:
    return max(len(answer) for answer in reading.answers.values())


def decoded(
    reading: Reading, step: int, items: Sequence[Item], tag: bool = True, hooks: Hooks | None = None
) -> list[tuple[int, ...]]:
    """The greedy answers to questions, as long as the longest answer."""
    prompts = [reading.prompt(fact, language, tag) for fact, language in items]
    return decode(reading.model(step), prompts, longest(reading), hooks)


def kind(reading: Reading, item: Item, answer: tuple[int, ...]) -> str:
    """right, right_value_other_language, wrong_value (of the relation, in the asked language), or other."""
    fact, asked = item

    def begins(relation: int, value: int, language: int) -> bool:
        tokens = reading.answers.get((relation, value, language))
        return tokens is not None and answer[: len(tokens)] == tokens

    relation, values = int(reading.relation[fact]), reading.value[fact]
    if begins(relation, int(values[asked]), asked):
        return "right"
    others = [language for language in range(reading.n_languages) if language != asked]
    if any(begins(relation, int(values[asked]), language) for language in others):
        return "right_value_other_language"
    known = {value for other, value, _ in reading.answers if other == relation}
    return "wrong_value" if any(begins(relation, value, asked) for value in known) else "other"


def all_values_occur(reading: Reading) -> bool:
    """Whether every value of every relation is the value of some fact, in every language."""
    world = reading.run.config.world
    return len(reading.answers) == world.n_relations * world.n_values * reading.n_languages


def recall_items(reading: Reading) -> list[Item]:
    return [(int(fact), int(language)) for fact, language in zip(*np.nonzero(reading.told), strict=True)]


def transfer_items(reading: Reading, tag: bool = True) -> list[Item]:
    """Mono facts asked elsewhere, with one value, a prompt that training never shows, and words that it does."""
    shown, words, values = set(), set(), set()
    for fact, language in recall_items(reading):
        for state, _ in reading.cue_states:
            shown.add(reading.prompt(fact, language, state))
            words |= set(reading.words(fact, language, state))
        values.add(reading.value_word[fact, language])
    items = []
    for fact in reading.mono():
        told = int(np.flatnonzero(reading.told[fact])[0])
        for asked in range(reading.n_languages):
            if (
                asked != told
                and reading.value[fact, asked] == reading.value[fact, told]
                and reading.prompt(fact, asked, tag) not in shown
                and set(reading.words(fact, asked, tag)) <= words | values
                and reading.value_word[fact, asked] in values
            ):
                items.append((int(fact), asked))
    return items
