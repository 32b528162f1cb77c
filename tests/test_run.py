"""A run directory: what it holds, read back, and refusals that name the file."""

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mechxl import Run as FaceRun
from mechxl.check import accept
from mechxl.config import InputError, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.files import read_rows, whole_file, write_json, write_text
from mechxl.run import Run, facts_table
from tests.runs import copied, unfinished, write_environment

STEPS = [0, 1, 12, 48, 84, 120]


@pytest.fixture
def copy(trained: Run, tmp_path: Path) -> Path:
    return copied(trained, tmp_path / "run").path


def test_properties(trained: Run):
    assert FaceRun is Run
    assert trained.name == "trained"
    assert trained.complete
    assert trained.steps == trained.config.training.checkpoint_steps() == STEPS
    assert trained.config.world.n_entities == 60
    assert trained.config.model.d_model == 64
    assert repr(trained) == f"Run({str(trained.path)!r}: complete, 6 checkpoints, 120 steps)"
    assert trained.environment["device"] == "cpu"
    assert trained.environment["versions"]["torch"] == torch.__version__
    assert trained.environment["wall_seconds"] > 0
    assert trained.corpus.digest == trained.environment["data_digest"]
    text = trained.corpus.text(0, 0)
    assert trained.tokenizer.decode(trained.tokenizer.encode(text).ids) == text


def test_a_run_without_complete_is_not_complete(copy: Path):
    run = unfinished(copy, 84)
    assert not run.complete
    assert "not complete" in repr(run)
    assert run.steps == STEPS[:-1]


@pytest.mark.parametrize(("asked", "step"), [(-1, 120), (-6, 0), (-3, 48), (0, 0), (12, 12), (120, 120)])
def test_models_by_step_and_by_place(trained: Run, asked: int, step: int):
    saved = load_file(trained.path / f"checkpoints/step-{step:06d}.safetensors")
    model = dict(trained.model(asked).named_parameters())
    assert model.keys() == saved.keys()
    assert all(torch.equal(model[name], saved[name]) for name in saved)


@pytest.mark.parametrize("step", [2, 121, -7])
def test_a_step_that_is_not_saved_lists_those_that_are(trained: Run, step: int):
    with pytest.raises(InputError, match=rf"trained: step {step} is not saved; there are 0, 1, 12, 48, 84, 120"):
        trained.model(step)


def test_steps_are_those_of_the_training(copy: Path):
    for name in ("step-1000000", "step-000050", "step-24", "step-000012 (copy)", ".step-000500"):
        shutil.copy(copy / "checkpoints/step-000012.safetensors", copy / f"checkpoints/{name}.safetensors")
    (copy / "checkpoints/step-backup").mkdir()
    run = Run(copy)
    assert run.steps == STEPS
    assert len(run.foreign) == 6
    assert run.checkpoint(7).name == "step-000007.safetensors"
    assert run.checkpoint(1_000_000).name == "step-1000000.safetensors"


def test_facts_are_the_corpus(trained: Run):
    corpus, facts = trained.corpus, trained.facts
    world, lexicon, mixture = corpus.world, corpus.lexicon, corpus.mixture
    assert len(facts) == (60 + 24) * 4
    assert facts["entity"].tolist() == world.entity.tolist()
    assert facts["relation"].tolist() == world.relation.tolist()
    assert facts["weight"].sum() == pytest.approx(1)
    for fact, row in enumerate(facts.itertuples()):
        seen = fact < 60 * 4
        told = [language for language in range(2) if mixture.told[fact, language]]
        assert row.told_in == "".join("AB"[language] for language in told)
        assert row.group == ("unseen" if not seen else "parallel" if len(told) == 2 else "mono")
        assert row.weight == pytest.approx(mixture.weight[fact].sum())
        for language, name in enumerate("AB"):
            words = corpus.text(fact, language).split()
            assert getattr(row, f"entity_word_{name}") == words[0]
            assert getattr(row, f"relation_word_{name}") == words[1]
            assert getattr(row, f"weight_{name}") == mixture.weight[fact, language]
            value, said = getattr(row, f"value_{name}"), getattr(row, f"value_word_{name}")
            if seen:
                assert value == world.value[fact, language]
                index = lexicon.value_words[world.relation[fact], world.value[fact, language], language]
                assert said == words[2] == lexicon.words[index]
            else:
                assert pd.isna(value)
                assert said is None or pd.isna(said)


def test_metrics_are_the_rows_with_dotted_names(trained: Run):
    lines = (trained.path / "metrics.jsonl").read_text().splitlines()
    metrics = trained.metrics
    assert metrics["step"].tolist() == [0, 1, 12, 40, 48, 80, 84, 120]
    for line, (_, row) in zip(lines, metrics.iterrows(), strict=True):
        content = json.loads(line, parse_constant=pytest.fail)
        assert row["loss"] == content["loss"]
        assert row["recall_by_group.mono"] == content["recall_by_group"]["mono"]
        assert row["transfer_by_pair.A→B"] == content["transfer_by_pair"]["A→B"]
        assert row["transfer_kinds.other"] == content["transfer_kinds"]["other"]
    assert math.isnan(metrics["train_loss"].iloc[0])
    assert metrics["loss"].iloc[-1] < 0.5 * metrics["loss"].iloc[0]


