"""Training and its peers at the default run's shapes; every function returns examples a second.

    python -m benchmarks.peers NAME [--threads N] [--steps N]

prints one number. Each peer runs in a separate process, so that none inherits another's settings or memory.
(On a GPU, benchmarks/gpu.py calls two of them in its own process, since there is little time.)
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from mechxl.config import RunConfig
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.model.hooked import build_model
from mechxl.model.weights import pack, weights_of
from mechxl.training.batches import TrainingBatches
from mechxl.training.loop import batch_losses, train_run
from mechxl.training.memory import kept_memory
from mechxl.training.products import quick_products

CONFIG = RunConfig()
SIZE = CONFIG.training.batch_size
WARM_UP = 20


def whole_run(steps: int) -> float:
    """`train_run` as a user calls it: set-up of data and model, batches, evaluation, checkpoints."""
    config = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"steps": steps})})
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        train_run(config, Path(folder) / "run", quiet=True)
        return steps * SIZE / (time.perf_counter() - started)


def steps_alone(steps: int) -> float:
    """The same steps without evaluation and checkpoints."""
    batches, step = lean_step()
    with quick_products(), kept_memory():
        return _rate(lambda number: step(batches[number]), steps)


def hooked_loop(steps: int) -> float:
    """A fast loop on a HookedTransformer: ready batches, inputs without the answer, fused AdamW, no evaluation."""
    corpus, batches = _corpus_and_batches()
    model = build_model(CONFIG.model, corpus.tokenizer, batches.tokens.shape[1] + 2, 0)
    step = hooked_step(model)
    return _rate(lambda number: step(batches[number]), steps)


def transformer_lens_train(steps: int, device: str = "cpu") -> float:
    """`transformer_lens.train.train` on the same sentences without EOS: no longer than needed to hold the answers."""
    from transformer_lens.train import HookedTransformerTrainConfig, train

    corpus, batches = _corpus_and_batches()
    rows = torch.cat([torch.as_tensor(batches.rows(number)) for number in range(steps)])
    data = Sentences(torch.cat([batches.tokens[rows], batches.targets[rows]], dim=1))
    model = build_model(CONFIG.model, corpus.tokenizer, data.tokens.shape[1], 0, device=device)
    training = CONFIG.training
    config = HookedTransformerTrainConfig(
        num_epochs=1,
        batch_size=SIZE,
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        warmup_steps=training.warmup_steps,
        device=device,
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        started = time.perf_counter()
        train(model, config, data)
        wait_for(device)
        return steps * SIZE / (time.perf_counter() - started)


def graphed_hooked_loop(steps: int, device: str = "cuda") -> float:
    """The fastest loop on a HookedTransformer: loss compiled, the whole update a CUDA graph, batches on the GPU.

    On the CPU, where it is only checked that it trains, nothing is compiled or captured.
    """
    corpus, batches = _corpus_and_batches(device)
    model = build_model(CONFIG.model, corpus.tokenizer, batches.tokens.shape[1] + 2, 0, device=device)
    on_gpu = device.startswith("cuda")
    optimizer = _adamw(list(model.parameters()), capturable=on_gpu)
    assert batches.fixed is not None
    asked = batches.fixed
    drawn = torch.as_tensor(np.stack([batches.rows(number) for number in range(max(steps, WARM_UP))]), device=device)
    rows = drawn[0].clone()  # the graph reads its memory

    def loss() -> Tensor:
        logits = model(batches.tokens[rows])[:, asked]
        return F.cross_entropy(logits.flatten(0, 1), batches.targets[rows].flatten())

    loss_of_rows = torch.compile(loss) if on_gpu else loss

    def update() -> None:
        optimizer.zero_grad()
        loss_of_rows().backward()
        optimizer.step()

    replay = _captured(update) if on_gpu else update

    def step(number: int) -> None:
        rows.copy_(drawn[number])
        replay()

    return _rate(step, steps, device)


def plain_products(steps: int) -> float:
    """The matrix products of the hooked forward and its backward, and nothing else."""
    corpus, batches = _corpus_and_batches()
    model = build_model(CONFIG.model, corpus.tokenizer, batches.tokens.shape[1] + 2, 0)
    return _replayed(lambda: hooked_step(model)(batches[0]), steps)


def lean_products(steps: int) -> float:
    """The matrix products of the lean forward and its backward, and nothing else."""
    batches, step = lean_step()
    return _replayed(lambda: step(batches[0]), steps)


PEERS: dict[str, Callable[[int], float]] = {
    peer.__name__: peer
    for peer in (whole_run, steps_alone, hooked_loop, transformer_lens_train, plain_products, lean_products)
}


def lean_step() -> tuple[TrainingBatches, Callable[[Any], None]]:
    """The default run's batches, and a function that trains on one batch."""
    corpus, batches = _corpus_and_batches()
    packed = pack(weights_of(build_model(CONFIG.model, corpus.tokenizer, batches.tokens.shape[1] + 2, 0)))
    optimizer = _adamw([packed.vector])

    def step(batch: Any) -> None:
        optimizer.zero_grad(set_to_none=False)
        loss, _ = batch_losses(packed.weights, batch)
        loss.backward()
        optimizer.step()

    return batches, step


