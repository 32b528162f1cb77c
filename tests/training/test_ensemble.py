"""Runs that train together are the runs alone, whatever varies between them, and whatever happens to one of them."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.errors import Failure, InputError
from mechxl.facts import EXAMPLE
from mechxl.files import read_rows
from mechxl.run import Run
from mechxl.training import ensemble
from mechxl.training.ensemble import shape_key, train_together
from mechxl.training.loop import train_run
from mechxl.training.record import longest_sentence
from tests.model.plain import contents

STEPS = 50


def settings(seed: int = 0, **sections: dict[str, Any]) -> RunConfig:
    """A small run of 50 steps in float64; given sections override."""
    training = {"steps": STEPS, "checkpoints": 4, "warmup_steps": 5, "batch_size": 32, "evaluate_every": 20}
    base = {"world": {"n_entities": 40, "n_unseen": 8}, "model": {"d_model": 16, "d_mlp": 32}}
    base["training"] = training | {"precision": "float64", "threads": 1, "device": "cpu"}
    for section, fields in sections.items():
        base[section] = base.get(section, {}) | fields
    return parse_config(base | {"seed": seed})


TAG = {"cue": "tag", "cue_dropout": 0.4}
TWO = {"name_syllables": 12, "shared_names": 0.0}  # names and prompts of another number
OTHER_PARTS = {"normalization": "RMS", "act_fn": "relu"}
TOGETHER: dict[str, Callable[[], list[RunConfig]]] = {
    "optimizer and schedule": lambda: [
        settings(0, training={"schedule": "constant", "betas": (0.9, 0.98)}),
        settings(1, training={"schedule": "wsd", "learning_rate": 1e-3, "weight_decay": 0.0}),
        settings(2, training={"schedule": "constant", "betas": (0.9, 0.98)}),
    ],
    "world and languages": lambda: [
        settings(0, mixture={"parallel_fraction": 0.2}),
        settings(1, languages={"count": 3, "shared_names": 0.5, "shared_words": 0.5}, world={"n_entities": 30}),
        settings(2, model={"init_std": 0.05}, languages={"word_order": "varied"}, world={"frequency": "zipf"}),
    ],
    "pulls and pushes": lambda: [
        settings(0, training={"pull": 0.7}),
        settings(1, training={"pull": -2.0, "pull_pairs": "permuted", "learning_rate": 1e-3}),
        settings(2, training={"pull": 1.0, "pull_facts": "mono"}, tokenization={"kind": "syllable"}, languages=TWO),
    ],
    "late changes": lambda: [
        settings(0, training={"late_step": 30, "late_weight_decay": 0.0, "late_frozen": "mlp"}),
        settings(1, training={"late_step": 30, "late_frozen": "embeddings", "late_facts": "mono"}),
        settings(2, training={"late_step": 30, "late_frozen": "attention", "late_weight_decay": 0.5}),
    ],
    "cue dropout, RMS and relu": lambda: [
        settings(0, languages=TAG, model=OTHER_PARTS),
        settings(1, languages={"cue": "tag"}, model=OTHER_PARTS),
    ],
    "padded vocabularies and contexts": lambda: [
        settings(0, tokenization={"kind": "bpe", "vocab_size": 60}),
        settings(1, tokenization={"kind": "bpe", "vocab_size": 110}),
    ],
    "several answer tokens, objective all": lambda: [
        settings(seed, tokenization={"kind": "character"}, training={"objective": "all"}) for seed in (0, 1)
    ],
}


def of_file(code: str, seed: int) -> RunConfig:
    """A small run of the example file's facts in English and another language, in letters."""
    raw = settings(seed).model_dump()
    raw["world"] = {"source": "csv", "file": str(EXAMPLE), "relations": ["continent", "language"]}
    return parse_config(raw | {"languages": {"codes": ["en", code]}, "tokenization": {"kind": "character"}})


# the longest prompt of the first and the longest answer of the second are longer together than either's context
TOGETHER["facts of a file"] = lambda: [of_file("ar", 0), of_file("ru", 1)]


def together(configs: Sequence[RunConfig], out: Path, **options: Any) -> list[Run]:
    """Trains them together, and none may fail."""
    runs = [(config, out / f"{number}") for number, config in enumerate(configs)]
    for ending in train_together(runs, quiet=True, **options):
        if ending.error:
            raise ending.error
    return [Run(path) for _, path in runs]


def apart(one: Run, other: Run) -> float:
    """The largest difference of any parameter at any checkpoint."""
    assert one.steps == other.steps
    pairs = [(load_file(one.checkpoint(step)), load_file(other.checkpoint(step))) for step in one.steps]
    assert all(first.keys() == second.keys() for first, second in pairs)
    return max((first[name] - second[name]).abs().max().item() for first, second in pairs for name in first)


def plain(value: Any, path: str = "") -> dict[str, Any]:
    """Nested values by their path."""
    if not isinstance(value, dict):
        return {path: value}
    return {name: one for key, inner in value.items() for name, one in plain(inner, f"{path}.{key}").items()}


