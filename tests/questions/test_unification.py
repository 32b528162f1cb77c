"""The question `unification` against the model's own cache, read prompt by prompt as text."""

import numpy as np
import pytest

from mechxl.config import InputError
from mechxl.instruments.residual import residuals
from mechxl.questions import unification
from mechxl.questions.ask import ask


@pytest.fixture(scope="module")
def finding(trained):
    return unification.compute(trained)


def cached_vector(model, text, layer):
    _, cache = model.run_with_cache(model.to_tokens(text))
    name = "hook_embed" if layer == 0 else f"blocks.{layer - 1}.hook_resid_post"
    extra = cache["hook_pos_embed"][0, -1] if layer == 0 else 0
    return (cache[name][0, -1] + extra).numpy()


def prompt(run, fact, language):
    name = "AB"[language]
    row = run.facts.iloc[fact]
    return f"{row[f'entity_word_{name}']} {row[f'relation_word_{name}']}"


def test_residuals_equal_the_cache_of_each_prompt(trained):
    facts = np.array([0, 7, 100, len(trained.facts) - 1])
    found, model = residuals(trained, -1, facts), trained.model(-1)
    for layer in range(3):
        for at, fact in enumerate(facts):
            for language in range(2):
                expected = cached_vector(model, prompt(trained, fact, language), layer)
                assert found[layer, at, language] == pytest.approx(expected, abs=1e-6)


def test_the_score_equals_one_computed_from_text(trained, finding):
    facts = np.flatnonzero(trained.facts["group"] == "mono")
    step, layer = trained.steps[2], 2
    model = trained.model(step)
    h = np.array([[cached_vector(model, prompt(trained, f, a), layer) for a in range(2)] for f in facts])
    h = h - h.mean(axis=(0, 1))
    u = h / np.linalg.norm(h, axis=-1, keepdims=True)
    same, within = [], []
    relation = trained.facts["relation"].to_numpy()[facts]
    for r in np.unique(relation):
        v = u[relation == r]
        same.append(np.mean([x[0] @ x[1] for x in v]))
        for a in range(2):
            gram = v[:, a] @ v[:, a].T
            within.append(gram[~np.eye(len(v), dtype=bool)].mean())
    table = finding.tables["score"].set_index(["step", "layer", "group", "centring"])
    row = table.loc[(step, layer, "mono", "whole")]
    assert row["score"] == pytest.approx(np.mean(same) - np.mean(within), abs=1e-5)
    assert row["score_low"] < row["score"] < row["score_high"]
    assert row["facts"] == len(facts)


def test_layer_0_is_not_defined_and_says_so(finding):
    layer_0 = finding.tables["score"].query("layer == 0")
    assert layer_0["score"].isna().all()
    assert layer_0["reason"].str.contains("same token").all()


def test_all_groups_centrings_steps_and_layers_are_there(trained, finding):
    table = finding.tables["score"]
    assert len(table) == len(trained.steps) * 3 * len(unification.VARIANTS)
    assert table.query("layer > 0")[["p", "p_scan"]].notna().all(axis=None)
    assert (table["p_scan"] >= table["p"] - 1e-12)[table["p"].notna()].all()
    assert finding.arrays["checkerboard"].shape[0] == len(trained.steps)
    assert [panel.name for panel in unification.figures(finding)] == ["score", "parts", "groups", "checkerboard"]


def test_asking_twice_reads_the_kept_finding_and_a_damaged_one_is_made_anew(trained):
    path = trained.file("findings") / "unification.json"
    first = ask(trained, "unification")
    kept = path.stat().st_mtime_ns
    assert ask(trained, "unification").summary == first.summary
    assert path.stat().st_mtime_ns == kept
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    assert ask(trained, "unification").summary == first.summary
    assert path.read_text(encoding="utf-8") == text


def test_an_unknown_question_names_those_there_are(trained):
    with pytest.raises(InputError, match="learning, unification"):
        ask(trained, "phases")