def hooked_step(model: Any) -> Callable[[Any], None]:
    """One step of the fast loop on a HookedTransformer."""
    optimizer = _adamw(list(model.parameters()))

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        logits = model(batch.tokens)[:, batch.positions]
        F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()).backward()
        optimizer.step()

    return step


class Sentences(Dataset):
    """Sentences in the form that `transformer_lens.train.train` needs."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"tokens": self.tokens[index]}


class Products(TorchDispatchMode):
    """Records the matrix products inside its context: operators and operands."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[tuple[Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        if func in (aten.mm.default, aten.bmm.default):
            self.recorded.append((func, [a.detach().clone(memory_format=torch.preserve_format) for a in args]))
        elif func in (aten.addmm.default, aten.baddbmm.default):
            product = aten.mm.default if func == aten.addmm.default else aten.bmm.default
            self.recorded.append((product, [a.detach().clone(memory_format=torch.preserve_format) for a in args[1:]]))
        return func(*args, **(kwargs or {}))


def _replayed(step: Callable[[], None], steps: int) -> float:
    with Products() as products:
        step()

    def replay(_: int) -> None:
        for func, operands in products.recorded:
            func(*operands)

    with torch.no_grad(), quick_products(), kept_memory():  # the faster library, since this is a lower bound
        return _rate(replay, steps)


def wait_for(device: str) -> None:
    """Returns when all that a GPU was told to do is done; the CPU never lags behind."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _captured(update: Callable[[], None]) -> Callable[[], None]:
    """An update as a CUDA graph, after the warm-up on another stream that PyTorch's documentation asks for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            update()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    return graph.replay


def _rate(step: Callable[[int], None], steps: int, device: str = "cpu") -> float:
    for number in range(WARM_UP):
        step(number)
    wait_for(device)
    started = time.perf_counter()
    for number in range(steps):
        step(number)
    wait_for(device)
    return steps * SIZE / (time.perf_counter() - started)


def _corpus_and_batches(device: str = "cpu") -> tuple[Corpus, TrainingBatches]:
    corpus = build_corpus(CONFIG)
    return corpus, TrainingBatches(corpus, CONFIG.training.objective, SIZE, CONFIG.seeds.order, device)


def _adamw(parameters: list[Any], capturable: bool = False) -> torch.optim.Optimizer:
    training = CONFIG.training
    settings = {"lr": training.learning_rate, "betas": training.betas, "weight_decay": training.weight_decay}
    return torch.optim.AdamW(parameters, fused=True, capturable=capturable, **settings)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(PEERS))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sys.stdout.write(f"{PEERS[options.name](options.steps)}\n")
