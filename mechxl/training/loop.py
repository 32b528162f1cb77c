"""The training loop: learning rate, updates, evaluations, checkpoints."""

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mechxl.config import RunConfig, TrainingConfig
from mechxl.data.corpus import Corpus
from mechxl.data.information import least_loss, mean_visits
from mechxl.data.tokenization import PAD_ID
from mechxl.errors import Failure, InputError
from mechxl.files import read_json, read_rows, whole_file, write_json, write_text
from mechxl.model.forward import logits
from mechxl.model.hooked import build_model, save_model
from mechxl.model.weights import Weights, pack
from mechxl.run import Run
from mechxl.training.batches import TrainingBatch, TrainingBatches
from mechxl.training.claim import Claim, claim, environment
from mechxl.training.interrupt import interrupts
from mechxl.training.memory import kept_memory
from mechxl.training.metrics import Evaluation
from mechxl.training.products import quick_products
from mechxl.training.progress import Progress
from mechxl.training.state import Position, load_state, save_state


def train_run(
    config: RunConfig, out: str | Path, *, resume: bool = False, overwrite: bool = False, quiet: bool = False
) -> Run:
    """Trains a run and returns it; an existing complete run with the same settings is returned as it is.

    On the CPU, equal seeds give bit-identical checkpoints on one machine (same threads and versions), and so does a
    run that was stopped anywhere and resumed.

    Args:
        config: the settings.
        out: the run's directory.
        resume: continue a run that was stopped, from its newest state; where there is no run yet, a new one starts.
        overwrite: replace the run at `out`, as soon as the new one has started.
        quiet: no progress bar and no messages.

    Example:
        >>> from mechxl import RunConfig
        >>> from mechxl.config import TrainingConfig, WorldConfig
        >>> training = TrainingConfig(steps=60, checkpoints=6, warmup_steps=10)
        >>> run = train_run(RunConfig(world=WorldConfig(n_entities=60), training=training), "runs/tiny", quiet=True)
        >>> run.metrics["recall_accuracy"].iloc[-1]

    Raises:
        InputError: the settings contradict each other; or `out` can't be written, is no run, is a run with other
            settings, or is being trained by another process.
        Failure: the loss is no longer finite.
        KeyboardInterrupt: the user pressed Ctrl-C; everything is saved.
    """
    started = time.perf_counter()
    threads = torch.get_num_threads()
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    try:
        claiming = claim(config, Path(out), resume=resume, overwrite=overwrite, quiet=quiet)
        with claiming as claimed, quick_products(), kept_memory():
            if claimed.corpus is not None:
                _Trainer(config, claimed, claimed.corpus, started, quiet).train()
            place = claimed.place
    finally:
        torch.set_num_threads(threads)
    return Run(_relative(place))


def pick_device(name: str) -> str:
    """The torch device of a `training.device` setting.

    Raises:
        InputError: this machine has no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"training.device = {name}: can't be used on this machine ({reason}); the nearest that works: auto"
        ) from None
    return name


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of the update that follows `step` updates: a linear warm-up, then the schedule.

    cosine falls to 0 along half a cosine (Loshchilov and Hutter 2017). wsd stays constant until the last
    `decay_share` of the steps and then falls linearly to 0 (Hu et al. 2024, Hägele et al. 2024).
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "wsd":
        return config.learning_rate * min(1.0, (config.steps - step) / (config.decay_share * config.steps))
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def batch_losses(weights: Weights, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """(the loss that is trained, the answers' part of it): summed over tokens, averaged over sentences, in nats."""
    scores = logits(weights, batch.tokens, batch.positions, batch.common)
    by_token = F.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=PAD_ID, reduction="none")
    answers = (by_token.detach() * batch.is_answer.flatten()).sum() / len(batch.tokens)
    return by_token.sum() / len(batch.tokens), answers


