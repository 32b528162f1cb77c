"""The training loop: optimizer, schedule, evaluation, checkpoints, resume."""

import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mechxl.config import RunConfig, TrainingConfig
from mechxl.data.corpus import Corpus
from mechxl.data.information import mean_visits
from mechxl.data.tokenization import PAD_ID
from mechxl.errors import Failure, InputError
from mechxl.files import read_json, read_rows, whole_file, write_json, write_text
from mechxl.model.forward import logits
from mechxl.model.hooked import build_model, save_model
from mechxl.model.weights import Weights, pack
from mechxl.run import Run
from mechxl.training.batches import Batch, Batches
from mechxl.training.claim import Plan, claim, environment
from mechxl.training.memory import kept_memory
from mechxl.training.metrics import Evaluation
from mechxl.training.products import quick_products
from mechxl.training.progress import Progress


def train_run(
    config: RunConfig, out: str | Path, *, resume: bool = False, overwrite: bool = False, quiet: bool = False
) -> Run:
    """Trains a run and returns it; an existing complete run with the same settings is returned as it is.

    On the CPU, equal seeds give bit-identical checkpoints on one machine (same threads and versions), and so does a
    run that was stopped anywhere and resumed.

    Args:
        config: the settings.
        out: the run's directory.
        resume: go on from the newest state of a run that was stopped; where there is no run yet, one is begun.
        overwrite: replace a run at `out`, once the new one is under way.
        quiet: no progress bar and no messages.

    Example:
        >>> from mechxl import RunConfig
        >>> from mechxl.config import TrainingConfig, WorldConfig
        >>> training = TrainingConfig(steps=60, checkpoints=6, warmup_steps=10)
        >>> run = train_run(RunConfig(world=WorldConfig(n_entities=60), training=training), "runs/tiny", quiet=True)
        >>> run.metrics["recall_accuracy"].iloc[-1]

    Raises:
        InputError: settings that can't hold, `out` can't be written, is no run, is another run, or has a trainer at
            work.
        Failure: the loss is no longer finite.
        KeyboardInterrupt: stopped by Ctrl-C, with everything saved.
    """
    started = time.perf_counter()
    threads = torch.get_num_threads()
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    try:
        claimed = claim(config, Path(out), resume=resume, overwrite=overwrite, quiet=quiet)
        with claimed as plan, quick_products(), kept_memory():
            if plan.corpus is not None:
                _Trainer(config, plan, plan.corpus, started, quiet).train()
            place = plan.place
    finally:
        torch.set_num_threads(threads)
    return Run(_near(place))


def pick_device(name: str) -> str:
    """The torch device of a `training.device` setting.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"training.device = {name}: can't be used here ({reason}); the nearest that works: auto"
        ) from None
    return name


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of the update that follows `step` updates: linear warm-up, then constant or a cosine that ends at 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def batch_losses(weights: Weights, batch: Batch) -> tuple[Tensor, Tensor]:
    """(the loss that is trained, the answers' part of it): summed over tokens, averaged over sentences, in nats."""
    scores = logits(weights, batch.tokens, batch.positions, batch.common)
    by_token = F.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=PAD_ID, reduction="none")
    answers = (by_token.detach() * batch.is_answer.flatten()).sum() / len(batch.tokens)
    return by_token.sum() / len(batch.tokens), answers


