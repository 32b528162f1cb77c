"""`activations` against `run_with_cache` on `run.model(step)`, one sentence at a time."""

import shutil

import numpy as np
import pytest
import torch
import xarray as xr

from mechxl import activations
from mechxl.data.roles import role_names
from mechxl.instruments.activations import reading
from tests.instruments.runs import Plain, sentence, small_run
from tests.runs import copied

# Every kind of tokenization, and every pair of cue, word order and batch size, is in one of them.
CASES = [
    ("word", "none", "same", (1, 7)),
    ("word", "tag", "varied", (512,)),
    ("syllable", "none", "varied", (1, 512)),
    ("character", "tag", "same", (512,)),
    ("byte", "none", "varied", (7,)),
    ("bpe", "tag", "same", (1, 7)),
]
WIDTHS = {  # every hook of the default model, by what stands beside batch and position
    ("d_model",): [
        *("hook_embed", "hook_pos_embed", "ln_final.hook_normalized", "unembed.hook_in"),
        *(f"blocks.{b}.hook_{x}" for b in (0, 1) for x in ("resid_pre", "resid_mid", "resid_post")),
        *(f"blocks.{b}.hook_{x}" for b in (0, 1) for x in ("attn_out", "mlp_out")),
        *(f"blocks.{b}.{ln}.hook_normalized" for b in (0, 1) for ln in ("ln1", "ln2")),
    ],
    ("scale",): ["ln_final.hook_scale", *(f"blocks.{b}.{ln}.hook_scale" for b in (0, 1) for ln in ("ln1", "ln2"))],
    ("head_index", "d_head"): [f"blocks.{b}.attn.hook_{x}" for b in (0, 1) for x in "qkvz"],
    ("head_index", "key_pos"): [f"blocks.{b}.attn.hook_{x}" for b in (0, 1) for x in ("attn_scores", "pattern")],
    ("d_mlp",): [f"blocks.{b}.mlp.hook_{x}" for b in (0, 1) for x in ("pre", "post")],
    ("d_vocab",): ["unembed.hook_out"],
}
FACTS = [5, 29]  # the last is an unseen entity's


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("runs") / "run", languages={"cue": "tag"})


def expect_equal(found: xr.DataArray, plain: Plain, tag: bool = True, within: float = 1e-6) -> None:
    """The first checkpoint of an answer against a sentence at a time."""
    names, values, positions = found.attrs["hooks"], found.values[0], found["position"].values
    for (a, f, r), position in np.ndenumerate(positions):
        tokens = sentence(plain.run, int(found["fact"][f]), a, tag)
        for h, name in enumerate(names):
            x = values[h, a, f, r]
            if position < 0:
                assert np.isnan(x).all()
                continue
            y = plain(name, tokens, position)
            assert np.array_equal(np.isneginf(x), np.isneginf(y)), name
            finite = np.isfinite(y)
            size = np.abs(y[finite]).max()  # float32's error grows with it, and differs between processors
            assert np.abs(x[finite] - y[finite]).max() <= min(within * max(1, size), 1e-5 * size), name


def test_the_widths_are_all_hooks_of_the_default_model(run):
    _, cache = run.model().run_with_cache(torch.tensor([[1]]))
    assert sorted(name for names in WIDTHS.values() for name in names) == sorted(cache.keys())


@pytest.mark.parametrize(("kind", "cue", "order", "sizes"), CASES)
def test_every_hook_equals_run_with_cache(tmp_path, kind, cue, order, sizes):
    """At the first batch size; at others one hook of each width, since batches know widths and no names."""
    run = small_run(
        tmp_path / "run",
        tokenization={"kind": kind, "vocab_size": 90},
        languages={"name_syllables": 12, "word_syllables": 24, "cue": cue, "word_order": order},
    )
    plain = Plain(run, 4)
    for size in sizes:
        for trailing, every in WIDTHS.items():
            names = every if size == sizes[0] else every[-1:]
            found = activations(run, names, steps=-1, facts=FACTS, role="all", batch_size=size)
            assert found.dims == ("checkpoint", "component", "language", "fact", "role", *trailing)
            assert found["component"].values.tolist() == names
            expect_equal(found, plain)
        shutil.rmtree(run.path / "activations.zarr")


@pytest.mark.parametrize("names", [["blocks.1.hook_resid_pre"], ["hook_embed", "blocks.0.hook_resid_mid"]])
def test_no_more_blocks_run_than_hooks_need(run, names):
    expect_equal(activations(run, names, steps=1, facts=FACTS, role=["cue", "answer_1"]), Plain(run, 1))


@pytest.mark.parametrize("role", ["cue", "name_first", "relation_last", "prompt_last", "answer_1"])
def test_one_role_at_a_time_and_a_hidden_tag(run, role):
    for tag in [False] if role != "cue" else [True]:
        found = activations(run, "resid_post", steps=[0, 4], facts=FACTS, role=role, tag=tag)
        for step in (0, 4):
            expect_equal(found.sel(checkpoint=[step]), Plain(run, step), tag)
    assert activations(run, role=role).attrs["tag"] == "shown"


