"""The question `unification` against the model's own cache, read prompt by prompt as text."""

from functools import cache

import numpy as np
import pytest

from mechxl.measures.table import MEASURES
from mechxl.questions import unification
from mechxl.questions.common import few_steps, scores_over_training
from mechxl.questions.unification.answer import compute
from mechxl.questions.unification.panels import figures
from tests.measures.distance import DISTANCE

WITH_DISTANCE = (*MEASURES, DISTANCE)  # the table, and an example of a new measure


@pytest.fixture(scope="module")
def finding(trained):
    return compute(trained, measures=WITH_DISTANCE)


def last_token(model, text):
    """The residual stream after each of the two blocks at the last token of a prompt."""
    names = [f"blocks.{block}.hook_resid_post" for block in (0, 1)]
    _, cache = model.run_with_cache(model.to_tokens(text), names_filter=names)
    return [cache[name][0, -1].numpy() for name in names]


def prompt(run, fact, language):
    name = "AB"[language]
    row = run.facts.iloc[fact]
    return f"{row[f'entity_word_{name}']} {row[f'relation_word_{name}']}"


@cache
def headline_vectors(run, step):
    """The mono facts, and their vectors by layer, fact and language, prompt by prompt."""
    facts, model = np.flatnonzero(run.facts["group"] == "mono"), run.model(step)
    vectors = np.array([[last_token(model, prompt(run, f, a)) for a in range(2)] for f in facts])
    return facts, {layer: vectors[:, :, layer - 1] for layer in (1, 2)}


def rows_of(finding, measure, layer, group="mono", centring="whole"):
    """A curve's rows, in order of steps."""
    table = finding.tables["measures"]
    picked = (table["measure"] == measure) & (table["layer"] == layer)
    return table[picked & (table["group"] == group) & (table["centring"] == centring)]


def curves(figure):
    """The lines of a figure, without the bands of their intervals."""
    return [trace for trace in figure.to_dict()["data"] if trace.get("mode") == "lines" and not trace.get("fill")]


def test_the_score_equals_one_computed_from_text(trained, finding):
    step, layer = trained.steps[2], 2
    facts, vectors = headline_vectors(trained, step)
    h = vectors[layer]
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
    step, layer = trained.steps[-1], 1
    facts, vectors = headline_vectors(trained, step)
    h = vectors[layer]
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


PARTS = {"S", "W", "X", "score", "alignment", "separation", "normalised"}
RANKS = {"retrieval", "mexa"}
COSTLY = {"cka", "procrustes", "checkerboard"}
CONTEXT = {"effective_dimension", "mean_cosine", "score_any"}
VALUES = {"V_cross", "score_other_value", "beyond_value"}  # unseen entities have no values


@pytest.mark.parametrize(
    ("group", "centring", "every_step", "some_steps"),
    [
        ("mono", "whole", PARTS | RANKS | {"distance"}, COSTLY | CONTEXT | VALUES | {"auc_transfer"}),
        ("mono", "per_language", PARTS, set()),
        ("mono", "none", PARTS, set()),
        ("parallel", "whole", PARTS | RANKS | {"distance"}, COSTLY | CONTEXT | VALUES),
        ("unseen", "whole", PARTS | RANKS | {"distance"}, COSTLY | CONTEXT),
    ],
)
def test_each_group_has_its_measures_at_their_checkpoints(trained, finding, group, centring, every_step, some_steps):
    table = finding.tables["measures"]
    rows = table[(table["group"] == group) & (table["centring"] == centring)]
    taken = {name: sorted(part["step"]) for name, part in rows[rows["layer"] == 2].groupby("measure")}
    few = few_steps(trained.steps, 8)
    assert taken == dict.fromkeys(every_step, trained.steps) | dict.fromkeys(some_steps, few)
    # where facts are not defined: a row for each measure, none for controls and context
    undefined = rows[rows["layer"] == 0]
    assert set(undefined["measure"]) == (every_step | some_steps) - CONTEXT - VALUES - {"auc_transfer"}
    assert undefined["value"].isna().all()


def test_only_the_groups_above_are_there(finding):
    table = finding.tables["measures"]
    assert len(table[["group", "centring"]].drop_duplicates()) == 5


def test_p_over_the_scan_is_never_below_p(finding):
    table = finding.tables["measures"]
    tested = table[table["p"].notna()]
    assert (tested["p_scan"] >= tested["p"] - 1e-12).all()
    assert (tested["p_scan"] > tested["p"]).any()
    for _, rows in tested[tested["measure"] == "beyond_value"].groupby("group"):
        np.testing.assert_allclose(rows["p_scan"], np.minimum(1, rows["p"] * len(rows)))
    score = table[(table["measure"] == "score") & (table["layer"] > 0)]
    assert score[["low", "high", "null", "p_scan"]].notna().all(axis=None)


