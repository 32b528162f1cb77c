"""Models built by hand, whose circuits are known: no training, every weight set by construction.

Features are one-hot dimensions of the residual stream; RMSNorm scales them by a constant that is known, as every prompt
has as many features at a place as every other; a neuron is the AND of two features. Names and words are one token each
and no language shares one with another: BOS, name, relation, and the value is asked for at the relation.
"""

from itertools import count
from typing import Any

import torch

from mechxl.config import ModelConfig
from mechxl.data.corpus import Corpus
from mechxl.model.hooked import build_model

NAME, RELATION = 1, 2  # positions


class Features:
    """Dimensions of the residual stream, given out by name."""

    def __init__(self) -> None:
        self._free, self._of = count(), {}

    def __getitem__(self, name: tuple) -> int:
        if name not in self._of:
            self._of[name] = next(self._free)
        return self._of[name]


def planted_model(corpus: Corpus, kind: str, *, shared: bool, block: int, n_layers: int = 3) -> Any:
    """A model that knows every fact in every language, its circuit in one block (and the next).

    Args:
        corpus: one token a word; names not shared; entity before relation.
        kind: "value": a block looks each language's name and relation up and writes the value; the next block turns it
            into the relation's language. "entity": a block turns each name into its entity, at the name; the next looks
            entity and relation up.
        shared: one code of the value (entity) for all languages; else each language has its own, which only its own
            words are read with.
        block: that writes the code with its MLP.
        n_layers: blocks.
    """
    world, lexicon, n_languages = corpus.world, corpus.lexicon, corpus.world.n_languages
    d_model, d_mlp = 480, 400
    settings = {"n_layers": n_layers, "d_model": d_model, "n_heads": 1, "d_mlp": d_mlp}
    config = ModelConfig(**settings, act_fn="relu", normalization="RMS")  # pyright: ignore[reportArgumentType]
    model: Any = build_model(config, corpus.tokenizer, 8, 0, "float64")
    at = Features()
    facts = [
        (int(fact), a, corpus.word_tokens[lexicon.names[world.entity[fact], a], 0],
         corpus.word_tokens[lexicon.relation_words[world.relation[fact], a], 0])
        for fact in range(world.n_facts) if world.seen[fact] for a in range(n_languages)
    ]  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for norm in (model.ln_final, *(part for each in model.blocks for part in (each.ln1, each.ln2))):
            norm.w.fill_(1.0)
        for token in {int(token) for fact in facts for token in fact[2:]}:
            model.embed.W_E[token, at["token", token]] = 1
        for position in (NAME, RELATION):
            model.pos_embed.W_pos[position, at["position", position]] = 1
        mover = block if kind == "value" else block + 1
        neurons: dict[int, list[tuple[tuple[int, ...], int]]] = {block: [], block + 1: []}
        for fact, a, name, relation in facts:
            entity, r, value = int(world.entity[fact]), int(world.relation[fact]), int(world.value[fact, a])
            own = () if shared else (a,)
            answer = at["answer", corpus.word_tokens[lexicon.value_words[r, value, a], 0]]
            word = at["token", int(relation)]
            if kind == "value":
                moved = at["moved", at["token", int(name)]]
                neurons[block].append(((moved, word), at["code", r, value, *own]))
                neurons[block + 1].append(((at["code", r, value, *own], word), answer))
            else:
                code = at["code", entity, *own]
                neurons[block].append(((at["token", int(name)], at["position", NAME]), code))
                neurons[block + 1].append(((at["moved", code], word), answer))
        sources = [dim for (kind_of, dim, *_), _ in list(at._of.items()) if kind_of == "moved"]
        _move(model, mover, at, sources, features=2 if kind == "value" else 3)
        for number, of in neurons.items():
            # token, position, then what was moved or the code, as they come
            active = {("value", block): 3, ("value", block + 1): 4, ("entity", block): 2, ("entity", block + 1): 3}
            _and(model, number, dict.fromkeys(of), active[kind, number])
        for (kind_of, token, *_), dim in list(at._of.items()):
            if kind_of == "answer":
                model.unembed.W_U[dim, int(token)] = 1
    assert next(at._free) <= d_model
    return model


def _scale(d_model: int, features: int) -> float:
    """What RMSNorm makes of a feature of size 1 among as many."""
    return (d_model / features) ** 0.5


def _move(model: Any, block: int, at: Features, sources: list[int], features: int) -> None:
    """The head copies features of the name's position to ("moved", feature) at the relation's."""
    attn, d = model.blocks[block].attn, model.cfg.d_model
    attn.W_Q[0, at["position", RELATION], 0] = 100
    attn.W_K[0, at["position", NAME], 0] = 1
    for source in sources:
        attn.W_V[0, source, source] = 1 / _scale(d, features)
        attn.W_O[0, source, at["moved", source]] = 1


def _and(model: Any, block: int, of: dict[tuple[tuple[int, ...], int], None], features: int) -> None:
    """A neuron for each pair of features, which writes a third of size 1."""
    mlp, scale = model.blocks[block].mlp, _scale(model.cfg.d_model, features)
    for neuron, (inputs, output) in enumerate(of):
        mlp.W_in[list(inputs), neuron] = 2 / scale
        mlp.b_in[neuron] = -3
        mlp.W_out[neuron, output] = 1
