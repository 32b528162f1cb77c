"""What the tests of the model compare it with: the hooked forward, one sentence at a time, and sentences as strings."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformer_lens import HookedTransformer

from mechxl.config import ModelConfig, RunConfig, as_toml_table, parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.model.hooked import build_model
from mechxl.model.weights import weights_of
from mechxl.training.batches import TrainingBatches
from mechxl.training.loop import batch_losses

EOS = 2
SMALL: dict[str, Any] = {
    "world": {"n_entities": 20, "n_relations": 2, "n_values": 4, "n_unseen": 3},
    "languages": {"name_syllables": 12, "word_syllables": 24},
}


def small_corpus(**sections: dict[str, Any]) -> Corpus:
    """20 entities, 2 relations of 4 values; given sections override those settings."""
    raw = {name: SMALL.get(name, {}) | sections.get(name, {}) for name in SMALL.keys() | sections.keys()}
    return build_corpus(parse_config(raw))


def small_model(corpus: Corpus, seed: int = 0, precision: str = "float64", **settings: Any) -> HookedTransformer:
    """A HookedTransformer none of whose parameters are at their initial constants, so that each takes part."""
    shape = {"n_layers": 1, "d_model": 16, "n_heads": 2, "d_mlp": 32, "init_std": 0.3} | settings
    model = build_model(ModelConfig(**shape), corpus.tokenizer, 40, seed, precision)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def learned_model(corpus: Corpus, steps: int = 60) -> HookedTransformer:
    """A model that has learned which words are answers, and some of the facts."""
    model = small_model(corpus, d_model=32, init_std=0.05)
    batches = TrainingBatches(corpus, "answer", 64, 0, "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(steps):
        optimizer.zero_grad()
        batch_losses(weights_of(model), batches[step])[0].backward()
        optimizer.step()
    return model


def word(corpus: Corpus, index: int) -> str:
    return str(corpus.lexicon.words[index])


def value_word(corpus: Corpus, fact: int, language: int) -> str:
    """The word of a fact's value in a language."""
    relation, value = corpus.world.relation[fact], corpus.world.value[fact, language]
    return word(corpus, corpus.lexicon.value_words[relation, value, language])


def prompt_text(corpus: Corpus, fact: int, language: int, tag: bool) -> str:
    """The words before the value."""
    lexicon, world = corpus.lexicon, corpus.world
    words = [lexicon.names[world.entity[fact], language], lexicon.relation_words[world.relation[fact], language]]
    if lexicon.relation_first[language]:
        words.reverse()
    if tag and len(lexicon.tags):
        words.insert(0, lexicon.tags[language])
    return " ".join(word(corpus, index) for index in words)


def encode(corpus: Corpus, text: str) -> list[int]:
    """BOS and the text's tokens."""
    return corpus.tokenizer.encode(text).ids


def answer_tokens(corpus: Corpus, text: str, ends: bool = False) -> list[int]:
    """A value's word as an answer, with EOS where answers end with it."""
    return encode(corpus, text)[1:] + [EOS] * ends


@torch.no_grad()
def hooked_log_probs(model: HookedTransformer, tokens: list[int]) -> Tensor:
    """log p of the next token after each of one sentence's tokens."""
    return model(torch.tensor([tokens]))[0].log_softmax(-1)


def hooked_answer(model: HookedTransformer, prompt: list[int], answer: list[int]) -> float:
    """log p of an answer, token by token."""
    table = hooked_log_probs(model, prompt + answer)
    return sum(float(table[len(prompt) - 1 + at, token]) for at, token in enumerate(answer))


def hooked_greedy(model: HookedTransformer, prompt: list[int], longest: int) -> list[int]:
    """`longest` tokens, each the most probable after those before it."""
    tokens = list(prompt)
    for _ in range(longest):
        tokens.append(int(hooked_log_probs(model, tokens)[-1].argmax()))
    return tokens[len(prompt) :]


def expected_kind(corpus: Corpus, fact: int, language: int, said: str) -> str:
    """The kind of an answer, by comparing strings."""
    lexicon, relation = corpus.lexicon, int(corpus.world.relation[fact])
    value = int(corpus.world.value[fact, language])
    here = [word(corpus, index) for index in lexicon.value_words[relation, :, language] if index >= 0]
    everywhere = [word(corpus, index) for index in lexicon.value_words[relation, value]]
    if said == here[value]:
        return "right"
    if said in here:  # where words coincide, the asked language wins
        return "wrong_value"
    return "right_value_other_language" if said in everywhere else "other"


def questions_of(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Every fact that has a value, in every language: (fact, language)."""
    fact = np.flatnonzero(corpus.world.value[:, 0] >= 0)
    count = corpus.world.value.shape[1]
    return np.repeat(fact, count), np.tile(np.arange(count), len(fact))


# a run of half a second, and how `python -m mechxl.train` is told to train it
TINY = {
    "world": {"n_entities": 20, "n_unseen": 4, "n_relations": 2, "n_values": 4},
    "model": {"n_layers": 1, "d_model": 16, "n_heads": 2, "d_mlp": 32},
    "training": {"steps": 12, "checkpoints": 4, "batch_size": 16, "evaluate_every": 5, "warmup_steps": 4},
}


def tiny(**training: Any) -> RunConfig:
    """The settings of a tiny run; given settings of the training override."""
    return parse_config(TINY | {"training": TINY["training"] | training})


def command_line(config: RunConfig) -> list[str]:
    """The options of the command line that say what differs from the defaults."""
    given = as_toml_table(config)
    return [
        word
        for section, fields in given.items()
        if isinstance(fields, dict)
        for name, value in fields.items()
        if value != getattr(getattr(RunConfig(), section), name) and not isinstance(value, list)
        for word in (f"--{section}.{name}", str(value))
    ]


def contents(directory: Path) -> dict[str, bytes]:
    """All files but environment.json, which knows the clock."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name != "environment.json")
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
