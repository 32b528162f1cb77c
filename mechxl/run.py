"""One run directory: its paths, and how its files are read and checked.

config.toml         the settings
environment.json    versions, commit, threads, device, command line, wall time, digest of the data
facts.parquet       the facts, their words (tags too), and the languages that each is told in
tokenizer.json      Hugging Face format
metrics.jsonl       one row for each evaluation
checkpoints/        step-000512.safetensors: named parameters only
resume.safetensors  the state that a stopped training continues from
findings/           one JSON file for each question
lock, lease         only while the run is being trained (lock.py)
COMPLETE            written last, when training has ended: size and hash of each file (manifest.py)
"""

import io
from collections import Counter
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from mechxl.config import RunConfig
from mechxl.data.corpus import Corpus, build_corpus
from mechxl.data.sources.kept import kept_attributes, kept_columns, kept_names, kept_table
from mechxl.errors import InputError
from mechxl.files import reason
from mechxl.null import is_null, null_place, why_no_null
from mechxl.runfiles import RunFiles
from mechxl.version import own_version

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mechxl.measures.rest import Rest
    from mechxl.model.hooked import HookedTransformer


class Run(RunFiles):
    """A run on disk.

    A notebook shows its state, the settings that are not at their default, its facts, and its last metrics.

    Example:
        >>> run = Run("runs/default")
        >>> run.metrics[["step", "loss", "recall_accuracy", "transfer_accuracy"]].tail()
        >>> run.facts.query("group == 'mono'").groupby("told_in").size()
        >>> run.metrics.plot(x="step", y=["recall_accuracy", "transfer_accuracy"], backend="plotly")
        >>> logits, cache = run.model(-1).run_with_cache(run.corpus.text(0, 1))

    Raises:
        InputError: the path is no run directory, or a file is not as training left it. Sizes are compared when a run
            is opened, hashes of large files when these are read. Or `null` is no null of the run.
    """

    def __init__(self, path: str | Path, null: "str | Path | Run | None" = None) -> None:
        """A run; `null` is its trained null (a run or its path), by default the run PATH-null, if that is one."""
        super().__init__(path)
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
            rows = self.rows
            last, rest = (rows[-1], self.rest.words()) if rows else ({}, "")
            return run_html(self.path, self.config, self.complete, self.steps, groups, last, rest)
        except InputError as error:  # a damaged run is shown with the reason
            return error_html(self.path, error)

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
    def corpus(self) -> Corpus:
        """What the run was trained on, built again and checked against the digest saved in training.

        Generated facts follow from the settings; other facts are read from facts.parquet, not from their source.

        Raises:
            InputError: the settings give other data.
        """
        corpus = self.corpus_with(self.config)
        if corpus.digest != self.environment["data_digest"]:
            raise InputError(
                f"{self.path}: these settings give other data than the run was trained on: {self._why_other_data()}, "
                "or train it again"
            )
        return corpus

    def corpus_with(self, config: RunConfig) -> Corpus:
        """What other settings make of the run's own facts and ready tokenizer, without the files that these came from.

        Args:
            config: settings with the run's source, languages and relations.
        """
        real = config.world.source != "generated"
        table = kept_table(self.facts, config.languages.codes) if real else None
        return build_corpus(config, table, lambda: self.tokenizer)

    def _why_other_data(self) -> str:
        """What differs from the training, and what helps."""
        if self.manifest and any(change.startswith("config.toml") for change in self.manifest.accepted):
            return "config.toml is not that of the training; restore it"
        here = {"mechxl": own_version(), "numpy": version("numpy"), "tokenizers": version("tokenizers")}
        there = {name: self.environment["versions"].get(name, "unknown") for name in here}
        differ = [f"{name} is {here[name]} here and was {there[name]}" for name in here if here[name] != there[name]]
        if differ:
            return f"{', '.join(differ)}; use the version of the training"
        return (
            "mechxl and its libraries have the versions of the training, so mechxl's code has changed; use commit "
            f"{self.environment['commit'] or 'of that time'}"
        )

    @cached_property
    def facts(self) -> pd.DataFrame:
        """One row for each fact: entity, relation, value and words in each language, told_in, weight, group."""
        path = self.file("facts.parquet")
        try:
            facts = pd.read_parquet(io.BytesIO(self.read("facts.parquet")))
        except InputError:
            raise
        except Exception as error:  # the libraries raise many kinds
            said = reason(error).split("\n")[0]
            raise InputError(f"{path}: can't be read ({said}); restore it, or train the run again") from None
        world, names = self.config.world, _fact_columns(self.config)
        real = world.source != "generated"
        n = len(facts) if real else (world.n_entities + world.n_unseen) * world.n_relations
        if list(facts.columns) != names or len(facts) != n:
            raise InputError(
                f"{path}: holds {len(facts):,} rows of {', '.join(map(str, facts.columns))}, not {n:,} of "
                f"{', '.join(names)}; restore it, or train the run again"
            )
        return facts

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The run's tokenizer (of the `tokenizers` library)."""
        from tokenizers import Tokenizer

        path = self.file("tokenizer.json")
        content = self.read("tokenizer.json")
        try:
            return Tokenizer.from_str(content.decode("utf-8"))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library raises plain Exception, and panics
            raise InputError(f"{path}: can't be read ({error}); restore it, or train the run again") from None

    @property
    def metrics(self) -> pd.DataFrame:
        """One row for each evaluation; nested values become columns with dotted names. A torn last line is ignored."""
        return pd.json_normalize(self.rows)

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
        from safetensors.torch import load

        from mechxl.model.hooked import build_model, copy_parameters

        steps = self.steps
        if not steps:
            raise InputError(f"{self.path}: has no checkpoints; train the run, or continue it with --resume")
        if not (-len(steps) <= step < 0 or step in steps):
            raise InputError(f"{self.path}: step {step} is not saved; there are {', '.join(map(str, steps))}")
        step = steps[step] if step < 0 else step
        path, (content, _) = self.checkpoint(step), self.read_checkpoint(step)
        config = self.config
        model = build_model(
            config.model, self.tokenizer, self.environment["n_ctx"], config.seeds.init, config.training.precision
        )
        try:
            copy_parameters(model, load(content))
        except Exception as error:
            raise InputError(
                f"{path}: can't be read as this run's parameters ({error}); train the run again"
            ) from error
        return model


