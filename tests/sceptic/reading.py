"""A run as the sceptic reads it: its files, words put together and cut into tokens anew, a plain HookedTransformer.

Of mechxl only `Run` is used: settings, facts.parquet, tokenizer.json and the paths of checkpoints.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformer_lens import HookedTransformer, HookedTransformerConfig

from mechxl import Run

Hooks = list[tuple[str | Callable[..., Any], Callable[..., Any]]]
BOS, EOS = 1, 2


class Reading:
    """The facts of a run as arrays, their prompts and answers as tokens, its models.

    Attributes:
        entity, relation, group: of each fact.
        value, told, weight: by [fact, language]; the value is -1 for unseen entities.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        facts = run.facts
        self.languages = [name for name in "ABCDEFGH" if f"value_{name}" in facts]
        self.entity, self.relation, self.group = (facts[name].to_numpy() for name in ("entity", "relation", "group"))
        self.value = np.stack([facts[f"value_{name}"].fillna(-1).to_numpy(dtype=int) for name in self.languages], 1)
        self.weight = np.stack([facts[f"weight_{name}"].to_numpy(dtype=float) for name in self.languages], 1)
        self.told = np.array([[name in told for name in self.languages] for told in facts["told_in"]])

        def words(part: str) -> np.ndarray:
            return np.stack([facts[f"{part}_word_{name}"].to_numpy(dtype=object) for name in self.languages], 1)

        self.name_word, self.relation_word, self.value_word = words("entity"), words("relation"), words("value")
        self._cut: dict[str, tuple[int, ...]] = {}
        self._models: dict[int, HookedTransformer] = {}

    @property
    def n_languages(self) -> int:
        return len(self.languages)

    @cached_property
    def tags(self) -> list[str]:
        """Each language's tag. facts.parquet does not hold it, so that the run's lexicon is asked for this alone."""
        lexicon = self.run.corpus.lexicon
        return [str(lexicon.words[tag]) for tag in lexicon.tags]

    @property
    def cue_states(self) -> list[tuple[bool, float]]:
        """Whether the tag is shown, and how often in training."""
        if not self.tags:
            return [(True, 1.0)]
        hidden = self.run.config.languages.cue_dropout
        return [(shown, share) for shown, share in ((True, 1 - hidden), (False, hidden)) if share > 0]

    def seen(self) -> np.ndarray:
        return np.flatnonzero(self.value[:, 0] >= 0)

    def mono(self) -> np.ndarray:
        return np.flatnonzero(self.group == "mono")

    def cut(self, word: str) -> tuple[int, ...]:
        """The tokens of one word."""
        if word not in self._cut:
            self._cut[word] = tuple(self.run.tokenizer.encode(word, add_special_tokens=False).ids)
        return self._cut[word]

    def words(self, fact: int, language: int, tag: bool = True) -> list[str]:
        """The prompt's words."""
        name, relation = self.name_word[fact, language], self.relation_word[fact, language]
        swapped = self.run.config.languages.word_order == "varied" and language % 2 == 1
        first = [self.tags[language]] if tag and self.tags else []
        return [*first, relation, name] if swapped else [*first, name, relation]

    def slots(self, fact: int, language: int, tag: bool = True) -> list[str]:
        """What each token of the prompt after BOS is: a word's kind and the place in it; `last` for the last."""
        kinds = {self.name_word[fact, language]: "name", self.relation_word[fact, language]: "relation"}
        slots = [
            f"{kinds.get(word, 'tag')}_{place}"
            for word in self.words(fact, language, tag)
            for place in range(len(self.cut(word)))
        ]
        return [*slots[:-1], "last"]

    def prompt(self, fact: int, language: int, tag: bool = True) -> tuple[int, ...]:
        return (BOS, *(token for word in self.words(fact, language, tag) for token in self.cut(word)))

    @cached_property
    def ends_with_eos(self) -> bool:
        """Whether an answer's tokens are the beginning of another's."""
        answers = {self.cut(word) for word in set(self.value_word[self.seen()].ravel())}
        return any(one != other and other[: len(one)] == one for one in answers for other in answers)

    def answer(self, fact: int, language: int) -> tuple[int, ...]:
        """The tokens of the fact's value in a language."""
        return self.cut(self.value_word[fact, language]) + ((EOS,) if self.ends_with_eos else ())

    @cached_property
    def answers(self) -> dict[tuple[int, int, int], tuple[int, ...]]:
        """The answers in use, by (relation, value, language)."""
        return {
            (int(self.relation[fact]), int(self.value[fact, language]), language): self.answer(fact, language)
            for fact in self.seen()
            for language in range(self.n_languages)
        }

    def model(self, step: int) -> HookedTransformer:
        """A float64 HookedTransformer with the parameters of a saved step; no tokenizer, so that nothing is masked."""
        if step not in self._models:
            size = self.run.config.model
            config = HookedTransformerConfig(
                n_layers=size.n_layers,
                d_model=size.d_model,
                n_ctx=self.run.environment["n_ctx"],
                n_heads=size.n_heads,
                d_head=size.d_model // size.n_heads,
                d_mlp=size.d_mlp,
                d_vocab=self.run.tokenizer.get_vocab_size(),
                act_fn=size.act_fn,
                normalization_type=size.normalization,
                dtype=torch.float64,
                device="cpu",
                init_weights=False,
            )
            model = HookedTransformer(config, move_to_device=False)
            saved = {name: tensor.double() for name, tensor in load_file(self.run.checkpoint(step)).items()}
            missing, unexpected = model.load_state_dict(saved, strict=False)
            assert not unexpected
            assert all("mask" in name or "IGNORE" in name for name in missing), missing
            self._models[step] = model
        return self._models[step]

    @torch.no_grad()
    def stream(self, step: int, facts: Sequence[int] | np.ndarray, tag: bool = True) -> np.ndarray:
        """The residual stream at each prompt's last token: [layer, fact, language, d]; layer 0 is the embedding."""
        crossed = [self.prompt(fact, language, tag) for fact in facts for language in range(self.n_languages)]
        tokens, last = padded(crossed)
        layers, rows = self.run.config.model.n_layers, torch.arange(len(crossed))
        names = ["blocks.0.hook_resid_pre", *(f"blocks.{block}.hook_resid_post" for block in range(layers))]
        _, cache = self.model(step).run_with_cache(tokens, names_filter=names)
        stacked = torch.stack([cache[name][rows, last] for name in names]).numpy()
        return stacked.reshape(layers + 1, len(facts), self.n_languages, -1)


def padded(sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences side by side, filled up on the right (attention looks back only), and the place of each one's last."""
    last = torch.tensor([len(sequence) - 1 for sequence in sequences])
    tokens = torch.zeros(len(sequences), int(last.max()) + 1, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence)] = torch.tensor(sequence)
    return tokens, last
