"""Processor time of a step of one run, alone and together with others in one process, on one thread of the CPU."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

import torch

from benchmarks.machine import table
from mechxl.config import RunConfig, TrainingConfig, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.model.members import join
from mechxl.model.parameters import initial_parameters
from mechxl.model.weights import Packed, joined, pack
from mechxl.training.batches import TrainingBatches
from mechxl.training.loop import adamw_step, batch_losses
from mechxl.training.memory import kept_memory
from mechxl.training.products import quick_products
from mechxl.training.record import longest_sentence
from mechxl.training.stepper import Stepper

MEMBERS = (1, 2, 4, 8, 16)
LARGE = {"model": {"d_model": 128, "d_mlp": 512}}
SMALL = {"model": {"d_model": 32, "d_mlp": 64, "n_layers": 1}, "training": {"batch_size": 64}}
CASES = {"default": {}, "d_model 128, d_mlp 512": LARGE, "1 layer, d_model 32, d_mlp 64, batch 64": SMALL}


def section(quick: bool) -> str:
    """Milliseconds of processor time of a step of one run, the median of alternating blocks."""
    turns, steps = (1, 1) if quick else (9, 32)
    columns = ("settings", "alone", *(f"{n} together" for n in MEMBERS), "best of these over alone")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = []
        for name, settings in list(CASES.items())[-1 if quick else 0 :]:
            found = _measured(parse_config(settings), turns, steps)
            alone, together = found[0], found[1:]
            rows.append((name, *(f"{each:.2f}" for each in found), f"{min(together) / alone:.2f}"))
    finally:
        torch.set_num_threads(threads)
    intro = (
        "Milliseconds of processor time a step and run, one thread, updates alone; medians of "
        f"{turns} alternating blocks. Two processes of one thread take two cores; members in one process take one."
    )
    return f"{intro}\n\n{table(columns, rows)}"


def _measured(config: RunConfig, turns: int, steps: int) -> list[float]:
    """Milliseconds a step and run: alone, then for each number of members."""
    corpus = build_corpus(config)
    n_ctx, d_vocab = longest_sentence(corpus), corpus.tokenizer.get_vocab_size()
    training = config.training

    def packed(seed: int) -> Packed:
        return pack(joined(initial_parameters(config.model, d_vocab, n_ctx, seed, "float32", "cpu"), "gelu"))

    def batches(seed: int) -> TrainingBatches:
        return TrainingBatches(corpus, training.objective, training.batch_size, seed, "cpu")

    with ExitStack() as stack:
        stack.enter_context(kept_memory())
        updates: list[tuple[int, Callable[[], None]]] = [(1, _alone(packed(0), batches(0), training))]
        for n in MEMBERS:
            members = join([packed(seed).weights for seed in range(n)], "cpu")
            draws = [batches(seed) for seed in range(n)]
            stepper = Stepper(members, draws, [training] * n, "cpu", [None] * n, False)
            stack.callback(stepper.close)
            updates.append((n, stepper.update))
        seconds: list[list[float]] = [[] for _ in updates]
        for turn in range(turns + 1):  # the first warms up
            for (n, update), found in zip(updates, seconds, strict=True):
                count, started = max(2, steps // n), time.process_time()
                for _ in range(count):
                    update()
                if turn:
                    found.append(1e3 * (time.process_time() - started) / (count * n))
    return [median(found) for found in seconds]


def _alone(packed: Packed, batches: TrainingBatches, training: TrainingConfig) -> Callable[[], None]:
    """An update of one run as `train_run` does it on the CPU."""
    moments: dict[str, torch.Tensor] = {}
    step = 0

    def update() -> None:
        nonlocal step
        packed.gradient.zero_()
        with quick_products():
            batch_losses(packed.weights, batches[step])[0].backward()
        adamw_step(packed, moments, training, training.learning_rate)
        step += 1

    return update
