"""Trains many runs at once on one device: each update is one batched computation for all of them.

A member's draws, initial weights and updates are those of the same run alone, within rounding. Each ends as an ordinary
run directory. On a GPU, threads make rows of metrics and files while the GPU trains on.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from mechxl.config import RunConfig
from mechxl.data.corpus import Corpus
from mechxl.errors import InputError, refuse
from mechxl.files import whole_file
from mechxl.model.members import join
from mechxl.model.parameters import save_parameters
from mechxl.model.weights import named
from mechxl.run import Run
from mechxl.training.batches import TrainingBatches, mono_from
from mechxl.training.behind import Behind
from mechxl.training.claim import Claim, claim
from mechxl.training.device import exact_products, pick_device
from mechxl.training.interrupt import interrupts
from mechxl.training.members import MemberQuestions
from mechxl.training.memory import kept_memory
from mechxl.training.metrics import Evaluation
from mechxl.training.progress import Progress
from mechxl.training.pull import pull_of
from mechxl.training.record import Record
from mechxl.training.state import Position, State, load_state, write_state
from mechxl.training.stepper import Stepper, optimizer_key

STATE_SECONDS = 10.0  # least time between two saved states
WORTH_COMPILING = 400_000  # updates of all members together: compiling takes about half a minute


@dataclass(frozen=True)
class Ending:
    """How a member ended: complete, or with an error (InputError or Failure) that names its directory."""

    out: Path
    error: Exception | None = None


def shape_key(config: RunConfig) -> tuple[object, ...]:
    """Runs with equal keys can train together: equal shapes, steps, evaluations, and device."""
    model, training, languages = config.model, config.training, config.languages
    return (
        *(model.n_layers, model.d_model, model.n_heads, model.d_mlp, model.act_fn, model.normalization),
        *(training.steps, training.batch_size, training.evaluate_every, training.checkpoints, training.objective),
        *(training.device, training.precision, training.threads),
        *((training.pull_layer, languages.count) if training.pull else ()),
        training.late_step,
        *(config.tokenization.kind, languages.name_length, languages.word_length, languages.cue),
    )


def train_together(
    runs: Sequence[tuple[RunConfig, str | Path]],
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    compiled: bool | None = None,
    stopping: Callable[[], bool] | None = None,
    facts_of: Run | None = None,
) -> list[Ending]:
    """Trains runs of one shape at once, each into a run directory of its own, and says how each ended.

    A member that diverges, or whose directory can't be written, is recorded with the reason; the others go on.

    Args:
        runs: settings and directories; all have one `shape_key`.
        resume: continue those that were stopped, from their newest states. Members at equal steps train together.
        overwrite: replace what is there.
        quiet: no progress bar.
        compiled: whether torch's compiler fuses the loss; None: on a GPU, if there is much to do.
        stopping: whether to save and stop, asked after each update; None: when the user presses Ctrl-C.
        facts_of: a run whose facts all of these are told of too: their source is not read again. None: it is read.

    Raises:
        InputError: the runs' shapes differ, or this machine lacks the device.
        KeyboardInterrupt: it was stopped; everything is saved.
    """
    if len({shape_key(config) for config, _ in runs}) > 1:
        raise InputError("these runs can't train together: their shapes, steps or devices differ")
    if not runs:
        return []
    training, started = runs[0][0].training, time.perf_counter()
    device, threads = pick_device(training.device, training.precision), torch.get_num_threads()
    if training.late_step and device.startswith("cuda"):
        works = "training.device = cpu"  # a GPU's graph of an update is made once
        raise refuse("training.late_step", training.late_step, "late changes are for training on the CPU", works)
    if training.threads:
        torch.set_num_threads(training.threads)
    errors: dict[Path, Exception] = {}
    members: list[_Member] = []
    try:
        with ExitStack() as claims, exact_products(device), kept_memory():
            for config, path in runs:
                still = quiet or len(runs) > 1
                claiming = claim(config, Path(path), resume=resume, overwrite=overwrite, quiet=still, facts_of=facts_of)
                try:
                    claimed = claims.enter_context(claiming)
                    if claimed.corpus is not None:
                        members.append(_Member(config, claimed, claimed.corpus, device, started))
                except InputError as error:
                    errors[Path(path)] = error
            members.sort(key=lambda member: (member.start, str(optimizer_key(member.config.training))))
            for _, part in groupby(members, key=lambda member: member.start):
                _Ensemble(list(part), device, quiet, compiled).train(stopping)
    finally:
        torch.set_num_threads(threads)
    errors |= {member.claimed.out: member.error for member in members if member.error}
    return [Ending(Path(out), errors.get(Path(out))) for _, out in runs]


class _Member:
    """One run of an ensemble: its data, its files, and the parameters that are saved."""

    def __init__(self, config: RunConfig, claimed: Claim, corpus: Corpus, device: str, started: float) -> None:
        training, seeds = config.training, config.seeds
        self.config, self.claimed = config, claimed
        self.error: Exception | None = None
        self.record = Record(config, claimed, corpus, device, started)
        self.packed = self.record.initial("cpu")
        self.batches = TrainingBatches(
            corpus, training.objective, training.batch_size, seeds.order, "cpu", mono_from(training)
        )
        self.pull = pull_of(config, corpus, "cpu")
        self.evaluation = Evaluation(corpus, training.evaluate_items, seeds.order, "cpu")
        self.state: State | None = None
        if claimed.resume:
            self.state = load_state(self.state_file, self.packed.vector, training.steps)
            self.record.take_up(self.start, self.state.position.seconds)
            self.packed.vector.data.copy_(self.state.parameters)

    @property
    def state_file(self) -> Path:
        return self.record.run.file("resume.safetensors")

    @property
    def start(self) -> int:
        """The step whose state it continues from; −1 for a new run."""
        return self.state.position.step if self.state else -1


class _Ensemble:
    """Members at one step, and their common training."""

    def __init__(self, members: list[_Member], device: str, quiet: bool, compiled: bool | None) -> None:
        self.members, self.device, self.quiet = members, device, quiet
        self.training = members[0].config.training
        for member in members if len(members) > 1 else ():
            member.record.environment["trained_together"] = len(members)
        self.joined = join([member.packed.weights for member in members], device)
        evaluations = [member.evaluation for member in members]
        self.questions = {last: MemberQuestions(evaluations, last, device) for last in (False, True)}
        self.checkpoints = set(self.training.checkpoint_steps())
        if compiled is None:
            to_do = len(members) * (self.training.steps - max(members[0].start, 0))
            compiled = device.startswith("cuda") and to_do >= WORTH_COMPILING
        self.stepper = Stepper(
            self.joined,
            [member.batches for member in members],
            [member.config.training for member in members],
            device,
            [member.state for member in members],
            compiled,
            [member.pull for member in members if member.pull],
        )
        self.saved_at = time.monotonic()
        self.in_place = members[0].state is not None  # new runs move there after their first update

    def train(self, stopping: Callable[[], bool] | None) -> None:
        """Trains to the last step, or until it is stopped."""
        steps, stepper, n = self.training.steps, self.stepper, len(self.members)
        name = str(self.members[0].claimed.out) if n == 1 else f"{n} runs"
        with Behind(self.device) as behind, closing(stepper):
            if self.members[0].state is None:
                self._begin(behind)
            no_signals = nullcontext(list[int]())
            with (
                no_signals if stopping else interrupts() as interrupted,
                Progress(name, steps, stepper.step, self.quiet) as progress,
            ):
                while stepper.step < steps and not all(member.error for member in self.members):
                    stepper.update()
                    if not self.in_place:
                        self._move_into_place(behind)
                    if stepper.step % self.training.evaluate_every == 0 or stepper.step in self.checkpoints:
                        self._evaluate(behind)
                        self._show(progress)
                    if stepper.step in self.checkpoints:
                        self._save_checkpoints(behind)
                    if (stopping() if stopping else interrupted) and stepper.step < steps:
                        self._save_states(behind)
                        behind.wait()
                        raise KeyboardInterrupt(
                            f"{name}: stopped at step {stepper.step:,} of {steps:,}, all saved; run the same command "
                            "with --resume to continue (a sweep continues by itself)"
                        )
                behind.wait()
            behind.each(self._good(), lambda _, member: member.record.finish())
        if n == 1 and not self.members[0].error:
            progress.summary(self.members[0].record.row, self.members[0].record.seconds)

    def _good(self) -> list[tuple[int, _Member]]:
        return [(number, member) for number, member in enumerate(self.members) if not member.error]

    def _begin(self, behind: Behind) -> None:
        """Writes step 0 of every member."""
        behind.each(self._good(), lambda _, member: member.record.begin())
        self._evaluate(behind)
        self._save_checkpoints(behind)
        self._save_states(behind)
        behind.wait()

    def _move_into_place(self, behind: Behind) -> None:
        """Moves new runs to where they were asked for, after their first update."""
        sums = self.stepper.sums.tolist()
        behind.each(self._good(), lambda number, member: member.record.move_into_place(*sums[number]))
        self.in_place = True

    def _evaluate(self, behind: Behind) -> None:
        """Adds a row to each member's metrics; a member whose loss is no longer finite has failed."""
        step = self.stepper.step
        questions = self.questions[step == self.training.steps]
        sums, since = self.stepper.take_sums()

        def write(log_prob: Tensor, decoded: Tensor, sums: Tensor) -> None:
            def one(number: int, member: _Member) -> None:
                row = questions.row(number, log_prob[number].double().numpy(), decoded[number].numpy())
                trained, answers = sums[number].tolist()
                member.record.add_row(step, row, (trained, answers), since)

            behind.each(self._good(), one)

        behind.submit(write, *questions.ask(self.joined), sums)

    def _save_checkpoints(self, behind: Behind) -> None:
        step = self.stepper.step

        def write(matrix: Tensor) -> None:
            def one(number: int, member: _Member) -> None:
                member.packed.vector.data.copy_(self.joined.own(matrix[number], number))
                member.record.add_checkpoint(step, lambda path: save_parameters(named(member.packed.weights), path))

            behind.each(self._good(), one)

        behind.submit(write, self.joined.matrix)
        if time.monotonic() - self.saved_at > STATE_SECONDS:
            self._save_states(behind)

    def _save_states(self, behind: Behind) -> None:
        """Saves the states of all members; none is replaced before all are written, so that all stay at one step."""
        self.saved_at = time.monotonic()
        step, since, moments = self.stepper.step, self.stepper.since, self.stepper.moments()

        def write(matrix: Tensor, sums: Tensor, *values: Tensor) -> None:
            host = dict(zip(moments, values, strict=True))
            with self.members[0].record.writing(), ExitStack() as files:
                for number, member in self._good():
                    position = Position(step, since, member.record.seconds)
                    state = self.stepper.state(number, matrix, host, sums, position)
                    write_state(files.enter_context(whole_file(member.state_file)), state, member.record.base())

        behind.submit(write, self.joined.matrix, self.stepper.sums, *moments.values())

    def _show(self, progress: Progress) -> None:
        """Shows the mean over members of the newest rows."""
        rows = [member.record.row for _, member in self._good() if member.record.row]
        names = ("loss", "recall_accuracy", "transfer_accuracy")
        known = {name: [row[name] for row in rows if row[name] is not None] for name in names}
        progress.show(
            self.stepper.step, {name: sum(each) / len(each) if each else None for name, each in known.items()}
        )
