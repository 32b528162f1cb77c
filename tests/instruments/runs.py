"""Runs that the tests of the store read, and what they compare it with: `run_with_cache`, a sentence at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mechxl.config import parse_config
from mechxl.run import Run
from mechxl.training.loop import train_run
from tests.model.plain import answer_tokens, encode, prompt_text, value_word

SETTINGS: dict[str, Any] = {
    "world": {"n_entities": 12, "n_relations": 2, "n_values": 4, "n_unseen": 3},
    "languages": {"name_syllables": 12, "word_syllables": 24},
    "training": {"steps": 4, "checkpoints": 3, "batch_size": 16, "warmup_steps": 1, "evaluate_every": 4},
}


def small_run(path: Path, **sections: dict[str, Any]) -> Run:
    """30 facts, the default model, checkpoints at steps 0, 1 and 4; sections override."""
    raw = {name: SETTINGS.get(name, {}) | sections.get(name, {}) for name in SETTINGS.keys() | sections.keys()}
    return train_run(parse_config(raw), path, quiet=True)


def sentence(run: Run, fact: int, language: int, tag: bool = True) -> list[int]:
    """BOS, prompt and answer of a fact as tokens, from its text."""
    corpus = run.corpus
    prompt = encode(corpus, prompt_text(corpus, fact, language, tag))
    has_value = corpus.world.value[fact, language] >= 0
    return prompt + (answer_tokens(corpus, value_word(corpus, fact, language)) if has_value else [])


class Plain:
    """`run_with_cache` on `run.model(step)`, each sentence by itself, all hooks."""

    def __init__(self, run: Run, step: int) -> None:
        self.run, self.model = run, run.model(step)
        self.seen: dict[tuple[int, ...], Any] = {}

    def __call__(self, name: str, tokens: list[int], position: int) -> np.ndarray:
        """What a hook holds at a position; attention's keys are padded to n_ctx."""
        if tuple(tokens) not in self.seen:
            with torch.no_grad():
                self.seen[tuple(tokens)] = self.model.run_with_cache(torch.tensor([tokens]))[1]
        values = self.seen[tuple(tokens)][name][0]
        if not name.endswith(("pattern", "scores")):
            return values[position].numpy()
        never = 0.0 if name.endswith("pattern") else -np.inf
        beyond = self.run.environment["n_ctx"] - values.shape[2]
        return np.pad(values[:, position].numpy(), ((0, 0), (0, beyond)), constant_values=never)
