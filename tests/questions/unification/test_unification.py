"""The question `unification` against the model's own cache, read prompt by prompt as text."""

import numpy as np
import pytest

from mechxl.errors import InputError
from mechxl.questions import unification
from mechxl.questions.ask import ask
from mechxl.questions.unification.answer import few_steps
from mechxl.questions.unification.measuring import CHEAP, COSTLY, VARIANTS


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
    table = finding.tables["measures"].set_index(["step", "layer", "group", "centring", "measure"])
    row = table.loc[(step, layer, "mono", "whole", "score")]
    assert row["value"] == pytest.approx(np.mean(same) - np.mean(within), abs=1e-5)
    assert row["low"] < row["value"] < row["high"]
    assert row["n"] == len(facts)


def test_retrieval_equals_one_computed_from_text(trained, finding):
    facts = np.flatnonzero(trained.facts["group"] == "mono")
    step, layer = trained.steps[-1], 1
    model = trained.model(step)
    h = np.array([[cached_vector(model, prompt(trained, f, a), layer) for a in range(2)] for f in facts])
    h = h - h.mean(axis=(0, 1))
    relation = trained.facts["relation"].to_numpy()[facts]
    hits = []
    for r in np.unique(relation):
        v = h[relation == r]
        for a in range(2):
            nearest = [int(np.argmax([x @ y / np.linalg.norm(y) for y in v[:, 1 - a]])) for x in v[:, a]]
            hits.append(np.mean([at == own for own, at in enumerate(nearest)]))
    table = finding.tables["measures"].set_index(["step", "layer", "group", "centring", "measure"])
    assert table.loc[(step, layer, "mono", "whole", "retrieval"), "value"] == pytest.approx(np.mean(hits), abs=1e-6)


def test_layer_0_is_not_defined_and_says_so(finding):
    layer_0 = finding.tables["measures"].query("layer == 0")
    assert layer_0["value"].isna().all()
    assert layer_0["reason"].str.contains("same token").all()


def test_all_groups_centrings_steps_layers_and_measures_are_there(trained, finding):
    table = finding.tables["measures"]
    for (group, centring), rows in table.groupby(["group", "centring"]):
        assert (group, centring) in VARIANTS
        for name in CHEAP if centring == "whole" else CHEAP[:7]:
            assert len(rows[rows["measure"] == name]) == len(trained.steps) * 3, name
        if centring == "whole":
            for name in COSTLY:
                assert len(rows[rows["measure"] == name]) == len(finding.notes["costly_steps"]) * 3, name
    assert len(table.groupby(["group", "centring"])) == len(VARIANTS)
    tested = table[table["p"].notna()]
    assert (tested["p_scan"] >= tested["p"] - 1e-12).all()
    score = table[(table["measure"] == "score") & (table["layer"] > 0)]
    assert score[["low", "high", "null", "p_scan"]].notna().all(axis=None)


def test_auc_is_that_of_the_items_and_their_answers(trained, finding):
    """Items' scores by a loop over pairs; who is right by the model's own argmax."""
    items, table = finding.tables["items"], finding.tables["measures"]
    facts, model = trained.facts, trained.model(-1)
    right = []
    for row in items.itertuples():
        text = f"{facts[f'entity_word_{row.asked}'][row.fact]} {facts[f'relation_word_{row.asked}'][row.fact]}"
        answer = model.to_tokens(facts[f"value_word_{row.asked}"][row.fact], prepend_bos=False)[0, -1]
        right.append(int(model(model.to_tokens(text))[0, -1].argmax() == answer))
    assert items["right"].tolist() == right
    of = table[(table["measure"] == "auc_transfer") & (table["layer"] == 1) & (table["step"] == trained.steps[-1])]
    if 0 < sum(right) < len(right):
        yes, no = (items["score"][items["right"] == side].to_numpy() for side in (1, 0))
        expected = ((yes[:, None] > no).mean() + (yes[:, None] == no).mean() / 2).item()
        assert of["value"].item() == pytest.approx(expected, abs=1e-5)
    else:
        assert np.isnan(of["value"].item())


def test_the_map_keeps_each_fact_beside_its_rendering(trained, finding):
    assert finding.arrays["map"].shape == (2, len(trained.steps), 2 * len(finding.notes["shown_relation"]), 2)
    whole, own = finding.arrays["map"][:, -1].reshape(2, -1, 2, 2)
    assert (
        np.linalg.norm(own[:, 0] - own[:, 1], axis=1).mean()
        <= np.linalg.norm(whole[:, 0] - whole[:, 1], axis=1).mean() + 0.2
    )


def test_figures_draw_all_of_it(trained, finding):
    names = ["score", "parts", "measures", "groups", "checkerboard", "map", "transfer-by-score"]
    assert [panel.name for panel in unification.figures(finding)] == names
    for panel in unification.figures(finding):
        if panel.name in ("checkerboard", "map"):
            frames = panel.figure.to_dict()["frames"]
            assert [frame["name"] for frame in frames] == [str(step) for step in trained.steps]


def test_few_steps_hold_the_ends():
    assert few_steps([0, 1, 2, 5, 9], 8) == [0, 1, 2, 5, 9]
    assert few_steps(list(range(0, 300, 10)), 3) == [0, 140, 290]
    assert few_steps([0], 8) == [0]


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
        ask(trained, "nonsense")
