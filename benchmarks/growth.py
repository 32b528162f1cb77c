"""How time grows with entities, d_model, context length and languages; each with a fitted exponent.

    python -m benchmarks.growth AXIS SIZE

prints the seconds of each part for one size; each call is a separate process.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import exponent, finished, table
from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.model.hooked import build_model
from mechxl.model.weights import pack, weights_of
from mechxl.run import facts_table
from mechxl.training.batches import TrainingBatches
from mechxl.training.loop import batch_losses
from mechxl.training.memory import kept_memory
from mechxl.training.metrics import Evaluation
from mechxl.training.products import quick_products

LONG_NAMES = {"name_syllables": 64, "name_length": 3}
SIZES: dict[str, list[int]] = {
    "entities": [1000, 3000, 10_000, 30_000, 100_000],
    "d_model": [64, 128, 256, 512],
    "context": [12, 15, 18, 21, 24],
    "languages": [2, 4, 8],
}
SETTINGS: dict[str, Callable[[int], dict[str, Any]]] = {
    "entities": lambda n: {"world": {"n_entities": n}, "languages": LONG_NAMES},
    "d_model": lambda d: {"model": {"d_model": d, "d_mlp": 4 * d, "n_heads": d // 32}},
    # characters: BOS, three a syllable of the name, three of the relation word, three of the value word, less the last
    "context": lambda n: {
        "tokenization": {"kind": "character"},
        "languages": {"name_length": (n - 6) // 3, "name_syllables": 40},
    },
    "languages": lambda n: {"languages": {"count": n}},
}
STEPS = 60
REPEATS = 3


def growth(quick: bool) -> str:
    """One table for each axis: the seconds of each part, and their exponents."""
    text = [
        "Seconds of set-up parts and milliseconds of a training step, one thread, "
        f"{1 if quick else REPEATS} processes each (medians); the exponent is the slope of log time over log size. "
        "`entities`: names "
        "of three syllables out of 64 at every size, so that shapes are equal. Evaluation asks 8,192 questions, the "
        "last one all there are."
    ]
    for axis, sizes in SIZES.items():
        sizes = sizes[:2] if quick else sizes
        seconds = {size: _median([_measured(axis, size) for _ in range(1 if quick else REPEATS)]) for size in sizes}
        rows = [
            (part, *(f"{seconds[size][part]:,.3g}" for size in sizes), _slope(seconds, sizes, part))
            for part in seconds[sizes[0]]
        ]
        labels = [f"{seconds[size]['positions']:.0f}" if axis == "context" else f"{size:,}" for size in sizes]
        text.append(table((axis, *labels, "exponent"), [row for row in rows if row[0] != "positions"]))
    return "\n\n".join(text)


def _measured(axis: str, size: int) -> dict[str, float]:
    return json.loads(finished("benchmarks.growth", axis, str(size), threads=1).out)


def _median(repeats: list[dict[str, float]]) -> dict[str, float]:
    return {part: sorted(one[part] for one in repeats)[len(repeats) // 2] for part in repeats[0]}


def _slope(seconds: dict[int, dict[str, float]], sizes: list[int], part: str) -> str:
    return f"{exponent(sizes, [seconds[size][part] for size in sizes]):.2f}"


def parts(config: RunConfig) -> dict[str, float]:
    """Seconds of each part of a training's set-up and evaluation, and milliseconds of a step."""
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        seconds[name] = time.perf_counter() - started
        return result

    training = config.training
    corpus = timed("set-up: world, languages, mixture, tokenizer", lambda: build_corpus(config))
    timed("set-up: digest", lambda: corpus.digest)
    with tempfile.TemporaryDirectory() as folder:
        timed("set-up: facts.parquet", lambda: facts_table(corpus).to_parquet(Path(folder) / "facts.parquet"))
    batches = timed(
        "set-up: batches", lambda: TrainingBatches(corpus, training.objective, training.batch_size, 0, "cpu")
    )
    evaluation = timed("set-up: evaluation", lambda: Evaluation(corpus, training.evaluate_items, 0, "cpu"))
    seconds["set-up: all"] = sum(seconds.values())
    positions = batches.tokens.shape[1]
    model = build_model(config.model, corpus.tokenizer, positions + 2, 0)
    with quick_products(), kept_memory():
        evaluation.row(model)
        timed("an evaluation", lambda: evaluation.row(model))
        timed("the last evaluation", lambda: evaluation.row(model, everything=True))
        packed = pack(weights_of(model))
        optimizer = torch.optim.AdamW([packed.vector], lr=1e-3, fused=True)

        def steps(first: int, last: int) -> None:
            for number in range(first, last):
                optimizer.zero_grad(set_to_none=False)
                batch_losses(packed.weights, batches[number])[0].backward()
                optimizer.step()

        steps(0, 10)
        timed("a step, ms", lambda: steps(10, 10 + STEPS))
    seconds["a step, ms"] *= 1000 / STEPS
    return seconds | {"positions": positions}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("axis", choices=list(SIZES))
    parser.add_argument("size", type=int)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(parts(parse_config(SETTINGS[options.axis](options.size)))))
