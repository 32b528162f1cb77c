"""Runs in other clothes: what must not matter is changed in a copy of a run, and nothing else.

The copy's data are changed in memory, since mechxl builds them again from the settings; its parameters on disk.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from mechxl import Run
from tests.runs import accepted, copied

VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxz"


def last_only(run: Run, to: Path) -> Run:
    """A copy with its first and last checkpoints and no findings."""
    copy = copied(run, to, ["findings", "activations.zarr", "*.lock"])
    for step in copy.steps[1:-1]:
        copy.checkpoint(step).unlink()
    return accepted(copy.path)


def in_another_basis(run: Run, to: Path) -> Run:
    """RMSNorm's gains are folded into what reads it, then the stream is turned by an orthogonal map."""
    copy = last_only(run, to)
    size = copy.config.model.d_model
    assert copy.config.model.normalization == "RMS"
    turn = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    for step in copy.steps:
        old = {name: tensor.double() for name, tensor in load_file(copy.checkpoint(step)).items()}
        new = dict(old)
        for block in range(copy.config.model.n_layers):
            at = f"blocks.{block}."
            for reader in "QKV":
                new[f"{at}attn.W_{reader}"] = turn.T @ (old[f"{at}ln1.w"][:, None] * old[f"{at}attn.W_{reader}"])
            new[f"{at}mlp.W_in"] = turn.T @ (old[f"{at}ln2.w"][:, None] * old[f"{at}mlp.W_in"])
            for writer in ("attn.W_O", "attn.b_O", "mlp.W_out", "mlp.b_out"):
                new[at + writer] = old[at + writer] @ turn
            new[f"{at}ln1.w"], new[f"{at}ln2.w"] = (torch.ones(size, dtype=torch.float64) for _ in range(2))
        new["embed.W_E"], new["pos_embed.W_pos"] = old["embed.W_E"] @ turn, old["pos_embed.W_pos"] @ turn
        new["unembed.W_U"] = turn.T @ (old["ln_final.w"][:, None] * old["unembed.W_U"])
        new["ln_final.w"] = torch.ones(size, dtype=torch.float64)
        save_file({name: tensor.float().contiguous() for name, tensor in new.items()}, copy.checkpoint(step))
    return accepted(copy.path)


def with_languages_swapped(run: Run, to: Path) -> Run:
    """The two languages change places: what was A's is B's."""
    copy = last_only(run, to)
    corpus = run.corpus
    lexicon = corpus.lexicon
    copy.__dict__["corpus"] = replace(
        corpus,
        world=replace(corpus.world, value=corpus.world.value[:, ::-1].copy()),
        lexicon=replace(
            lexicon,
            names=lexicon.names[:, ::-1].copy(),
            relation_words=lexicon.relation_words[:, ::-1].copy(),
            value_words=lexicon.value_words[:, :, ::-1].copy(),
            tags=lexicon.tags[::-1].copy(),
            relation_first=lexicon.relation_first[::-1].copy(),
        ),
        mixture=replace(
            corpus.mixture, told=corpus.mixture.told[:, ::-1].copy(), weight=corpus.mixture.weight[:, ::-1].copy()
        ),
    )
    return copy


def with_entities_permuted(run: Run, to: Path) -> Run:
    """Entities that occur in training get each other's numbers, and with these their facts another order."""
    copy = last_only(run, to)
    corpus, n_relations = run.corpus, run.config.world.n_relations
    n_seen = run.config.world.n_entities
    n_all = corpus.world.n_entities
    order = np.r_[np.random.default_rng(0).permutation(n_seen), np.arange(n_seen, n_all)]
    facts = (order[:, None] * n_relations + np.arange(n_relations)).ravel()
    world, lexicon, mixture = corpus.world, corpus.lexicon, corpus.mixture
    copy.__dict__["corpus"] = replace(
        corpus,
        world=replace(world, value=world.value[facts], frequency=world.frequency[facts]),
        lexicon=replace(lexicon, names=lexicon.names[order]),
        mixture=replace(mixture, told=mixture.told[facts], weight=mixture.weight[facts]),
    )
    return copy


def with_words_renamed(run: Run, to: Path) -> Run:
    """Every letter stands for another one, in the words and in the vocabulary: each token keeps its number."""
    copy = last_only(run, to)
    table = str.maketrans(VOWELS + CONSONANTS, VOWELS[1:] + VOWELS[0] + CONSONANTS[1:] + CONSONANTS[0])

    def renamed(token: str) -> str:
        return token if token.startswith("<") else token.translate(table)

    path = copy.file("tokenizer.json")
    tokenizer = run.tokenizer
    text = path.read_text(encoding="utf-8")
    for token in sorted(tokenizer.get_vocab(), key=len, reverse=True):
        text = text.replace(f'"{token}":', f'"\0{renamed(token)}":')
    path.write_text(text.replace("\0", ""), encoding="utf-8")
    copy = accepted(copy.path)
    corpus = run.corpus
    words = np.array([renamed(str(word)) for word in corpus.lexicon.words])
    copy.__dict__["corpus"] = replace(
        corpus, lexicon=replace(corpus.lexicon, words=words), tokenizer=Tokenizer.from_file(str(path))
    )
    return copy


CHANGES: dict[str, Callable[[Run, Path], Run]] = {
    "basis": in_another_basis,
    "languages": with_languages_swapped,
    "entities": with_entities_permuted,
    "words": with_words_renamed,
}