ROW = '{"step": 8, "transfer_by_pair": {"A→B": 0.5}}'.encode()


ARROW = ROW.index("→".encode())  # a letter of three bytes


@pytest.mark.parametrize("end", [0, 5, ARROW, ARROW + 1, ARROW + 2, len(ROW) - 1])
def test_a_torn_last_line_is_left_out(tmp_path: Path, end: int):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(ROW + b"\n" + ROW[:end])
    assert read_rows(path) == [json.loads(ROW)]


def test_nan_never_enters_json(tmp_path: Path):
    write_json(tmp_path / "a.json", {"value": None})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"value": math.nan})
    assert json.loads((tmp_path / "a.json").read_text()) == {"value": None}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_whole_files_are_moved_into_place(tmp_path: Path):
    """Who reads the old file goes on reading it; a writer that fails leaves it, and nothing else."""
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert (reader.read(), path.read_text()) == ("old", "new")

    def fail() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"


def test_what_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere: there is no such run"):
        Run(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: "):
        Run(tmp_path / "file")
    with pytest.raises(InputError, match=f"{tmp_path.name}: is not a run directory"):
        Run(tmp_path)


READERS = {
    "config.toml": lambda run: run.config,
    "environment.json": lambda run: run.environment,
    "facts.parquet": lambda run: run.facts,
    "tokenizer.json": lambda run: run.tokenizer,
    "metrics.jsonl": lambda run: run.metrics,
    "checkpoints/step-000012.safetensors": lambda run: run.model(12),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", [b"\xff\xfe nonsense [\n", b'{"half": \n{"written'], ids=["noise", "cut"])
def test_a_damaged_file_is_named(copy: Path, name: str, content: bytes):
    (copy / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        READERS[name](Run(copy))
    assert str(copy) in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["environment.json", "facts.parquet", "tokenizer.json"])
def test_a_missing_file_is_named(copy: Path, name: str):
    (copy / name).unlink()
    with pytest.raises(InputError) as error:
        READERS[name](Run(copy))
    assert str(copy) in str(error.value)
    assert name in str(error.value)


def test_settings_of_another_version_are_refused(copy: Path):
    with (copy / "config.toml").open("a") as file:
        file.write("\n[future]\nknob = 1\n")
    (copy / "COMPLETE").unlink()
    with pytest.raises(InputError, match=r"config\.toml.*future"):
        _ = Run(copy).config


def test_data_that_is_not_what_was_trained_on_is_refused(copy: Path):
    text = (copy / "config.toml").read_text()
    (copy / "config.toml").write_text(text.replace("n_entities = 60", "n_entities = 61"))
    accept(copy)
    with pytest.raises(InputError, match="other data than the run was trained on: config"):
        _ = Run(copy).corpus


@pytest.mark.parametrize(
    ("name", "said"), [("numpy", "numpy is .* here and was 0.1; use"), ("", "mechxl's code has changed; use commit ")]
)
def test_other_data_name_what_differs(copy: Path, name: str, said: str):
    about = json.loads((copy / "environment.json").read_text())
    about |= {"data_digest": "0" * 64, "versions": about["versions"] | ({name: "0.1"} if name else {})}
    write_environment(copy, about)
    with pytest.raises(InputError, match=f"other data than the run was trained on: .*{said}"):
        _ = Run(copy).corpus


def test_a_checkpoint_of_another_model_is_refused(copy: Path):
    text = (copy / "config.toml").read_text()
    (copy / "config.toml").write_text(text.replace("d_mlp = 256", "d_mlp = 128"))
    accept(copy)
    with pytest.raises(InputError, match=r"step-000012\.safetensors.*blocks\.0\.mlp\.W_in is float32 \[64, 256\]"):
        Run(copy).model(12)


def test_without_checkpoints_there_is_no_model(copy: Path):
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    run = unfinished(copy, 84)
    assert run.steps == []
    with pytest.raises(InputError, match="has no checkpoints"):
        run.model()


def test_facts_have_the_words_of_tags_where_sentences_have_tags():
    """Words in their order, entity and relation and value, are the sentence that training tells."""
    world = {"n_entities": 6, "n_unseen": 0}
    for cue in ("tag", "none"):
        corpus = build_corpus(parse_config({"world": world, "languages": {"cue": cue}}))
        facts = facts_table(corpus)
        for name in "AB":
            parts = [f"{part}_word_{name}" for part in ("tag", "entity", "relation", "value")]
            assert (parts[0] in facts) == (cue == "tag")
            told = facts[[part for part in parts if part in facts]].agg(" ".join, axis=1)
            assert told.tolist() == [corpus.text(fact, "AB".index(name)) for fact in range(len(facts))]