def test_auc_is_that_of_scores_and_answers_read_from_text(trained, finding):
    """Each fact's score by loops over prompts; who is right by the model's own argmax; AUC by pairs of items."""
    items, facts, model = finding.tables["items"], trained.facts, trained.model(-1)
    mono, vectors = headline_vectors(trained, trained.steps[-1])
    h = vectors[1]
    h = h - h.mean(axis=(0, 1))
    u = h / np.linalg.norm(h, axis=-1, keepdims=True)
    relation = facts["relation"].to_numpy()[mono]
    scores, right = [], []
    for row in items.itertuples():
        [own], told = np.flatnonzero(mono == row.fact), "AB".index(row.told)
        others = [g for g in np.flatnonzero(relation == relation[own]) if g != own]
        scores.append(u[own, 0] @ u[own, 1] - np.mean([u[own, told] @ u[g, told] for g in others]))
        text = f"{facts[f'entity_word_{row.asked}'][row.fact]} {facts[f'relation_word_{row.asked}'][row.fact]}"
        answer = model.to_tokens(facts[f"value_word_{row.asked}"][row.fact], prepend_bos=False)[0, -1]
        right.append(int(model(model.to_tokens(text))[0, -1].argmax() == answer))
    assert items["right"].tolist() == right
    np.testing.assert_allclose(items["score_1"], scores, atol=1e-5)
    assert 0 < sum(right) < len(right)
    yes, no = (np.array(scores)[np.array(right) == side] for side in (1, 0))
    expected = ((yes[:, None] > no).mean() + (yes[:, None] == no).mean() / 2).item()
    assert rows_of(finding, "auc_transfer", 1)["value"].iloc[-1] == pytest.approx(expected, abs=1e-4)


def test_the_map_keeps_distances_on_the_principal_plane(trained, finding):
    """The plane of all mono facts by a singular value decomposition; turning and mirroring keep distances."""
    texts = finding.notes["shown_facts"]
    index = [trained.steps.index(step) for step in (trained.steps[2], trained.steps[-1])]
    for at, step in zip(index, (trained.steps[2], trained.steps[-1]), strict=True):
        facts, vectors = headline_vectors(trained, step)
        h = vectors[1]
        names = [trained.corpus.text(int(fact), 0) for fact in facts]
        places = [names.index(text) for text in texts[0]]
        for number, mean in enumerate((h.mean(axis=(0, 1)), h.mean(axis=0))):
            centred = h - mean
            flat = centred.reshape(-1, h.shape[2])
            _, _, axes = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
            size = np.sqrt((flat**2).sum(axis=1).mean())
            expected = (centred[places] @ axes[:2].T / size).reshape(-1, 2)
            drawn = finding.arrays["map"][number, at]
            distances = [np.linalg.norm(x[:, None] - x, axis=2) for x in (drawn, expected)]
            np.testing.assert_allclose(*distances, atol=2e-3)


def test_figures_draw_the_numbers_of_the_tables(trained, finding):
    names = ["score", "parts", "measures", "groups", "checkerboard", "map", "transfer-by-score"]
    panels = {panel.name: panel.figure for panel in unification.figures(finding)}
    assert list(panels) == names
    for name in ("checkerboard", "map"):
        assert [frame["name"] for frame in panels[name].to_dict()["frames"]] == [str(step) for step in trained.steps]
    lines = {line["name"]: line["y"] for line in curves(panels["score"])}
    for layer in (1, 2):
        np.testing.assert_allclose(lines[f"layer {layer}"], rows_of(finding, "score", layer)["value"])
        np.testing.assert_allclose(lines[f"layer {layer}, null"], rows_of(finding, "score", layer)["null"])


def test_a_new_measure_is_one_row(trained, finding):
    """With its row in the table, a measure appears in the finding, the summary, the figure and its caption."""
    last = rows_of(finding, "distance", 1).iloc[-1]
    facts, vectors = headline_vectors(trained, trained.steps[-1])
    h = vectors[1]
    relation = trained.facts["relation"].to_numpy()[facts]
    distances = np.linalg.norm(h[:, 0] - h[:, 1], axis=1)
    expected = np.mean([distances[relation == r].mean() for r in np.unique(relation)])
    assert last["value"] == pytest.approx(expected, abs=1e-4)
    assert last["low"] < last["value"] < last["high"]
    assert last["value"] < last["null"]  # the same fact is nearer than another
    assert last["p"] <= last["p_scan"] <= 0.05
    pairs = finding.tables["pairs"].query("measure == 'distance' and group == 'mono' and layer == 1")
    ends = zip(pairs["step"], pairs["from"], pairs["to"], strict=True)
    steps = finding.notes["costly_steps"] if pairs["step"].nunique() < len(trained.steps) else trained.steps
    assert list(ends) == [(step, a, b) for step in steps for a, b in (("A", "B"), ("B", "A"))]
    both = pairs.query(f"step == {steps[-1]}")["value"]
    assert both.mean() == pytest.approx(last["value"])

    [sentence] = [text for text in finding.summary if text.startswith("Layer 1, other measures")]
    assert f"mean distance {last['value']:.2f} [" in sentence.replace(" .", " 0.")
    panel = next(panel for panel in figures(finding, WITH_DISTANCE) if panel.name == "measures")
    assert "mean distance" in [note.text for note in panel.figure.layout.annotations]
    assert "Mean distance: small where the languages are close." in panel.caption
    assert DISTANCE.caption in panel.caption
    assert "mean distance: how often these intervals cover was not studied" in panel.caption
    drawn = [line["y"] for line in curves(panel.figure) if line["name"] == "layer 1"]
    assert any(np.array_equal(y, rows_of(finding, "distance", 1)["value"]) for y in drawn)


def test_the_score_over_training_is_this_questions(trained, finding):
    scores = scores_over_training(trained, thorough=False)
    assert len(scores) == 2 * len(trained.steps)
    for layer, rows in scores.groupby("layer"):
        for measure in ("score", "alignment"):
            assert rows[measure].tolist() == rows_of(finding, measure, layer)["value"].tolist()
