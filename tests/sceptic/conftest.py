"""Four small and varied runs, trained once a session, each read by the sceptic and asked by mechxl."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filelock import FileLock

from mechxl import Run, RunConfig, ask, train_run
from tests.sceptic.reading import Reading

Tables = dict[str, pd.DataFrame]
QUICK = {
    "steps": 120,
    "warmup_steps": 20,
    "checkpoints": 2,
    "batch_size": 128,
    "evaluate_every": 40,
    "schedule": "constant",
    "betas": (0.9, 0.98),
}
# The fourth is `trained`, which other rooms share.
SETTINGS: dict[str, dict[str, Any]] = {
    # The language is told by a tag, which training hides at times; all words are shared; the value tells the language.
    "told": {
        "seed": 1,
        "world": {"n_entities": 60, "n_relations": 2, "n_values": 6, "n_unseen": 6},
        "languages": {"cue": "tag", "cue_dropout": 0.25, "shared_words": 1.0},
        "mixture": {"informativeness": 1.0, "parallel_fraction": 0.3},
        "tokenization": {"kind": "word"},
        "model": {"d_model": 16, "d_mlp": 64},
        "training": QUICK | {"learning_rate": 5e-3, "evaluate_every": 8},
    },
    # Three languages, words of several tokens, half of the names shared.
    "three": {
        "seed": 2,
        "world": {"n_entities": 40, "n_relations": 2, "n_values": 6, "n_unseen": 6},
        "languages": {"count": 3, "shared_names": 0.5, "shared_words": 0.3},
        "tokenization": {"kind": "bpe", "vocab_size": 80},
        "training": QUICK,
    },
    # One language says the relation first; values and frequencies are Zipf's; some facts differ between languages.
    "varied": {
        "seed": 3,
        "world": {
            "n_entities": 48,
            "n_relations": 2,
            "n_values": 8,
            "n_unseen": 6,
            "shared_facts": 0.8,
            "value_distribution": "zipf",
            "frequency": "zipf",
        },
        "languages": {"word_order": "varied"},
        "mixture": {"exposure": "per_fact", "informativeness": 0.5},
        "model": {"normalization": "RMS"},
        "training": QUICK,
    },
}
NAMES = ["plain", *SETTINGS]


@pytest.fixture(scope="session")
def readings(trained: Run, shared_folder: Path) -> Callable[[str], Reading]:
    """Gives the sceptic's reading of a run by its name; the worker that needs the run first trains it."""
    known: dict[str, Reading] = {}

    def read(name: str) -> Reading:
        if name not in known:
            path = shared_folder / "runs" / f"sceptic-{name}"
            if name == "plain":
                known[name] = Reading(trained)
            else:
                with FileLock(shared_folder / f"sceptic-{name}.lock"):
                    new = not (path / "COMPLETE").is_file()
                    config = RunConfig.model_validate(SETTINGS[name])
                    known[name] = Reading(train_run(config, path, quiet=True) if new else Run(path))
        return known[name]

    return read


@pytest.fixture(scope="session")
def with_null(readings: Callable[[str], Reading], shared_folder: Path) -> Run:
    """The run told with its trained null: the same settings, but every language has facts of its own."""
    settings = SETTINGS["told"]
    config = RunConfig.model_validate(settings | {"world": settings["world"] | {"shared_facts": 0.0}})
    with FileLock(shared_folder / "sceptic-told-null.lock"):
        null = train_run(config, shared_folder / "runs" / "sceptic told shares no fact", quiet=True)
    return Run(readings("told").run.path, null=null)


@pytest.fixture(scope="session")
def found(
    readings: Callable[[str], Reading], answered: Callable[[str], Any], shared_folder: Path
) -> Callable[[str, str], Tables]:
    """Gives the tables of mechxl's finding about a run; the worker that needs it first computes it."""

    def find(name: str, question: str) -> Tables:
        if name == "plain":
            return answered(question).tables
        with FileLock(shared_folder / f"sceptic-{name}-{question}.lock"):
            return ask(readings(name).run, question).tables

    return find
