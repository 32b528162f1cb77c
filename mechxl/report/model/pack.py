"""What the page's model consists of: which checkpoints, their weights as text, the tokenizer's pieces, the facts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Int
from safetensors.torch import load
from torch import Tensor

from mechxl.config import ModelConfig
from mechxl.data.corpus import Corpus, crossed
from mechxl.data.tokenization import BOS_ID, CONTINUES, EOS_ID, SPECIAL, token_texts
from mechxl.model.forward import logits
from mechxl.model.weights import EPS, joined
from mechxl.random import generator
from mechxl.report.model.coded import Parameters, code
from mechxl.report.model.kept import MOST_CHECKPOINTS, NO_MODEL, Json, Shown
from mechxl.report.packed import as_text
from mechxl.run import Run

MOST_TEXT = 2_200_000  # characters of weights in a page
MOST_ENTITIES = 2000  # that the page can tell the right answers of
TRIED, DERIVED, NEIGHBOURS = 1000, 64, 120  # prompts to measure errors on, to take derivatives from; facts to compare


@dataclass(frozen=True)
class Tried:
    """Sentences on which logits are compared, at the positions that predict their answers."""

    tokens: Int[Tensor, "prompt position"]
    positions: Int[Tensor, "prompt place"]

    @classmethod
    def of(cls, corpus: Corpus, n: int) -> "Tried":
        """A seeded sample of n questions, of all facts in all languages."""
        fact, language = crossed(np.flatnonzero(corpus.world.complete), corpus.world.n_languages)
        chosen = generator(0, "prompts tried").permutation(len(fact))[:n]
        asked = corpus.sequences(fact[chosen], language[chosen])
        place = np.arange(max(int(asked.answer_length.max()), 1))
        last = np.maximum(asked.answer_length, 1)[:, None] - 1
        positions = asked.prompt_length[:, None] - 1 + np.minimum(place, last)
        return cls(torch.as_tensor(asked.tokens), torch.as_tensor(positions))

    def logits(self, act_fn: str, parameters: Parameters) -> Tensor:
        """Of the model of these parameters."""
        return logits(joined(parameters, act_fn), self.tokens, self.positions)


def model_of(run: Run, most: int) -> Shown:
    """The page's model of a run: at most so many checkpoints, fewer where they would be too long.

    Args:
        run: a run with checkpoints.
        most: the most checkpoints; 0: none.
    """
    asked = min(most, MOST_CHECKPOINTS, len(run.steps))
    if not asked:
        return NO_MODEL
    n, weights = asked, 0
    while n:
        chosen = story_steps(run.steps, run.rows, n)
        parameters = {step: load(run.read_checkpoint(step)[0]) for step in chosen}
        weights = sum(tensor.numel() for tensor in parameters[chosen[0]].values())
        if weights > MOST_TEXT:  # a weight takes a character at the least
            break
        shown = packed(run.corpus, run.config.model, run.environment["n_ctx"], parameters)
        size = len(shown["weights"])
        if size <= MOST_TEXT:
            fewer = f"{n} of {asked} checkpoints: more would make the page too large." if n < asked else ""
            return {**shown, "note": fewer}
        n = min(n - 1, int(n * MOST_TEXT / size))
    note = f"The model has {weights:,} parameters: too many for a page. It runs in a notebook: Run(...).model(-1)."
    return {"description": {}, "weights": "", "note": note}


def story_steps(steps: Sequence[int], rows: Sequence[Mapping[str, object]], n: int) -> list[int]:
    """n checkpoints spread evenly over the story, the first and the last among them.

    Half of the distance between two neighbours is that both are saved steps; the other half is how far recall and
    transfer move in between. So no phase is left out, and the rises are seen best.

    Args:
        steps: the saved steps.
        rows: the evaluations.
        n: how many to choose; one: the last.
    """
    if n >= len(steps) or len(steps) < 2:
        return list(steps)
    if n == 1:
        return [steps[-1]]
    by_step = {row["step"]: row for row in rows}
    curves = [[by_step.get(step, {}).get(name) for step in steps] for name in ("recall_accuracy", "transfer_accuracy")]
    moved = np.nansum([np.abs(np.diff(np.array(curve, dtype=float))) for curve in curves], axis=0)
    even = np.full(len(steps) - 1, 1 / (len(steps) - 1))
    distance = even if moved.sum() == 0 else (even + moved / moved.sum()) / 2
    place = np.concatenate([[0.0], np.cumsum(distance)])
    chosen = {0, len(steps) - 1}
    for target in np.linspace(0, 1, n)[1:-1]:
        free = [at for at in range(len(steps)) if at not in chosen]
        chosen.add(min(free, key=lambda at: abs(place[at] - target)))
    return [steps[at] for at in sorted(chosen)]


def packed(corpus: Corpus, config: ModelConfig, n_ctx: int, checkpoints: Mapping[int, Mapping[str, Tensor]]) -> Shown:
    """A corpus and its checkpoints for the page; a checkpoint whose logits are not finite is left out.

    Args:
        corpus: what the model was trained on.
        config: of the model.
        n_ctx: the number of its positions.
        checkpoints: named parameters by step, in order.
    """
    tried, few = Tried.of(corpus, TRIED), Tried.of(corpus, DERIVED)
    coded, before = {}, None
    for step, parameters in checkpoints.items():
        exact = {name: parameters[name].float() for name in sorted(parameters)}
        with torch.no_grad():
            finite = bool(few.logits(config.act_fn, exact).isfinite().all())
        if finite:
            one = code(exact, before, partial(tried.logits, config.act_fn), partial(few.logits, config.act_fn))
            coded[step], before = one, one.decoded
    description = {
        "steps": list(coded),
        "grids": [list(one.grids.values()) for one in coded.values()],
        "bytes": [[len(plane) for plane in one.planes] for one in coded.values()],
        "errors": [float(f"{one.error:.2g}") for one in coded.values()],
        "tensors": [[name, list(tensor.shape)] for name, tensor in (before or {}).items()],
        "layers": config.n_layers,
        "heads": config.n_heads,
        "width": config.d_model,
        "hidden": config.d_mlp,
        "activation": config.act_fn,
        "eps": EPS,
        "context": n_ctx,
        "tried": len(tried.tokens),
        "tokenizer": {**_tokenizer(corpus), **_texts(corpus)},
        **_told(corpus),
    }
    planes = b"".join(plane for one in coded.values() for plane in one.planes)
    return {"description": description, "weights": as_text(planes), "note": ""}


def _tokenizer(corpus: Corpus) -> Json:
    """The pieces by number, the merges of BPE, and whether words are spelled as bytes."""
    content = json.loads(corpus.tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    steps = [part["type"] for part in content["pre_tokenizer"].get("pretokenizers", [content["pre_tokenizer"]])]
    marked = content["model"].get("continuing_subword_prefix") == CONTINUES and not content["normalizer"]
    if not marked or steps not in (["WhitespaceSplit"], ["WhitespaceSplit", "ByteLevel"]):  # of a file
        return _ready(corpus)
    spelled = any(part["type"] == "ByteLevel" for part in content["pre_tokenizer"].get("pretokenizers", ()))
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in content["model"].get("merges", ())]
    return {
        "pieces": sorted(vocabulary, key=vocabulary.__getitem__),
        "merges": merges if content["model"]["type"] == "BPE" else None,
        "bytes": spelled,
        "continues": CONTINUES,
        "special": len(SPECIAL),
        "bos": BOS_ID,
        "eos": EOS_ID,
    }


def _texts(corpus: Corpus) -> Json:
    """The tokens as a person reads them, where that is not how they are stored (bytes)."""
    texts = token_texts(corpus.tokenizer)
    vocabulary = corpus.tokenizer.get_vocab()
    return {} if all(texts[number] == token for token, number in vocabulary.items()) else {"texts": texts}


def _ready(corpus: Corpus) -> Json:
    """A ready tokenizer: its tokens, and how it cuts the words of the corpus; the page cuts no others."""
    vocabulary = corpus.tokenizer.get_vocab()
    parts = sorted({part for word in corpus.lexicon.words.tolist() for part in word.split()})
    cut = corpus.tokenizer.encode_batch(parts, add_special_tokens=False)
    return {
        "pieces": sorted(vocabulary, key=vocabulary.__getitem__),
        "merges": None,
        "parts": [[part, one.ids] for part, one in zip(parts, cut, strict=True)],
        "bytes": False,
        "continues": CONTINUES,
        "special": len(SPECIAL),
        "bos": BOS_ID,
        "eos": EOS_ID,
    }


def _told(corpus: Corpus) -> dict[str, object]:
    """Words, right answers, and what training tells; of large worlds a seeded sample of entities."""
    world, lexicon = corpus.world, corpus.lexicon
    rng = generator(0, "entities of the page")
    entities = np.sort(rng.permutation(world.n_entities)[:MOST_ENTITIES])
    row = np.full(world.n_entities, -1)
    row[entities] = np.arange(len(entities))
    shown = np.flatnonzero(row[world.entity] >= 0)
    value = np.full((len(entities), world.n_relations, world.n_languages), -1)
    told = np.zeros((len(entities), world.n_relations), dtype=int)
    cell = row[world.entity[shown]], world.relation[shown]
    value[cell] = world.value[shown]
    told[cell] = corpus.mixture.told[shown] @ (1 << np.arange(world.n_languages))
    seen = np.flatnonzero((world.seen & world.complete)[shown])
    words = np.append(lexicon.words, "").astype(object)
    mono = np.flatnonzero((corpus.mixture.mono & world.complete)[shown])
    return {
        "languages": lexicon.language_names,
        "relation_first": lexicon.relation_first.tolist(),
        "tags": words[lexicon.tags].tolist() if len(lexicon.tags) else [],
        "names": words[lexicon.names[entities]].T.tolist(),
        "relations": words[lexicon.relation_words].T.tolist(),
        "values": words[lexicon.value_words].tolist(),
        "value": np.moveaxis(value, 2, 0).reshape(world.n_languages, -1).tolist(),
        "told": told.ravel().tolist(),
        "all_entities": world.n_entities,
        "ends": corpus.answers_end_with_eos,
        "first": (cell[0] * world.n_relations + cell[1])[mono[:1] if len(mono) else seen[:1]].tolist(),
        "compared": _sampled(seen, cell, world.n_relations, rng),
    }


def _sampled(
    seen: Int[np.ndarray, " fact"], cell: tuple[np.ndarray, np.ndarray], n_relations: int, rng: np.random.Generator
) -> list[int]:
    """The facts that a question's vector is compared with, as entity * relations + relation."""
    chosen = np.sort(rng.permutation(seen)[:NEIGHBOURS])
    return (cell[0][chosen] * n_relations + cell[1][chosen]).tolist()