@pytest.mark.parametrize("role", [["cue", "prompt_last"], ["prompt_last"], ["name_last", "answer_1"], ["cue"]])
def test_sentences_that_begin_alike(run, role):
    found = activations(run, "resid_post", steps=[4], role=role)
    expect_equal(found, Plain(run, 4))


def test_layers_are_the_embeddings_and_what_each_block_leaves(run):
    found = activations(run, "resid_post", steps=-1, facts=FACTS)
    assert found["layer"].values.tolist() == [0, 1, 2]
    assert found["hook"].values.tolist() == [
        "blocks.0.hook_resid_pre",
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_post",
    ]
    embeddings = activations(run, ["hook_embed", "hook_pos_embed"], steps=-1, facts=FACTS).sum("component")
    assert found.sel(layer=0).values == pytest.approx(embeddings.values, abs=1e-6)
    one = activations(run, "attn.hook_z", layers=2, steps=-1, facts=FACTS)
    assert one["hook"].values.tolist() == ["blocks.1.attn.hook_z"]
    assert one.dims[-2:] == ("head_index", "d_head")
    assert np.array_equal(one.values, activations(run, "z", steps=-1, facts=FACTS).sel(layer=[2]).values)


def test_coordinates_are_the_facts(run):
    found = activations(run, facts=[3, 29, 8], role="all")
    table = run.facts.iloc[[3, 29, 8]]
    for name in ("entity", "relation", "group"):
        assert found[name].values.tolist() == table[name].tolist()
    for language in "AB":
        value = table[f"value_{language}"].fillna(-1).astype(int).tolist()
        assert found["value"].sel(language=language).values.tolist() == value
        told = [language in names for names in table["told_in"]]
        assert found["told"].sel(language=language).values.tolist() == told
    assert found["checkpoint"].values.tolist() == run.steps
    assert found["role"].values.tolist() == role_names(run.corpus)
    assert found.dtype == np.float32


def test_nothing_is_computed_before_it_is_looked_at_and_then_only_that(tmp_path, monkeypatch):
    run = small_run(tmp_path / "run")
    asked = []

    def spy(corpus, fact, language, *more):
        asked.append(len(fact))
        return batches(corpus, fact, language, *more)

    batches = reading.sentence_batches
    monkeypatch.setattr(reading, "sentence_batches", spy)
    lazy = activations(run, "resid_post", facts="all", role=["name_last", "prompt_last"])
    assert "values with dtype" in repr(lazy) or lazy.size < 1e5
    assert not asked
    part = lazy.sel(checkpoint=1, language="B", role="prompt_last").isel(fact=[4, 2])
    first = part.values
    assert asked == [2]
    assert len(list((run.path / "activations.zarr").glob("step-*"))) == 1
    assert np.array_equal(lazy.sel(checkpoint=1, language="B", role="prompt_last").isel(fact=[4, 2]).values, first)
    assert asked == [2]
    wider = activations(run, facts=[2, 3, 4], steps=1).sel(language="B", role="prompt_last").squeeze("checkpoint")
    assert wider.load().sel(fact=[4, 2]).values == pytest.approx(first, abs=1e-6)
    assert asked == [2, 1]


@pytest.mark.parametrize("seed", range(6))
def test_any_selection_equals_the_same_of_all(run, seed):
    rng = np.random.default_rng(seed)
    lazy = activations(run, "resid_post", role=["name_first", "prompt_last"])
    everything = lazy.copy(deep=True).load()
    index = {}
    for dim, size in lazy.sizes.items():
        start, stop = sorted(rng.integers(0, size + 1, 2))
        choices = [int(rng.integers(size)), slice(start, stop), rng.integers(0, size, 3), slice(None, None, -1)]
        index[dim] = choices[rng.integers(4)]
    assert lazy.isel(index).equals(everything.isel(index))


def test_a_float64_run_is_read_in_float64(tmp_path):
    settings = {"steps": 2, "checkpoints": 2, "warmup_steps": 1, "batch_size": 16, "precision": "float64"}
    run = small_run(tmp_path / "run", training=settings, model={"init_std": 0.3}, languages={"cue": "tag"})
    plain = Plain(run, 2)
    for names in WIDTHS.values():
        found = activations(run, names, steps=-1, facts=FACTS, role="all")
        assert found.dtype == found.values.dtype == np.float64
        expect_equal(found, plain, within=1e-12)


@pytest.mark.parametrize("size", [1, 7, 512])
def test_a_trained_run(trained, tmp_path, size):
    run = copied(trained, tmp_path / "run")
    facts = [0, 100, 239, 335]
    for hook in ("resid_post", "pattern"):
        expect_equal(activations(run, hook, steps=-1, facts=facts, role="all", batch_size=size), Plain(run, 120))
