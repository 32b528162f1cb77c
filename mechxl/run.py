"""One run directory: its paths, and how its files are read and checked.

config.toml         the settings
environment.json    versions, commit, threads, device, command line, wall time, digest of the data
facts.parquet       the facts, their words (tags too), and the languages that each is told in
tokenizer.json      Hugging Face format
metrics.jsonl       one row for each evaluation
checkpoints/        step-000512.safetensors: named parameters only
resume.safetensors  the state that a stopped training continues from
findings/           one JSON file for each question
lock                only while the run is being trained
COMPLETE            written last, when training has ended
"""

import tomllib
from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.errors import InputError
from mechxl.files import read_json, read_rows
from mechxl.null import is_null, null_place, why_no_null

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mechxl.measures.rest import Rest
    from mechxl.model.hooked import HookedTransformer


class Run:
    """A run on disk.

    A notebook shows its state, the settings that are not at their default, its facts, and its last metrics.

    Example:
        >>> run = Run("runs/default")
        >>> run.metrics[["step", "loss", "recall_accuracy", "transfer_accuracy"]].tail()
        >>> run.facts.query("group == 'mono'").groupby("told_in").size()
        >>> run.metrics.plot(x="step", y=["recall_accuracy", "transfer_accuracy"], backend="plotly")
        >>> logits, cache = run.model(-1).run_with_cache(run.corpus.text(0, 1))

    Raises:
        InputError: the path is no run directory, or its settings can't be read; or `null` is no null of it.
    """

    def __init__(self, path: str | Path, null: "str | Path | Run | None" = None) -> None:
        """A run; `null` is its trained null (a run or its path), by default the run PATH-null, if that is one."""
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: there is no such run; train it with python -m mechxl.train --out {self.path}"
            )
        if not self.file("config.toml").is_file():
            raise InputError(
                f"{self.path}: is not a run directory (it has no config.toml); name one that mechxl.train wrote"
            )
        if null is not None:
            given = null if isinstance(null, Run) else Run(null)
            if reason := why_no_null(self.config, given.config, given.complete):
                raise InputError(f"{given.path}: is no trained null of {self.path}: {reason}")
            self.null = given

    def __repr__(self) -> str:
        state = "complete" if self.complete else "not complete"
        return f"Run({str(self.path)!r}: {state}, {len(self.steps)} checkpoints, {self.config.training.steps:,} steps)"

    def _repr_html_(self) -> str:
        from mechxl.display import error_html, run_html

        try:
            groups = dict(Counter(self.facts["group"])) if self.file("facts.parquet").is_file() else {}
            rows = read_rows(self.file("metrics.jsonl"))
            last, rest = (rows[-1], self.rest.words()) if rows else ({}, "")
            return run_html(self.path, self.config, self.complete, self.steps, groups, last, rest)
        except InputError as error:  # a damaged run is shown with the reason
            return error_html(self.path, error)

    def file(self, name: str) -> Path:
        """The path of a file in the run directory."""
        return self.path / name

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.resolve().name

    @property
    def complete(self) -> bool:
        """Whether training has ended."""
        return self.file("COMPLETE").is_file()

    @cached_property
    def config(self) -> RunConfig:
        """The settings."""
        path = self.file("config.toml")
        try:
            return parse_config(tomllib.loads(path.read_text(encoding="utf-8")))
        except (InputError, OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(
                f"{path}: can't be read as settings ({error}); restore it, or train the run again"
            ) from None

    @cached_property
    def null(self) -> "Run | None":
        """The trained null: a run that differs in `world.shared_facts` = 0 alone, so that nothing can rightly unify.

        Unification is the excess over it. None where there is none; `why_no_null` says why.
        """
        return None if self.why_no_null else Run(null_place(self.path))

    @property
    def why_no_null(self) -> str:
        """Why the run has no trained null; empty if it has one."""
        if "null" in self.__dict__ and self.null is not None:
            return ""
        place = null_place(self.path)
        if is_null(self.config):
            return why_no_null(self.config, self.config, self.complete)
        if not place.is_dir():
            return f"no run {place.name} lies beside it"
        try:
            beside = Run(place)
            reason = why_no_null(self.config, beside.config, beside.complete)
        except InputError:
            reason = "it can't be read as a run"
        return f"{place.name}, which lies beside it, is not one: {reason}" if reason else ""

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, commit, threads, device, command line and wall time of the training."""
        path = self.file("environment.json")
        environment = read_json(path)
        if missing := {"data_digest", "least_loss", "n_ctx", "versions"} - set(environment):
            raise InputError(f"{path}: lacks {', '.join(sorted(missing))}; restore it, or train the run again")
        return environment

    @cached_property
    def corpus(self) -> Corpus:
        """What the run was trained on, built again from the settings and checked against the digest saved in training.

        Raises:
            InputError: this version of mechxl builds other data.
        """
        corpus = build_corpus(self.config)
        if corpus.digest != self.environment["data_digest"]:
            raise InputError(
                f"{self.path}: this version of mechxl builds other data than the run was trained on "
                f"(mechxl {self.environment['versions']['mechxl']}); use that version, or train the run again"
            )
        return corpus

    @cached_property
    def facts(self) -> pd.DataFrame:
        """One row for each fact: entity, relation, value and words in each language, told_in, weight, group."""
        path = self.file("facts.parquet")
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: can't be read ({error}); restore it, or train the run again") from None

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The run's tokenizer (of the `tokenizers` library)."""
        from tokenizers import Tokenizer

        path = self.file("tokenizer.json")
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{path}: can't be read ({error}); restore it, or train the run again") from None

    @property
    def metrics(self) -> pd.DataFrame:
        """One row for each evaluation; nested values become columns with dotted names. A torn last line is ignored."""
        return pd.json_normalize(read_rows(self.file("metrics.jsonl")))

    @property
    def rest(self) -> "Rest":
        """How far loss, recall and transfer move over the last tenth of training, and whether the run rests.

        Example:
            >>> run.rest.rests, run.rest.reason, run.rest.transfer
        """
        from mechxl.measures.rest import rest

        metrics = self.metrics
        if not len(metrics):
            return rest(*[np.zeros(0)] * 4)
        curves = [
            metrics.get(name, pd.Series(np.nan, metrics.index)).to_numpy(dtype=float)
            for name in ("step", "loss", "recall_accuracy", "transfer_accuracy")
        ]
        found = rest(*curves, least_loss=self.environment["least_loss"])
        return found if self.complete else replace(found, rests=None, reason="training has not ended")

    @property
    def steps(self) -> list[int]:
        """The steps whose checkpoints are saved, in order."""
        return sorted(int(path.stem.split("-")[1]) for path in self.file("checkpoints").glob("step-*.safetensors"))

    def checkpoint(self, step: int) -> Path:
        """The path of a step's checkpoint, which need not exist."""
        return self.file("checkpoints") / f"step-{step:06d}.safetensors"

    def model(self, step: int = -1) -> "HookedTransformer":
        """The HookedTransformer of a saved step, with its tokenizer.

        Args:
            step: a saved step; negative numbers count from the end, so that -1 is the last.

        Example:
            >>> model = run.model(run.steps[0])  # as it was before training
            >>> model.generate("vahgal baf", max_new_tokens=1, do_sample=False, verbose=False)

        Raises:
            InputError: that step is not saved (the sentence lists those that are), or its file is damaged.
        """
        from mechxl.model.hooked import build_model, load_parameters

        steps = self.steps
        if not steps:
            raise InputError(f"{self.path}: has no checkpoints; train the run, or continue it with --resume")
        if not (-len(steps) <= step < 0 or step in steps):
            raise InputError(f"{self.path}: step {step} is not saved; there are {', '.join(map(str, steps))}")
        path = self.checkpoint(steps[step] if step < 0 else step)
        config = self.config
        model = build_model(
            config.model, self.tokenizer, self.environment["n_ctx"], config.seeds.init, config.training.precision
        )
        try:
            load_parameters(model, path)
        except Exception as error:
            raise InputError(
                f"{path}: can't be read as this run's parameters ({error}); train the run again"
            ) from error
        return model


def facts_table(corpus: Corpus) -> pd.DataFrame:
    """The corpus with one row for each fact, as facts.parquet holds it."""
    world, lexicon, mixture = corpus.world, corpus.lexicon, corpus.mixture
    columns: dict[str, Any] = {"entity": world.entity, "relation": world.relation, "group": mixture.group}
    for language, name in enumerate(lexicon.language_names):
        value = world.value[:, language]
        columns[f"value_{name}"] = pd.array(value, dtype="Int64").copy()
        columns[f"value_{name}"][value < 0] = pd.NA
        if len(lexicon.tags):
            columns[f"tag_word_{name}"] = np.full(len(value), lexicon.words[lexicon.tags[language]])
        columns[f"entity_word_{name}"] = lexicon.words[lexicon.names[world.entity, language]]
        columns[f"relation_word_{name}"] = lexicon.words[lexicon.relation_words[world.relation, language]]
        words = lexicon.words[lexicon.value_words[world.relation, value, language]].astype(object)
        words[value < 0] = None
        columns[f"value_word_{name}"] = words
        columns[f"weight_{name}"] = mixture.weight[:, language]
    columns["weight"] = mixture.weight.sum(axis=1)
    kinds, kind = np.unique(mixture.told, axis=0, return_inverse=True)
    told_in = ["".join(name for name, told in zip(lexicon.language_names, row, strict=True) if told) for row in kinds]
    columns["told_in"] = np.array(told_in, dtype=object)[kind]
    return pd.DataFrame(columns)
