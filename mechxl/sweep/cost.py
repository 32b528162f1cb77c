"""What a run costs on this machine: a few updates and one evaluation are timed in memory, and nothing is written."""

import io
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import safetensors.torch
import torch

from mechxl.config import RunConfig
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.model.members import join
from mechxl.model.parameters import initial_parameters
from mechxl.model.weights import Packed, joined, named, pack
from mechxl.run import facts_table
from mechxl.training.batches import TrainingBatches
from mechxl.training.device import exact_products, pick_device
from mechxl.training.loop import adamw_step, batch_losses
from mechxl.training.members import MemberQuestions
from mechxl.training.memory import kept_memory
from mechxl.training.metrics import Evaluation
from mechxl.training.products import quick_products
from mechxl.training.pull import pull_of
from mechxl.training.record import longest_sentence
from mechxl.training.stepper import Stepper

SECONDS = 0.4  # of timed updates
FEWEST = 3  # of them
WARM_UP, MOST = 2, 1000  # updates
OTHER_FILES = 8_000  # bytes of settings, environment and COMPLETE, and of a checkpoint's header


@dataclass(frozen=True)
class Cost:
    """What runs of one shape cost, together if they train together.

    Attributes:
        seconds: from the first update to the last file.
        setup: seconds before that, for each run.
        megabytes: on disk, for each run.
    """

    seconds: float
    setup: float
    megabytes: float


def cost(config: RunConfig, together: int = 1) -> Cost:
    """What a run costs alone on one thread, or what several like it cost that train together."""
    training, started = config.training, time.perf_counter()
    device = pick_device(training.device, training.precision)
    corpus = build_corpus(config)
    n_ctx, d_vocab = longest_sentence(corpus), corpus.tokenizer.get_vocab_size()
    parameters = initial_parameters(config.model, d_vocab, n_ctx, config.seeds.init, training.precision, "cpu")
    packed = pack(joined(parameters, config.model.act_fn))
    evaluation = Evaluation(corpus, training.evaluate_items, config.seeds.order, "cpu")
    setup = time.perf_counter() - started
    row = evaluation.row(packed.weights)
    due = {*range(0, training.steps + 1, training.evaluate_every), *training.checkpoint_steps(), training.steps}
    if together > 1 or device.startswith("cuda"):
        update, evaluate = _together(config, corpus, packed, evaluation, together, device)
    else:
        update, evaluate = _alone(config, corpus, packed, evaluation)
    return Cost(update * training.steps + evaluate * len(due), setup, _megabytes(config, corpus, packed, row, len(due)))


def _alone(config: RunConfig, corpus: Corpus, packed: Packed, evaluation: Evaluation) -> tuple[float, float]:
    """Seconds of an update and of an evaluation of one run on one thread."""
    training = config.training
    batches = TrainingBatches(corpus, training.objective, training.batch_size, config.seeds.order, "cpu")
    pull, moments = pull_of(config, corpus, "cpu"), dict[str, torch.Tensor]()
    step = 0

    def update() -> None:
        nonlocal step
        packed.gradient.zero_()
        loss, _ = batch_losses(packed.weights, batches[step])
        (loss + pull.loss(packed.weights, step) if pull else loss).backward()
        adamw_step(packed, moments, training, training.learning_rate)
        step += 1

    threads = torch.get_num_threads()
    torch.set_num_threads(training.threads or 1)
    try:
        with quick_products(), kept_memory():
            return _timed(update, "cpu"), _timed(lambda: evaluation.row(packed.weights), "cpu", most=1)
    finally:
        torch.set_num_threads(threads)


def _together(
    config: RunConfig, corpus: Corpus, packed: Packed, evaluation: Evaluation, together: int, device: str
) -> tuple[float, float]:
    """Seconds of an update and of an evaluation of runs that train together."""
    training = config.training.model_copy(update={"steps": max(config.training.steps, MOST + WARM_UP)})
    batches = TrainingBatches(corpus, training.objective, training.batch_size, config.seeds.order, "cpu")
    pull, members = pull_of(config, corpus, "cpu"), join([packed.weights] * together, device)
    questions = MemberQuestions([evaluation] * together, False, device)
    with exact_products(device), kept_memory():
        each = ([batches] * together, [training] * together, device, [None] * together)
        stepper = Stepper(members, *each, compiled=False, pulls=[pull] * together if pull else ())
        with closing(stepper):
            return _timed(stepper.update, device), _timed(lambda: questions.ask(members), device, most=1)


def _timed(act: Callable[[], object], device: str, most: int = MOST) -> float:
    """Seconds of an act, by the mean over as many as the time allows."""
    for _ in range(min(most, WARM_UP)):
        act()
    _wait_for(device)
    count, started = 0, time.perf_counter()
    while count < most and (count < FEWEST or time.perf_counter() - started < SECONDS):
        act()
        count += 1
        if count % 10 == 0:
            _wait_for(device)
    _wait_for(device)
    return (time.perf_counter() - started) / count


def _wait_for(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _megabytes(config: RunConfig, corpus: Corpus, packed: Packed, row: object, evaluations: int) -> float:
    """What a complete run has on disk."""
    parameters = {name: tensor.detach().contiguous().clone() for name, tensor in named(packed.weights).items()}
    checkpoint = len(safetensors.torch.save(parameters))
    facts = io.BytesIO()
    facts_table(corpus).to_parquet(facts, index=False)
    rows = evaluations * len(json.dumps(row, ensure_ascii=False))
    tokenizer = len(corpus.tokenizer.to_str(pretty=True).encode())
    parts = (len(config.training.checkpoint_steps()) * checkpoint, facts.tell(), rows, tokenizer, OTHER_FILES)
    return sum(parts) / 1e6