@pytest.mark.parametrize("name", TOGETHER)
def test_a_member_is_the_run_alone(name: str, tmp_path: Path):
    configs = TOGETHER[name]()
    assert len({shape_key(config) for config in configs}) == 1
    for number, member in enumerate(together(configs, tmp_path / "together")):
        alone = train_run(configs[number], tmp_path / f"alone{number}", quiet=True)
        assert apart(member, alone) < 1e-11
        rows = [read_rows(run.file("metrics.jsonl")) for run in (member, alone)]
        for ours, theirs in zip(*rows, strict=True):
            assert plain(ours) == pytest.approx(plain(theirs), rel=1e-11)
            assert list(ours) == list(theirs)
        same = {"config.toml", "facts.parquet", "tokenizer.json"}
        ours, theirs = contents(member.path), contents(alone.path)
        assert ours.keys() == theirs.keys()
        assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
        assert member.environment["trained_together"] == len(configs)
        assert member.environment.keys() - alone.environment.keys() == {"trained_together"}


def test_in_float32_a_member_is_the_run_alone_within_rounding(tmp_path: Path):
    """AdamW's first updates are about the rate times the sign of the gradient, whatever its size: 2e-3 here."""
    training = {"precision": "float32", "steps": 10, "evaluate_every": 10}
    configs = [settings(seed, training=training) for seed in (0, 1)]
    for number, member in enumerate(together(configs, tmp_path / "together")):
        alone = train_run(configs[number], tmp_path / f"alone{number}", quiet=True)
        assert apart(member, alone) < 4e-5
        losses = (run.metrics["loss"].to_numpy() for run in (member, alone))
        assert next(losses) == pytest.approx(next(losses), rel=1e-5)


def test_vocabularies_and_contexts_are_padded_there():
    corpora = [build_corpus(config) for config in TOGETHER["padded vocabularies and contexts"]()]
    assert [corpus.tokenizer.get_vocab_size() for corpus in corpora] == [60, 110]
    assert longest_sentence(corpora[0]) != longest_sentence(corpora[1])


def test_one_that_diverges_is_named_and_the_others_go_on(tmp_path: Path):
    good = settings(0)
    bad = settings(1, training={"learning_rate": 10.0, "weight_decay": 10.0, "warmup_steps": 0})
    runs = [(bad, tmp_path / "bad"), (good, tmp_path / "good")]
    worse, fine = train_together(
        [(config.model_copy(update={"training": _longer(config)}), path) for config, path in runs], quiet=True
    )
    assert isinstance(worse.error, Failure)
    assert str(worse.error).startswith(f"{tmp_path / 'bad'}: the loss is ")
    assert "training has diverged" in str(worse.error)
    assert not Run(tmp_path / "bad").complete
    assert fine.error is None
    assert Run(tmp_path / "good").complete


def _longer(config: RunConfig) -> Any:
    return config.training.model_copy(update={"steps": 150, "evaluate_every": 50, "precision": "float32"})


def test_stopped_anywhere_and_resumed_it_is_the_same_to_the_byte(tmp_path: Path):
    configs = TOGETHER["optimizer and schedule"]()
    expected = [contents(run.path) for run in together(configs, tmp_path / "whole")]
    for last in (1, 33):
        asked: list[int] = []

        def stopping(asked: list[int] = asked, last: int = last) -> bool:
            asked.append(1)
            return len(asked) == last

        with pytest.raises(KeyboardInterrupt, match=f"stopped at step {last} of {STEPS}"):
            together(configs, tmp_path / f"{last}", stopping=stopping)
        resumed = together(configs, tmp_path / f"{last}", resume=True)
        assert [contents(run.path) for run in resumed] == expected
        assert all(run.environment["resumed_at"] == [last] for run in resumed)


@pytest.mark.parametrize(("last", "seconds"), [(25, 0.0), (7, 100.0)])
def test_killed_and_resumed_it_is_the_same_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int, seconds: float
):
    """The newest saved states are those of checkpoints, or of the start."""
    monkeypatch.setattr(ensemble, "STATE_SECONDS", seconds)
    configs = TOGETHER["world and languages"]()
    expected = [contents(run.path) for run in together(configs, tmp_path / "whole")]
    if not (child := os.fork()):
        left = [last]

        def kill() -> bool:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return False

        together(configs, tmp_path / "run", stopping=kill)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    resumed = together(configs, tmp_path / "run", resume=True)
    assert [contents(run.path) for run in resumed] == expected
    saved = 0 if seconds else max(step for step in resumed[0].steps if step <= last)
    assert all(run.environment["resumed_at"] == [saved] for run in resumed)


def test_what_is_complete_is_left_and_what_can_t_start_is_named(tmp_path: Path):
    done, taken, other = (settings(seed, training={"steps": 8, "evaluate_every": 8}) for seed in range(3))
    before = contents(together([done], tmp_path)[0].path)
    (tmp_path / "1").write_text("a file")
    endings = train_together(
        [(config, tmp_path / f"{n}") for n, config in enumerate((done, taken, other))], resume=True, quiet=True
    )
    assert [ending.error is None for ending in endings] == [True, False, True]
    assert "trained_together" not in Run(tmp_path / "2").environment  # it trained alone
    assert "is a file, but a run is a directory" in str(endings[1].error)
    assert contents(tmp_path / "0") == before
    assert Run(tmp_path / "2").complete


def test_runs_of_two_shapes_can_t_train_together(tmp_path: Path):
    runs = [(settings(), tmp_path / "a"), (settings(model={"d_mlp": 64}), tmp_path / "b")]
    with pytest.raises(InputError, match="shapes, steps or devices differ"):
        train_together(runs)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_rounded_products_need_a_gpu(tmp_path: Path, precision: str):
    with pytest.raises(InputError, match=f"training.precision = {precision}: needs a GPU"):
        train_run(settings(training={"precision": precision}), tmp_path / "run")
    assert not list(tmp_path.iterdir())
