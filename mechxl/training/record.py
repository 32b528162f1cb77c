"""What one training writes into its run's directory: rows of metrics, checkpoints, its state, and how it ended."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mechxl.config import RunConfig
from mechxl.data.corpus import Corpus
from mechxl.data.information import least_loss, mean_visits
from mechxl.errors import Failure, InputError
from mechxl.files import read_json, read_rows, whole_file, write_json, write_text
from mechxl.model.parameters import initial_parameters
from mechxl.model.weights import Packed, joined, pack
from mechxl.run import Run
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

    def begin(self) -> None:
        """Writes the environment of a new run; its first row and checkpoint follow, then `move_into_place`."""
        write_json(self.run.file("environment.json"), self.environment)

    def move_into_place(self) -> None:
        """Moves a new run to where it was asked for."""
        self.run = Run(self.claimed.move_into_place())

    def take_up(self, step: int, seconds: float) -> None:
        """Continues from a saved step: later rows of metrics are dropped.

        Raises:
            InputError: no row is left.
        """
        self.earlier_seconds = seconds
        path = self.run.file("metrics.jsonl")
        rows = [row for row in read_rows(path) if row["step"] <= step]
        if not rows:
            raise InputError(f"{path}: has no row up to step {step}; train the run again with --overwrite")
        resumed_at = read_json(self.run.file("environment.json")).get("resumed_at", [])
        self.environment["resumed_at"] = [*resumed_at, step]
        write_json(self.run.file("environment.json"), self.environment)
        write_text(path, "".join(map(_json_line, rows)))
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
            raise Failure(
                f"{self.claimed.out}: the loss is {self.row['loss']:g} at step {step:,}, training has diverged; "
                f"lower training.learning_rate ({training.learning_rate:g}) or raise training.warmup_steps, and train "
                "again with --overwrite"
            )
        if since:
            self.row |= {"train_loss": losses[0] / since, "train_answer_loss": losses[1] / since}
        draws = step * training.batch_size
        for name, mean in (("mono_visits", self.visits.mono), ("parallel_visits", self.visits.parallel)):
            if not math.isnan(mean):
                self.row[name] = draws * mean
        with self.run.file("metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(_json_line(self.row))

    def add_checkpoint(self, step: int, save: Callable[[Path], None]) -> None:
        """Writes a checkpoint as a whole file; `save` writes to the path that it is given."""
        self.run.file("checkpoints").mkdir(exist_ok=True)
        with whole_file(self.run.checkpoint(step)) as path:
            save(path)

    def finish(self) -> None:
        """Marks the run as complete, and removes its state."""
        self.environment["wall_seconds"] = self.seconds
        write_json(self.run.file("environment.json"), self.environment)
        write_text(self.run.file("COMPLETE"), f"{self.config.training.steps}\n")
        self.run.file("resume.safetensors").unlink(missing_ok=True)


def longest_sentence(corpus: Corpus) -> int:
    """Tokens of the longest sentence of any fact in any language, tag and EOS included: the model's context length."""
    parts = [corpus.lexicon.tags, corpus.lexicon.names, corpus.lexicon.relation_words, corpus.lexicon.value_words]
    tokens = (corpus.word_tokens >= 0).sum(axis=1)
    return 2 + sum(int(tokens[words[words >= 0]].max(initial=0)) for words in parts)


def _json_line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