def _fact_columns(config: RunConfig) -> list[str]:
    """The columns of facts.parquet."""
    languages = config.languages
    tag = ("tag_word",) if languages.cue == "tag" else ()
    kinds = ("value", *tag, "entity_word", "relation_word", "value_word", "weight")
    codes = languages.codes or tuple("ABCDEFGH"[: languages.count])
    of_languages = [f"{kind}_{name}" for name in codes for kind in kinds]
    kept = kept_names(languages.codes) if languages.codes else []
    return ["entity", "relation", "group", *of_languages, "weight", "told_in", *kept]


def facts_table(corpus: Corpus) -> pd.DataFrame:
    """The corpus with one row for each fact, as facts.parquet holds it."""
    world, lexicon, mixture = corpus.world, corpus.lexicon, corpus.mixture

    def words_of(index: Int[np.ndarray, " fact"]) -> np.ndarray:
        words = lexicon.words[index].astype(object)
        words[index < 0] = None
        return words

    columns: dict[str, Any] = {"entity": world.entity, "relation": world.relation, "group": mixture.group}
    for language, name in enumerate(lexicon.language_names):
        value = world.value[:, language]
        columns[f"value_{name}"] = pd.array(value, dtype="Int64").copy()
        columns[f"value_{name}"][value < 0] = pd.NA
        if len(lexicon.tags):
            columns[f"tag_word_{name}"] = np.full(len(value), lexicon.words[lexicon.tags[language]])
        columns[f"entity_word_{name}"] = words_of(lexicon.names[world.entity, language])
        columns[f"relation_word_{name}"] = words_of(lexicon.relation_words[world.relation, language])
        answers = lexicon.value_words[world.relation, value, language]
        columns[f"value_word_{name}"] = words_of(np.where(value < 0, -1, answers))
        columns[f"weight_{name}"] = mixture.weight[:, language]
    columns["weight"] = mixture.weight.sum(axis=1)
    kinds, kind = np.unique(mixture.told, axis=0, return_inverse=True)
    between = " " if lexicon.codes else ""
    told_in = [
        between.join(name for name, told in zip(lexicon.language_names, row, strict=True) if told) for row in kinds
    ]
    columns["told_in"] = np.array(told_in, dtype=object)[kind]
    if corpus.origin is None:
        return pd.DataFrame(columns)
    table = pd.DataFrame(columns | kept_columns(corpus.origin))
    table.attrs |= kept_attributes(corpus.origin.table)
    return table
