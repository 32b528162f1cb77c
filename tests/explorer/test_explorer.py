"""The explorer, driven in Python: what the figures hold against plain computations, and what a click does."""

import sys
from html import unescape
from typing import Any

import numpy as np
import pytest
import torch

from mechxl import explore, patch
from mechxl.errors import InputError
from mechxl.explorer.widgets import Explorer
from mechxl.instruments.patching.pairs import OUTCOMES
from mechxl.questions.common import scores_over_training
from mechxl.run import Run
from tests.model.plain import encode, hooked_greedy, prompt_text


@pytest.fixture(scope="module")
def explorer(trained: Run) -> Explorer:
    return explore(trained)


@pytest.fixture(autouse=True)
def from_the_start(explorer: Explorer):
    """Every test begins with the first choice."""
    first = explorer.available.first()
    for name, control in explorer.controls.items():
        control.unobserve(explorer._changed, names="value")  # drawn once, below
        control.value = "all" if name == "relation" else getattr(first, name)
        control.observe(explorer._changed, names="value")
    explorer.picked, explorer.patched = (-1, -1), None
    explorer._draw()
    assert explorer.figures["patch"].layout.title.text == "Patching: click a fact"


def plain_stream(run: Run, step: int, layer: int, facts, centring: str) -> np.ndarray:
    """(fact, language, d) by run_with_cache, a prompt at a time, centred."""
    model = run.model(step)
    name = f"blocks.{layer - 1}.hook_resid_post" if layer else "blocks.0.hook_resid_pre"
    rows = []
    for fact in facts:
        for language in (0, 1):
            tokens = torch.tensor([encode(run.corpus, prompt_text(run.corpus, int(fact), language, True))])
            with torch.no_grad():
                rows.append(model.run_with_cache(tokens, names_filter=name)[1][name][0, -1].double().numpy())
    h = np.array(rows).reshape(len(facts), 2, -1)
    means = {"none": 0, "whole": h.mean((0, 1)), "per_language": h.mean(0)}
    return h - means[centring]


def traces(explorer: Explorer, name: str) -> Any:
    return explorer.figures[name].data


def click(explorer: Explorer, figure: str, trace: int, point: int | list[int]) -> None:
    """As the page tells it."""
    explorer.drawn._told(None, {"kind": "click", "figure": figure, "trace": trace, "point": point}, [])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"layer": 2},
        {"step": 48, "centring": "per_language"},
        {"group": "parallel", "relation": 2, "shown": 7},
        {"centring": "none", "layer": 2, "group": "unseen"},
    ],
)
def test_map_and_checkerboard_follow_the_controls(explorer: Explorer, trained: Run, change: dict):
    for name, value in change.items():
        explorer.controls[name].value = value
    choice, corpus = explorer.choice, trained.corpus
    measured = np.flatnonzero(corpus.mixture.group == choice.group)
    if choice.relation is not None:
        measured = measured[corpus.world.relation[measured] == choice.relation]
    assert len(measured) <= 1000  # so that all of them are measured
    h = plain_stream(trained, choice.step, choice.layer, measured, choice.centring)
    shown = explorer.shown.fact[: len(explorer.shown.fact) // 2]
    assert len(set(shown)) == min(choice.shown, len(measured))
    place = np.searchsorted(measured, shown)

    board = traces(explorer, "board")[0].z
    flat = np.concatenate([h[place, 0], h[place, 1]])
    u = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(board, u @ u.T, atol=1e-4)

    every = h.reshape(-1, h.shape[2])
    _, size, axes = np.linalg.svd(every - every.mean(0), full_matrices=False)
    expected = (flat - every.mean(0)) @ axes[:2].T
    by_language = traces(explorer, "map")[1:]
    found = np.concatenate([np.stack([trace.x, trace.y], axis=1) for trace in by_language])
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3 * np.abs(expected).max())
    share = (size[:2] ** 2).sum() / (size**2).sum()
    assert f"{share:.0%} of the variance of {len(measured)} facts" in explorer.figures["map"].layout.title.text
    joined = traces(explorer, "map")[0].x.reshape(-1, 3)
    np.testing.assert_array_equal(joined[:, 0], by_language[0].x)
    np.testing.assert_array_equal(joined[:, 1], by_language[1].x)
    assert np.isnan(joined[:, 2]).all()
    for trace, language in zip(by_language, (0, 1), strict=True):
        texts = [f"{'AB'[language]}: {corpus.text(int(fact), language)}" for fact in shown]
        assert list(trace.text) == texts


def test_curves_are_the_score(explorer: Explorer, trained: Run):
    expected = scores_over_training(trained, thorough=False)
    for layer in (1, 2):
        curve = traces(explorer, "curves")[layer]
        assert list(curve.customdata) == trained.steps
        assert list(curve.y) == expected[expected["layer"] == layer]["score"].tolist()
        assert list(curve.x)[1:] == trained.steps[1:]
    assert np.isnan(np.array(traces(explorer, "curves")[0].y, dtype=float)).all()  # one token a relation: not defined
    explorer.controls["step"].value = 48
    explorer.controls["layer"].value = 2
    marked = traces(explorer, "curves")[-1]
    assert marked.x[0] == 48
    assert marked.y[0] == traces(explorer, "curves")[2].y[trained.steps.index(48)]
    explorer.controls["role"].value = "name_last"
    assert not np.allclose(traces(explorer, "curves")[2].y, expected[expected["layer"] == 2]["score"])