class _Trainer:
    """One training in a claimed directory."""

    def __init__(self, config: RunConfig, claimed: Claim, corpus: Corpus, started: float, quiet: bool) -> None:
        training, seeds = config.training, config.seeds
        self.config, self.corpus, self.claimed, self.started, self.quiet = config, corpus, claimed, started, quiet
        self.device = pick_device(training.device)
        n_ctx = _longest_sentence(corpus)
        self.model = build_model(config.model, corpus.tokenizer, n_ctx, seeds.init, training.precision, self.device)
        self.packed = pack(self.model)
        self.optimizer = torch.optim.AdamW(
            [self.packed.vector],
            lr=training.learning_rate,
            betas=training.betas,
            weight_decay=training.weight_decay,
            fused=True,
        )
        self.batches = TrainingBatches(corpus, training.objective, training.batch_size, seeds.order, self.device)
        self.evaluation = Evaluation(corpus, training.evaluate_items, seeds.order, self.device)
        self.checkpoints = set(training.checkpoint_steps())
        self.step = 0
        self.since_row, self.losses = 0, torch.zeros(2, dtype=torch.float64, device=self.device)
        self.row: dict[str, Any] = {}  # of the last evaluation
        self.earlier_seconds = 0.0
        self.environment = environment(n_ctx, self.device, corpus.digest, least_loss(corpus))

    def train(self) -> None:
        """Trains to the last step, or until Ctrl-C."""
        run = self._resume() if self.claimed.resume else self._begin()
        training, out = self.config.training, self.claimed.out
        with interrupts() as interrupted, Progress(out, training.steps, self.step, self.quiet) as progress:
            progress.show(self.step, self.row)
            while self.step < training.steps:
                self._update()
                if self.step % training.evaluate_every == 0 or self.step in self.checkpoints:
                    self._evaluate(run)
                    progress.show(self.step, self.row)
                if self.step in self.checkpoints:
                    self._save_checkpoint(run)
                elif self.step % 10 == 0:
                    progress.advance(self.step)
                if interrupted and self.step < training.steps:
                    self._save_state(run)
                    raise KeyboardInterrupt(
                        f"{out}: stopped at step {self.step:,} of {training.steps:,}, all saved; to continue, run "
                        f"python -m mechxl.train --out {out} --resume"
                    )
        self.environment["wall_seconds"] = self._seconds()
        write_json(run.file("environment.json"), self.environment)
        write_text(run.file("COMPLETE"), f"{training.steps}\n")
        run.file("resume.safetensors").unlink(missing_ok=True)
        progress.summary(self.row, self._seconds())

    def _begin(self) -> Run:
        """Writes step 0, and moves the run into place."""
        run = Run(self.claimed.directory)
        write_json(run.file("environment.json"), self.environment)
        self._evaluate(run)
        self._save_checkpoint(run)
        return Run(self.claimed.move_into_place())

    def _resume(self) -> Run:
        """Takes up the saved state; rows of metrics after its step are dropped."""
        run = Run(self.claimed.directory)
        position = load_state(run.file("resume.safetensors"), self.packed.vector, self.optimizer, self.losses)
        self.step, self.since_row, self.earlier_seconds = position.step, position.since, position.seconds
        rows = [row for row in read_rows(run.file("metrics.jsonl")) if row["step"] <= self.step]
        if not rows:
            raise InputError(
                f"{run.file('metrics.jsonl')}: has no row up to step {self.step}; train the run again with --overwrite"
            )
        resumed_at = read_json(run.file("environment.json")).get("resumed_at", [])
        self.environment["resumed_at"] = [*resumed_at, self.step]
        write_json(run.file("environment.json"), self.environment)
        write_text(run.file("metrics.jsonl"), "".join(map(_json_line, rows)))
        self.row = rows[-1]
        return run

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.training, self.step)
        self.optimizer.zero_grad(set_to_none=False)  # the weights' gradients are views of it
        loss, answers = batch_losses(self.packed.weights, self.batches[self.step])
        loss.backward()
        self.optimizer.step()
        self.losses += torch.stack([loss.detach(), answers])
        self.step += 1
        self.since_row += 1

    def _evaluate(self, run: Run) -> None:
        """Adds a row to metrics.jsonl.

        Raises:
            Failure: the loss is no longer finite.
        """
        training = self.config.training
        self.row = {"step": self.step, **self.evaluation.row(self.model, everything=self.step == training.steps)}
        if not (math.isfinite(self.row["loss"]) and self.losses.isfinite().all()):
            raise Failure(
                f"{self.claimed.out}: the loss is {self.row['loss']:g} at step {self.step:,}, training has diverged; "
                f"lower training.learning_rate ({training.learning_rate:g}) or raise training.warmup_steps, and train "
                "again with --overwrite"
            )
        if self.since_row:
            trained, answers = (self.losses / self.since_row).tolist()
            self.row |= {"train_loss": trained, "train_answer_loss": answers}
        visits = mean_visits(self.corpus, self.step * training.batch_size)
        for name, mean in (("mono_visits", visits.mono), ("parallel_visits", visits.parallel)):
            if not math.isnan(mean):
                self.row[name] = mean
        with run.file("metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(_json_line(self.row))
        self.losses.zero_()
        self.since_row = 0

    def _save_checkpoint(self, run: Run) -> None:
        run.file("checkpoints").mkdir(exist_ok=True)
        with whole_file(run.checkpoint(self.step)) as path:
            save_model(self.model, path)
        self._save_state(run)

    def _save_state(self, run: Run) -> None:
        position = Position(self.step, self.since_row, self._seconds())
        save_state(run.file("resume.safetensors"), position, self.packed.vector, self.optimizer, self.losses)

    def _seconds(self) -> float:
        return round(self.earlier_seconds + time.perf_counter() - self.started, 2)


def _json_line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _longest_sentence(corpus: Corpus) -> int:
    """Tokens of the longest sentence of any fact in any language, tag and EOS included: the model's context length."""
    parts = [corpus.lexicon.tags, corpus.lexicon.names, corpus.lexicon.relation_words, corpus.lexicon.value_words]
    tokens = (corpus.word_tokens >= 0).sum(axis=1)
    return 2 + sum(int(tokens[words[words >= 0]].max(initial=0)) for words in parts)


def _relative(place: Path) -> Path:
    """The path relative to the working directory, where that still exists and contains it; else the path itself."""
    try:
        return place.relative_to(Path.cwd())
    except (ValueError, FileNotFoundError):
        return place
