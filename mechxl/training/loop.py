"""Trains one run: updates, evaluations, checkpoints. On a GPU it is an ensemble of one."""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.adamw import adamw

from mechxl.config import RunConfig, TrainingConfig
from mechxl.data.corpus import Corpus
from mechxl.data.tokenization import PAD_ID
from mechxl.model.forward import logits, residual_stream, unembedded
from mechxl.model.parameters import save_parameters
from mechxl.model.weights import Packed, Weights, named
from mechxl.run import Run
from mechxl.training.batches import TrainingBatch, TrainingBatches, mono_from
from mechxl.training.claim import Claim, claim
from mechxl.training.device import pick_device
from mechxl.training.ensemble import train_together
from mechxl.training.interrupt import interrupts
from mechxl.training.late import held, part, weight_decay
from mechxl.training.memory import kept_memory
from mechxl.training.metrics import Evaluation
from mechxl.training.products import quick_products
from mechxl.training.progress import Progress
from mechxl.training.pull import pull_of
from mechxl.training.record import Record
from mechxl.training.schedule import learning_rate
from mechxl.training.state import MOMENTS, Position, State, load_state, save_state


def train_run(
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    facts_of: Run | None = None,
) -> Run:
    """Trains a run and returns it; an existing complete run with the same settings is returned as it is.

    On the CPU, equal seeds give bit-identical checkpoints on one machine (same threads and versions), and so does a
    run that was stopped anywhere and resumed.

    Args:
        config: the settings.
        out: the run's directory.
        resume: continue a run that was stopped, from its newest state; where there is no run yet, a new one starts.
        overwrite: replace the run at `out`, as soon as the new one's first evaluation and update have succeeded.
        quiet: no progress bar and no messages.
        facts_of: a run whose facts these are too (its null's): their source is not read again. None: it is read.

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
    device = pick_device(config.training.device, config.training.precision)
    if device.startswith("cuda"):
        (ending,) = train_together([(config, out)], resume=resume, overwrite=overwrite, quiet=quiet, facts_of=facts_of)
        if ending.error:
            raise ending.error
        return Run(_relative(Path(out).resolve()))
    threads = torch.get_num_threads()
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    try:
        claiming = claim(config, Path(out), resume=resume, overwrite=overwrite, quiet=quiet, facts_of=facts_of)
        with claiming as claimed, quick_products(), kept_memory():
            if claimed.corpus is not None:
                _Trainer(config, claimed, claimed.corpus, device, started, quiet).train()
            place = claimed.place
    finally:
        torch.set_num_threads(threads)
    return Run(_relative(place))


def batch_losses(weights: Weights, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """(the loss that is trained, the answers' part of it): summed over tokens, averaged over sentences, in nats."""
    targets, is_answer = batch.targets.flatten(), batch.is_answer.flatten()
    wanted = targets != PAD_ID
    if wanted.all():
        scores = logits(weights, batch.tokens, batch.positions, batch.common).flatten(0, 1)
    else:  # answers of several lengths: only real tokens are worth a row of logits
        resid, _ = residual_stream(weights, batch.tokens, batch.positions, batch.common)
        targets, is_answer = targets[wanted], is_answer[wanted]
        scores = unembedded(weights, resid.flatten(0, 1)[wanted])
    by_token = F.cross_entropy(scores, targets, reduction="none")
    answers = (by_token.detach() * is_answer).sum() / len(batch.tokens)
    return by_token.sum() / len(batch.tokens), answers


def adamw_step(
    packed: Packed, moments: dict[str, Tensor], training: TrainingConfig, rate: float, decay: float | None = None
) -> None:
    """One update by AdamW. torch's optimizer classes do the same, and import torch's compiler, which takes a second.

    Args:
        packed: the parameters, with their gradient.
        moments: the optimizer's state; the first update begins it.
        training: gives betas and weight decay.
        rate: the learning rate.
        decay: the weight decay, where it is another one now.
    """
    vector, (beta1, beta2) = packed.vector.data, training.betas
    if not moments:
        moments |= {name: torch.zeros_like(vector) for name in MOMENTS}
        moments["step"] = torch.zeros((), device=vector.device)
    state = ([moments["exp_avg"]], [moments["exp_avg_sq"]], [], [moments["step"]])
    adamw(
        *([vector], [packed.gradient], *state),
        fused=True,
        lr=rate,
        beta1=beta1,
        beta2=beta2,
        weight_decay=training.weight_decay if decay is None else decay,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )


class _Trainer:
    """One training in a claimed directory."""

    def __init__(
        self, config: RunConfig, claimed: Claim, corpus: Corpus, device: str, started: float, quiet: bool
    ) -> None:
        training, seeds = config.training, config.seeds
        self.training, self.claimed, self.quiet = training, claimed, quiet
        self.record = Record(config, claimed, corpus, device, started)
        self.packed = self.record.initial(device)
        self.moments: dict[str, Tensor] = {}  # none before any update
        self.batches = TrainingBatches(
            corpus, training.objective, training.batch_size, seeds.order, device, mono_from(training)
        )
        self.frozen = part(self.packed.weights, training.late_frozen)
        self.pull = pull_of(config, corpus, device)
        self.evaluation = Evaluation(corpus, training.evaluate_items, seeds.order, device)
        self.checkpoints = set(training.checkpoint_steps())
        self.step = 0
        self.since_row, self.losses = 0, torch.zeros(2, dtype=torch.float64, device=device)

    def train(self) -> None:
        """Trains to the last step, or until Ctrl-C."""
        if self.claimed.resume:
            self._resume()
        else:
            self.record.begin()
            self._evaluate()
            self._save_checkpoint()
        training, out = self.training, self.claimed.out
        with interrupts() as interrupted, Progress(str(out), training.steps, self.step, self.quiet) as progress:
            progress.show(self.step, self.record.row)
            while self.step < training.steps:
                self._update()
                if not self.record.in_place:
                    self.record.move_into_place(*self.losses.tolist())
                if self.step % training.evaluate_every == 0 or self.step in self.checkpoints:
                    self._evaluate()
                    progress.show(self.step, self.record.row)
                if self.step in self.checkpoints:
                    self._save_checkpoint()
                elif self.step % 10 == 0:
                    progress.advance(self.step)
                if interrupted and self.step < training.steps:
                    self._save_state()
                    raise KeyboardInterrupt(
                        f"{out}: stopped at step {self.step:,} of {training.steps:,}, all saved; to continue, run "
                        f"python -m mechxl.train --out {out} --resume"
                    )
        self.record.finish()
        progress.summary(self.record.row, self.record.seconds)

    def _resume(self) -> None:
        """Takes up the saved state."""
        state = load_state(self.record.run.file("resume.safetensors"), self.packed.vector, self.training.steps)
        self.packed.vector.data.copy_(state.parameters)
        self.moments = dict(state.moments)
        self.losses.copy_(state.losses)
        self.step, self.since_row = state.position.step, state.position.since
        self.record.take_up(state.position.step, state.position.seconds)

    def _update(self) -> None:
        self.packed.gradient.zero_()
        loss, answers = batch_losses(self.packed.weights, self.batches[self.step])
        (loss if self.pull is None else loss + self.pull.loss(self.packed.weights, self.step)).backward()
        rate, decay = learning_rate(self.training, self.step), weight_decay(self.training, self.step)
        with held(self.frozen if self.step >= self.training.late_step else ()):
            adamw_step(self.packed, self.moments, self.training, rate, decay)
        self.losses += torch.stack([loss.detach(), answers])
        self.step += 1
        self.since_row += 1

    def _evaluate(self) -> None:
        answered = self.evaluation.row(self.packed.weights, everything=self.step == self.training.steps)
        trained, answers = self.losses.tolist()
        self.record.add_row(self.step, answered, (trained, answers), self.since_row)
        self.losses.zero_()
        self.since_row = 0

    def _save_checkpoint(self) -> None:
        self.record.add_checkpoint(self.step, lambda path: save_parameters(named(self.packed.weights), path))
        self._save_state()

    def _save_state(self) -> None:
        position = Position(self.step, self.since_row, self.record.seconds)
        state = State(position, self.packed.vector, self.moments, self.losses)
        with self.record.writing():
            save_state(self.record.run.file("resume.safetensors"), state, self.record.base())


def _relative(place: Path) -> Path:
    """The path relative to the working directory, where that still exists and contains it; else the path itself."""
    try:
        return place.relative_to(Path.cwd())
    except (ValueError, FileNotFoundError):
        return place