def test_attention_is_that_of_the_fact_picked(explorer: Explorer, trained: Run):
    explorer.controls["layer"].value = 2
    fact, language = int(explorer.shown.fact[3]), 1
    explorer.pick(fact, language)
    model = trained.model(-1)
    for trace, asked in zip(traces(explorer, "attention"), (0, 1), strict=True):
        tokens = encode(trained.corpus, prompt_text(trained.corpus, fact, asked, True))
        with torch.no_grad():
            pattern = model.run_with_cache(torch.tensor([tokens]))[1]["pattern", 1][0].numpy()
        np.testing.assert_allclose(trace.z, pattern[:, 1:].reshape(-1, len(tokens)), atol=1e-5)
        assert trace.x[0] == "0 &lt;bos&gt;"
        names: Any = model.to_str_tokens(torch.tensor(tokens))
        assert [unescape(label).split(" ", 1)[1].strip("#") for label in trace.x] == [n.strip("#") for n in names]
        assert {label.split(" ")[0] for label in trace.y} == {"L1H0", "L1H1"}
        assert explorer.figures["attention"].layout[f"xaxis{asked + 1 if asked else ''}"].title.text == "AB"[asked]
    assert explorer.figures["attention"].layout.title.text == "Attention by head: layer 2 (heads L1H0, ...)"
    explorer.controls["layer"].value = 0
    assert traces(explorer, "attention")[0].z.size == 0


@pytest.mark.parametrize("language", [0, 1])
@pytest.mark.parametrize("where", ["map", "board"])
def test_a_click_patches_the_fact(explorer: Explorer, trained: Run, where: str, language: int):
    explorer.controls["group"].value = "parallel"
    explorer.controls["layer"].value = 2
    n = len(explorer.shown.fact) // 2
    if where == "map":
        click(explorer, "map", 1 + language, 5)
    else:
        click(explorer, "board", 0, [5 + language * n, 2])
    fact = int(explorer.shown.fact[5])
    assert explorer.picked == (fact, language)
    found = explorer.patched
    assert found is not None
    to, other = found.receiver
    world, corpus = trained.corpus.world, trained.corpus
    assert (found.donor, other) == ((fact, language), 1 - language)
    assert world.relation[to] == world.relation[fact]
    assert world.value[to, other] != world.value[fact, language]
    expected = patch(trained, donor=language, receiver=other, pairs=[(fact, to)]).squeeze()
    heat = traces(explorer, "patch")[0]
    np.testing.assert_array_equal(np.array(heat.text), expected["answer"].values)
    np.testing.assert_allclose(heat.z, (expected["log_prob_donor"] - expected["log_prob_receiver"]).values)
    kinds = [[OUTCOMES[kind] for kind in row] for row in expected["outcome"].values]
    assert [[unescape(kind) for kind in row] for row in heat.customdata] == kinds
    place = expected.sel(layer=2, role="prompt_last")
    said = unescape(explorer.message.value)
    assert f"{place['answer'].item() or 'no value'} ({OUTCOMES[place['outcome'].item()]})" in said
    model, prompt = trained.model(), encode(corpus, prompt_text(corpus, to, other, True))
    [token] = hooked_greedy(model, prompt, 1)
    assert f"answered {trained.tokenizer.decode([token], skip_special_tokens=False)}" in said
    large = [trace.marker.size[5] for trace in traces(explorer, "map")[1:]]
    assert min(large) > traces(explorer, "map")[1].marker.size[4]


def test_another_checkpoint_is_patched_anew_and_another_sample_lets_go(explorer: Explorer, trained: Run):
    explorer.controls["group"].value = "parallel"
    click(explorer, "map", 1, 0)
    (fact, _), found = explorer.picked, explorer.patched
    assert found is not None
    explorer.controls["step"].value = 0
    before = patch(trained, donor=0, receiver=1, pairs=[(fact, found.receiver[0])], step=0).squeeze()
    np.testing.assert_array_equal(np.array(traces(explorer, "patch")[0].text), before["answer"].values)
    explorer.controls["group"].value = "mono"
    assert explorer.patched is None
    assert explorer.picked[0] in explorer.shown.fact


def test_a_click_on_a_curve_chooses_its_layer_and_checkpoint(explorer: Explorer, trained: Run):
    click(explorer, "curves", 2, 3)
    assert (explorer.choice.layer, explorer.choice.step) == (2, trained.steps[3])


def test_an_entity_without_facts_can_not_be_patched(explorer: Explorer):
    explorer.controls["group"].value = "unseen"
    click(explorer, "map", 1, 0)
    assert explorer.patched is None
    assert "no receiver" in explorer.figures["patch"].layout.title.text


def test_it_is_a_widget_that_a_notebook_shows(explorer: Explorer):
    assert any("widget-view" in kind for kind in explorer._repr_mimebundle_() or ())
    assert all(control.value is not None for control in explorer.controls.values())  # a menu shows None as nothing
    for name, figure in explorer.figures.items():
        assert getattr(explorer.drawn, name) == figure.to_json()


@pytest.mark.parametrize("missing", ["ipywidgets", "anywidget"])
def test_what_is_not_installed_is_named(trained: Run, monkeypatch: pytest.MonkeyPatch, missing: str):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"needs {missing}.*pip install mechxl\[notebook\]"):
        explore(trained)
