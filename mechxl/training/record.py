"""What one training writes into its run's directory: rows of metrics, checkpoints, its state, and how it ended."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mechxl.config import RunConfig
from mechxl.data.corpus import Corpus
from mechxl.data.information import draws_by_group, least_loss, mean_visits
from mechxl.errors import Failure, InputError
from mechxl.files import parse_rows, reason, whole_file, write_bytes, write_json
from mechxl.manifest import FORMAT, Base, Manifest, Seal, changed_files, seal_of, sealed
from mechxl.model.parameters import initial_parameters
from mechxl.model.weights import Packed, joined, pack
from mechxl.run import Run
from mechxl.schema import environment_hash
from mechxl.training.claim import Claim, environment


class Record:
    """The files of a training in a claimed directory.

    Args:
        config: the run's settings.
        claimed: the directory.
        corpus: the training data.
        device: of the training.
        started: `time.perf_counter()` at its start.
    """

    def __init__(self, config: RunConfig, claimed: Claim, corpus: Corpus, device: str, started: float) -> None:
        self.config, self.claimed, self.corpus, self.started = config, claimed, corpus, started
        self.n_ctx = longest_sentence(corpus)
        self.environment = environment(self.n_ctx, device, corpus.digest, least_loss(corpus))
        self.visits = mean_visits(corpus, 1)  # of one draw
        self.run = Run(claimed.directory)
        self.row: dict[str, Any] = {}  # of the last evaluation
        self.evaluations: list[int] = []
        self.seals: dict[str, Seal] = {}  # of the files that are written so far, but for the two that still change
        self.rows_hash, self.rows_size = hashlib.sha256(), 0  # of metrics.jsonl
        self.earlier_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Time spent on this training so far, that of stopped ones included."""
        return round(self.earlier_seconds + time.perf_counter() - self.started, 2)

    def initial(self, device: str) -> Packed:
        """The seeded parameters that the training begins with."""
        model, precision = self.config.model, self.config.training.precision
        d_vocab, seed = self.corpus.tokenizer.get_vocab_size(), self.config.seeds.init
        parameters = initial_parameters(model, d_vocab, self.n_ctx, seed, precision, device)
        return pack(joined(parameters, model.act_fn))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What can't be written becomes a sentence; what was saved before is whole.

        Raises:
            Failure: something can't be written, or another process has taken the run over.
        """
        self.claimed.held.check()
        try:
            yield
        except (OSError, SafetensorError) as error:
            how = "continue with --resume" if self.in_place else "run the same command again"
            raise Failure(
                f"{self.claimed.out}: can't be written ({reason(error)}); what was saved before is whole: make room, "
                f"or see to the disk and its permissions, then {how}"
            ) from error

    def begin(self) -> None:
        """Writes the environment of a new run; its first row, checkpoint and update follow, then `move_into_place`."""
        with self.writing():
            for name in ("config.toml", "facts.parquet", "tokenizer.json"):
                self.seals[name] = sealed(self.run.file(name))
            self._write_environment()

    def _write_environment(self) -> None:
        sha256 = environment_hash(self.environment, self.seals["config.toml"].sha256)
        write_json(self.run.file("environment.json"), self.environment | {"sha256": sha256})

    def base(self) -> Base:
        """What a state that is saved now builds on."""
        return Base(files=dict(self.seals), metrics=self._rows_seal())

    def _rows_seal(self) -> Seal:
        return Seal(size=self.rows_size, sha256=self.rows_hash.hexdigest())

    @property
    def in_place(self) -> bool:
        """Whether the run is where it was asked for; a new one moves there after its first update."""
        return self.claimed.directory == self.claimed.place

    def move_into_place(self, *losses: float) -> None:
        """Moves a new run to where it was asked for.

        Args:
            losses: of the first update.

        Raises:
            Failure: they are not finite; what was there before stays.
        """
        if not all(map(math.isfinite, losses)):
            raise self._diverged(losses[0], 1)
        self.run = Run(self.claimed.move_into_place())

    def take_up(self, step: int, seconds: float) -> None:
        """Continues from a saved step: later rows of metrics are dropped.

        Raises:
            InputError: a file that the saved state builds on is not as it was.
        """
        self.earlier_seconds = seconds
        base, path = self.run.base, self.run.file("metrics.jsonl")
        assert base is not None  # the state was read
        if changes := [str(self.run.file(change)) for change in changed_files(self.run.path, base.files)]:
            raise InputError(
                f"{self.claimed.out}: is not as its saved state needs it: {'; '.join(changes[:5])}; restore it, or "
                "train the run again with --overwrite"
            )
        content = self.run.read("metrics.jsonl")[: base.metrics.size]
        if seal_of(content) != base.metrics or not content:
            raise InputError(
                f"{path}: is not as the saved state at step {step} needs it; restore it, or train the run again with "
                "--overwrite"
            )
        rows = parse_rows(path, content)
        self.environment["resumed_at"] = [*self.run.environment.get("resumed_at", []), step]
        self.seals |= base.files
        with self.writing():
            self._write_environment()
            write_bytes(path, content)
        self.rows_hash.update(content)
        self.rows_size = len(content)
        self.evaluations = [row["step"] for row in rows]
        self.row = rows[-1]

    def add_row(self, step: int, answered: dict[str, Any], losses: tuple[float, float], since: int) -> None:
        """Adds a row to metrics.jsonl.

        Args:
            step: updates so far.
            answered: the row of `Evaluation`.
            losses: sums since the last row: of the training loss, and of its part for answers.
            since: updates since the last row.

        Raises:
            Failure: the loss is no longer finite.
        """
        training = self.config.training
        self.row = {"step": step, **answered}
        if not all(map(math.isfinite, (self.row["loss"], *losses))):
            raise self._diverged(self.row["loss"], step)
        if since:
            self.row |= {"train_loss": losses[0] / since, "train_answer_loss": losses[1] / since}
        means = {"mono_visits": self.visits.mono, "parallel_visits": self.visits.parallel}
        for (name, mean), draws in zip(means.items(), draws_by_group(self.corpus, training, step), strict=True):
            if not math.isnan(mean):
                self.row[name] = draws * mean
        line = _json_line(self.row)
        path = self.run.file("metrics.jsonl")
        with self.writing():
            try:
                with path.open("ab") as file:
                    file.write(line)
            except OSError:  # a full disk may have taken a part of it
                with suppress(OSError):
                    os.truncate(path, self.rows_size)
                raise
        self.rows_hash.update(line)
        self.rows_size += len(line)
        self.evaluations.append(step)

    def _diverged(self, loss: float, step: int) -> Failure:
        training = self.config.training
        return Failure(
            f"{self.claimed.out}: the loss is {loss:g} at step {step:,}, training has diverged; lower "
            f"training.learning_rate ({training.learning_rate:g}) or raise training.warmup_steps, and train again with "
            "--overwrite"
        )

    def add_checkpoint(self, step: int, save: Callable[[Path], None]) -> None:
        """Writes a checkpoint as a whole file; `save` writes to the path that it is given."""
        place = self.run.checkpoint(step)
        with self.writing():
            place.parent.mkdir(exist_ok=True)
        with self.writing(), whole_file(place) as path:
            save(path)
            self.seals[f"checkpoints/{place.name}"] = sealed(path)

    def finish(self) -> None:
        """Marks the run as complete, by saying what it consists of, and removes its state."""
        self.environment["wall_seconds"] = self.seconds
        training = self.config.training
        manifest = Manifest(
            format=FORMAT,
            steps=training.steps,
            checkpoints=training.checkpoint_steps(),
            evaluations=self.evaluations,
            files=self.seals | {"metrics.jsonl": self._rows_seal()},
        )
        with self.writing():
            self._write_environment()
            manifest.write(self.run.file("COMPLETE"))
            self.run.file("resume.safetensors").unlink(missing_ok=True)


def longest_sentence(corpus: Corpus) -> int:
    """Tokens of the longest sentence of any fact in any language, tag and EOS included: the model's context length."""
    parts = [corpus.lexicon.tags, corpus.lexicon.names, corpus.lexicon.relation_words, corpus.lexicon.value_words]
    tokens = (corpus.word_tokens >= 0).sum(axis=1)
    return 2 + sum(int(tokens[words[words >= 0]].max(initial=0)) for words in parts)


def _json_line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