class _Trainer:
    """One training at work in a claimed directory."""

    def __init__(self, config: RunConfig, plan: Plan, corpus: Corpus, started: float, quiet: bool) -> None:
        training, seeds = config.training, config.seeds
        self.config, self.corpus, self.plan, self.started, self.quiet = config, corpus, plan, started, quiet
        self.device = pick_device(training.device)
        n_ctx = _longest(corpus)
        self.model = build_model(config.model, corpus.tokenizer, n_ctx, seeds.init, training.precision, self.device)
        self.packed = pack(self.model)
        self.optimizer = torch.optim.AdamW(
            [self.packed.vector],
            lr=training.learning_rate,
            betas=training.betas,
            weight_decay=training.weight_decay,
            fused=True,
        )
        self.batches = Batches(corpus, training.objective, training.batch_size, seeds.order, self.device)
        self.evaluation = Evaluation(corpus, training.evaluate_items, seeds.order, self.device)
        self.checkpoints = set(training.checkpoint_steps())
        self.step, self.losses = 0, torch.zeros(2, dtype=torch.float64, device=self.device)
        self.since, self.earlier = 0, 0.0
        self.environment = environment(n_ctx=n_ctx, device=self.device, data_digest=corpus.digest)

    def train(self) -> None:
        run = Run(self.plan.directory)
        if self.plan.resume:
            self._load(run)
        else:
            write_json(run.file("environment.json"), self.environment)
            self._evaluate(run)
            self._checkpoint(run)
            run = Run(self.plan.move_into_place())
        steps = self.config.training.steps
        with _stop_after_step() as stop, Progress(self.plan.out, steps, self.step, self.quiet) as progress:
            progress.show(self.step, self.row)
            while self.step < steps:
                self._update()
                if self.step % self.config.training.evaluate_every == 0 or self.step in self.checkpoints:
                    self._evaluate(run)
                    progress.show(self.step, self.row)
                if self.step in self.checkpoints:
                    self._checkpoint(run)
                elif self.step % 10 == 0:
                    progress.advance(self.step)
                if stop and self.step < steps:
                    self._save(run)
                    raise KeyboardInterrupt(
                        f"{self.plan.out}: stopped at step {self.step:,} of {steps:,}, all saved; go on with "
                        f"python -m mechxl.train --out {self.plan.out} --resume"
                    )
        self.environment["wall_seconds"] = self._seconds()
        write_json(run.file("environment.json"), self.environment)
        write_text(run.file("COMPLETE"), f"{steps}\n")
        run.file("resume.safetensors").unlink(missing_ok=True)
        progress.summary(self.row, self._seconds())

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.training, self.step)
        self.optimizer.zero_grad(set_to_none=False)  # the weights' gradients are views of it
        loss, answers = batch_losses(self.packed.weights, self.batches[self.step])
        loss.backward()
        self.optimizer.step()
        self.losses += torch.stack([loss.detach(), answers])
        self.step += 1
        self.since += 1

    def _evaluate(self, run: Run) -> None:
        training = self.config.training
        visits = mean_visits(self.corpus, self.step * training.batch_size)
        self.row: dict[str, Any] = {
            "step": self.step,
            **self.evaluation.row(self.model, everything=self.step == training.steps),
        }
        if not (math.isfinite(self.row["loss"]) and self.losses.isfinite().all()):
            raise Failure(
                f"{self.plan.out}: the loss is {self.row['loss']:g} at step {self.step:,}, training has diverged; "
                f"lower training.learning_rate ({training.learning_rate:g}) or raise training.warmup_steps, with "
                "--overwrite"
            )
        if self.since:
            trained, answers = (self.losses / self.since).tolist()
            self.row |= {"train_loss": trained, "train_answer_loss": answers}
        for name, mean in (("mono_visits", visits.mono), ("parallel_visits", visits.parallel)):
            if not math.isnan(mean):
                self.row[name] = mean
        with run.file("metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.row, ensure_ascii=False, allow_nan=False) + "\n")
        self.losses.zero_()
        self.since = 0

    def _checkpoint(self, run: Run) -> None:
        run.file("checkpoints").mkdir(exist_ok=True)
        with whole_file(run.checkpoint(self.step)) as path:
            save_model(self.model, path)
        self._save(run)

    def _save(self, run: Run) -> None:
        """Everything that training goes on from, as one file and one move."""
        vector = self.packed.vector
        tensors = {"losses": self.losses, "parameters": vector.detach(), **self.optimizer.state[vector]}
        state = {"step": self.step, "since": self.since, "seconds": self._seconds()}
        with whole_file(run.file("resume.safetensors")) as path:
            save_file(tensors, path, {"state": json.dumps(state)})

    def _load(self, run: Run) -> None:
        path = run.file("resume.safetensors")
        try:
            with safe_open(path, "pt", device=self.device) as saved:
                state = json.loads(saved.metadata()["state"])
                vector = self.packed.vector
                vector.data.copy_(saved.get_tensor("parameters"))
                kept = {"step", "exp_avg", "exp_avg_sq"} & set(saved.keys())
                self.optimizer.state[vector] = {key: saved.get_tensor(key) for key in kept}
                self.losses.copy_(saved.get_tensor("losses"))
        except Exception as error:
            raise InputError(f"{path}: can't be read ({error}); begin anew with --overwrite") from error
        self.step, self.since, self.earlier = state["step"], state["since"], state["seconds"]
        rows = [row for row in read_rows(run.file("metrics.jsonl")) if row["step"] <= self.step]
        if not rows:
            raise InputError(
                f"{run.file('metrics.jsonl')}: has no row up to step {self.step}; begin anew with --overwrite"
            )
        self.environment |= {"resumed_at": [*read_json(run.file("environment.json")).get("resumed_at", []), self.step]}
        write_json(run.file("environment.json"), self.environment)
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        write_text(run.file("metrics.jsonl"), text)
        self.row = rows[-1]

    def _seconds(self) -> float:
        return round(self.earlier + time.perf_counter() - self.started, 2)


def _longest(corpus: Corpus) -> int:
    """Tokens of the longest sentence of any fact in any language, tag and EOS included: the model's context."""
    parts = [corpus.lexicon.tags, corpus.lexicon.names, corpus.lexicon.relation_words, corpus.lexicon.value_words]
    tokens = (corpus.word_tokens >= 0).sum(axis=1)
    return 2 + sum(int(tokens[words[words >= 0]].max(initial=0)) for words in parts)


def _near(place: Path) -> Path:
    """A path as seen from the working directory where that is still there and holds it."""
    try:
        return place.relative_to(Path.cwd())
    except (ValueError, FileNotFoundError):
        return place


@contextmanager
def _stop_after_step() -> Iterator[list[int]]:
    """Ctrl-C fills the list that is yielded, for the loop to stop cleanly; a second Ctrl-C stops at once."""
    stop: list[int] = []

    def handler(number: int, frame: Any) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.append(number)
        print("stopping after this step; Ctrl-C again to stop at once", file=sys.stderr)

    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread: signals are not ours
        yield stop
        return
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
