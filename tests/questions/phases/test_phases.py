"""The question `phases`: every kind of run has an answer, and planted curves get the phase that was planted."""

import itertools
import shutil
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mechxl.errors import Failure
from mechxl.findings import Finding, signed
from mechxl.measures.excess import Excess
from mechxl.measures.rest import rest
from mechxl.questions import ask, learning, phases
from mechxl.questions.common import scores_over_training
from mechxl.questions.kept import finding_path
from mechxl.questions.phases import answer
from mechxl.questions.phases import words as phase_words
from mechxl.questions.phases.after_recall import _nothing, after_recall
from mechxl.questions.phases.curves import metric_onsets
from mechxl.questions.phases.named import EXCESS, RAW
from mechxl.questions.phases.words import _onset, _order, words
from mechxl.questions.verdict import LayerEvidence, verdict
from mechxl.run import Run
from tests.instruments.runs import small_run
from tests.runs import copied


@pytest.fixture(scope="module")
def bare(trained, tmp_path_factory):
    """A copy without findings, as phases reads those of other questions."""
    return copied(trained, tmp_path_factory.mktemp("phases") / "trained", without=["findings"])


@pytest.fixture(scope="module")
def at_once():
    """Recall and unification rise together, transfer never."""
    return planted_finding(recall=400, unified=400, transfer=None)


@pytest.fixture(scope="module")
def finding(bare):
    return phases.compute(bare)


def test_curves_are_those_of_the_run(bare, finding):
    curves, metrics = finding.tables["curves"], bare.metrics
    recall = curves[(curves["quantity"] == "recall") & (curves["unit"] == "accuracy")]
    np.testing.assert_array_equal(recall["value"], metrics["recall_accuracy"])
    score = curves[(curves["quantity"] == "raw alignment, layer 1") & (curves["unit"] == "S - W")]
    assert score["step"].tolist() == bare.steps
    assert set(curves["unit"]) == {"accuracy", answer.LOG_P, *RAW.units}  # no unification without a trained null


def test_with_a_null_unification_is_the_difference_of_both_runs(paired):
    """Every curve of unification is the run's less the null's, and the verdict's numbers are those curves' ends."""
    found, null = phases.compute(paired), paired.null
    assert null is not None
    scores = [scores_over_training(one, thorough=False).set_index(["step", "layer"]) for one in (paired, null)]
    curves = found.tables["curves"]
    for layer, (unit, column) in itertools.product((1, 2), zip(EXCESS.units, ("alignment", "score"), strict=True)):
        part = curves[(curves["quantity"] == EXCESS.at(layer)) & (curves["unit"] == unit)]
        expected = [scores[0][column][step, layer] - scores[1][column][step, layer] for step in part["step"]]
        np.testing.assert_allclose(part["value"], expected)
        assert part["step"].tolist() == paired.steps
    said = " ".join(found.summary)
    assert found.notes["verdict"]["name"] in said.lower()
    last = scores[0]["alignment"][paired.steps[-1], 1] - scores[1]["alignment"][paired.steps[-1], 1]
    assert f"layer 1 (excess {signed(last)}" in said
    gains = found.tables["after_recall"]
    assert gains["quantity"].tolist()[:2] == ["transfer", "score"]
    found.to_json("x")
    assert phases.figures(found)


def test_without_a_null_nothing_is_said_of_unification(bare, finding, tmp_path):
    said = " ".join(finding.summary)
    assert "is not said here" in finding.summary[0]
    assert f"python -m mechxl.train --out {bare.path} --resume --with-null" in finding.summary[0]
    nothing_shared = phases.compute(small_run(tmp_path / "run", world={"shared_facts": 0.0}))
    assert "is itself a trained null" in nothing_shared.summary[0]
    for summary in (said, " ".join(nothing_shared.summary)):
        assert "nification, layer" not in summary
        assert "Unified" not in summary


def test_accuracies_rise_from_the_best_guess_without_facts():
    """A prior learned at step 11 and facts at step 400: the onset is the facts'; the prior alone is no rise."""
    step, floor = np.unique(np.rint(np.geomspace(1, 3000, 60))).astype(int), 0.6
    prior, facts = (1 / (1 + np.exp(-np.log(step / m) / 0.2)) for m in (11, 400))
    wobble = 0.01 * np.random.default_rng(0).normal(size=len(step))
    about = {"unit": "accuracy", "step": step, "from": "", "noise": 0.01, "floor": floor}
    learned = pd.DataFrame({"quantity": "recall", "value": floor * prior + 0.4 * facts + wobble} | about)
    guessed = pd.DataFrame({"quantity": "transfer", "value": 0.98 * floor * prior + wobble} | about)
    onsets = answer._onsets(pd.concat([learned, guessed], ignore_index=True), None).set_index("quantity")
    assert onsets.loc["recall", "outcome"] == "rises"
    assert 300 < float(str(onsets.loc["recall", "step"])) < 500
    assert onsets.loc["transfer", "outcome"] == "no rise"
    assert (onsets["floor"] == floor).all()


def test_each_onset_has_an_interval_or_a_reason(finding):
    for row in finding.tables["onsets"].to_dict("records"):
        assert row["reason"]
        assert np.isnan(row["step"]) == (row["outcome"] in ("no rise", "rises, onset not resolved"))
        for prefix in ("", "second_", "half_"):
            if np.isfinite(row[f"{prefix}step"]):
                assert row[f"{prefix}low"] <= row[f"{prefix}step"] <= row[f"{prefix}high"]


def test_findings_that_are_kept_are_on_the_time_line(bare, trained, answered):
    bare.file("findings").mkdir(exist_ok=True)

    def keep(question):
        answered(question)
        shutil.copy(finding_path(trained, question), finding_path(bare, question))

    keep("learning")
    keep("patching")
    found = phases.compute(bare)
    assert "patching" in found.notes["kept"]
    assert set(found.tables["marginals"]["marginal"]) == {"P(A | R)", "P(A | R, S)"}
    assert "language_identity" in " ".join(found.summary)  # which is not kept
    before = ask.ask(bare, "phases")
    keep("language_identity")
    assert "language_identity" not in before.notes["kept"]
    assert "language_identity" in ask.ask(bare, "phases").notes["kept"]


def planted_curves(recall, unified, transfer):
    """Curves of known half-rises; a log p rises with its accuracy, S - X with its score."""
    step = np.unique(np.rint(np.geomspace(1, 3000, 90))).astype(int)
    rng, parts = np.random.default_rng(0), []
    for quantity, units, m in (
        ("recall", ("accuracy", answer.LOG_P), recall),
        ("transfer", ("accuracy", answer.LOG_P), transfer),
        (EXCESS.at(1), EXCESS.units, unified),
    ):
        for unit in units:
            y = np.full(len(step), 0.05) if m is None else 1 / (1 + np.exp(-np.log(step / m) / 0.2))
            value = y + 0.03 * rng.normal(size=len(step))
            parts.append(pd.DataFrame({"quantity": quantity, "unit": unit, "step": step, "value": value, "from": ""}))
            parts[-1][["noise", "floor"]] = 0.0
    return pd.concat(parts, ignore_index=True)


def planted_verdict(layers):
    """The verdict of a run of one layer, whose excess is .5 or 0, and whose retrieval agrees."""
    value = 0.5 if 1 in layers else 0.0
    found = Excess(value, value - 0.1, value + 0.1, value, 0.0, 100, 100)
    return verdict([LayerEvidence(1, found, found, value - 0.1, value + 0.1, 0.01)])


def planted_finding(recall, unified, transfer, layers=(1,)):
    """Layers: those whose excess is above 0 at the end."""
    curves, found = planted_curves(recall, unified, transfer), planted_verdict(layers)
    onsets, lags = answer._onsets(curves, found), answer._lags(curves, 1, found)
    second = answer._second_opinion(curves, 1)
    marginals = pd.DataFrame(columns=["marginal", "step", "kl", "near", "reason"])
    tables = {"curves": curves, "onsets": onsets, "lags": lags, "marginals": marginals, "change_points": second}
    tables["after_recall"] = _nothing("recall never reaches 99%")
    notes = {
        "layers": 2,
        "steps": [0, 100, 3000],
        "last": 3000,
        "finished": True,
        "headline": 1,
        "null": {"name": "a-null", "why_none": "", "get": "", "is_null": False},
        "verdict": asdict(found) | {"sentences": found.sentences()},
        "separation": None,
        "kept": ["patching"],
        "undefined": {"patching": "0 pairs with both answers right, fewer than 10"},
        "draws": 200,
        "near": 0.03,
        "rest": asdict(rest(*[np.zeros(0)] * 4)),
    }
    return Finding("phases", words(tables, notes), tables, notes)


def test_a_planted_order_is_told_with_its_sign_and_drawn():
    found = planted_finding(recall=400, unified=150, transfer=900)
    onsets = found.tables["onsets"].set_index(["quantity", "unit"])
    assert (onsets["outcome"] == "rises").all()
    for quantity, truth in (("recall", 400), ("unification, layer 1", 150), ("transfer", 900)):
        rows = onsets.loc[quantity]
        assert ((rows["low"] <= truth) & (truth <= rows["high"])).all()
    signs = found.tables["lags"].groupby(["first", "second"])["sign"].unique().map(list).to_dict()
    layer = "unification, layer 1"
    assert signs == {("recall", layer): [-1], ("recall", "transfer"): [1], (layer, "transfer"): [1]}
    said = " ".join(found.summary)
    assert "Recall precedes transfer in all 2 pairs of units" in said
    assert "Unification, layer 1 precedes recall in all 4" in said
    assert "p = .005, the least that 200 draws allow" in said
    assert "not kept beside the run: language_identity." in said  # what is kept but undefined is not among them
    assert "not defined in this run: patching (0 pairs with both answers right, fewer than 10)" in said
    assert [panel.name for panel in phases.figures(found)] == ["timeline", "fits", "lags", "change-points"]
    found.to_json("x")


def test_what_is_not_defined_is_said_not_to_be_and_one_pair_of_units_is_one():
    nothing = pd.DataFrame(columns=["quantity", "unit"])
    reasons = {"transfer": "no transfer items: no fact is mono"}
    assert _onset(nothing, "transfer", "accuracy", reasons) == (
        "Transfer is not defined (no transfer items: no fact is mono)"
    )
    about = {"first": "recall", "second": "transfer", "units": "accuracy, accuracy", "sign": 1, "reason": ""}
    lags = pd.DataFrame([about | {"value": 1.0, "low": 0.5, "high": 1.5, "p": 0.02}])
    assert _order(lags, 200)[0].startswith("Recall precedes transfer in the one pair of units")


def test_what_does_not_exceed_its_null_is_not_dated_whatever_its_curve_does():
    """The same curves, but an excess that can't be told from 0: no onset, no lag, no order."""
    found = planted_finding(recall=400, unified=150, transfer=900, layers=())
    said = " ".join(found.summary)
    assert found.summary[0].startswith("Not unified")
    assert "Unification, layer 1: no rise (its excess over the trained null is not above 0 at the end)" in said
    assert "precedes transfer" in said
    assert "nification, layer 1 precedes" not in said
    assert set(found.tables["lags"]["second"]) == {"transfer"}
    onsets = found.tables["onsets"].set_index("quantity")
    assert onsets.loc[EXCESS.at(1), ["step", "half_step"]].isna().to_numpy().all()
    found.to_json("x")


def test_one_common_onset_is_not_ordered_and_a_flat_curve_does_not_rise(at_once):
    rows = at_once.tables["lags"]
    assert (rows[rows["second"] == "unification, layer 1"]["sign"] == 0).all()
    said = " ".join(at_once.summary)
    assert "Transfer: no rise" in said
    assert "cannot be ordered" in said
    assert "Recall and transfer: no lag" in said


def test_figures_have_captions_with_n_null_and_one_run(finding):
    panels = phases.figures(finding)
    assert [panel.name for panel in panels][:2] == ["timeline", "fits"]
    for panel in panels:
        assert "n" in panel.caption
        assert "one run" in panel.caption, panel.name
        assert "null" in panel.caption.lower(), panel.name


def test_it_survives_being_written_and_read(finding, tmp_path):
    read = type(finding).from_json(finding.to_json("x"), "x")
    assert read is not None
    assert len(phases.figures(read)) == len(phases.figures(finding))


@pytest.mark.parametrize(
    "sections",
    [
        {"languages": {"count": 3, "name_syllables": 12, "word_syllables": 48, "word_order": "varied"}},
        {"mixture": {"parallel_fraction": 1.0}},
        {"world": {"n_entities": 12, "n_relations": 1, "n_values": 4, "n_unseen": 0, "shared_facts": 0.0}},
        {"world": {"n_entities": 2, "n_relations": 2, "n_values": 2, "n_unseen": 0}},
    ],
    ids=["three languages", "all parallel", "no shared fact", "two entities"],
)
def test_every_kind_of_run_has_an_answer(sections, tmp_path):
    found = phases.compute(small_run(tmp_path / "run", **sections))
    found.to_json("x")  # no NaN without a reason
    assert phases.figures(found)
    assert all(sentence.endswith(".") for sentence in found.summary)


def test_the_bound_in_the_words_is_the_one_that_was_used():
    rows = {"marginal": "P(A | R)", "step": [1, 10, 100], "kl": [0.5, 0.1, 0.9], "near": [False, True, False]}
    (sentence,) = phase_words._marginals(pd.DataFrame(rows), near=0.125)
    assert "within .12 nats from step 10 to step 10 (1 of 3 checkpoints)" in sentence


def test_gains_after_recall_are_those_of_the_metrics_and_of_the_scores(trained, monkeypatch):
    """Against what training wrote down: all items are asked at every evaluation of so small a run."""
    enough = 0.5 * trained.metrics["recall_accuracy"].max()  # of so short a training
    monkeypatch.setattr("mechxl.questions.phases.after_recall.COMPLETE", enough)
    complete = trained.metrics[trained.metrics["recall_accuracy"] >= enough]["step"]
    assert complete.iloc[0] < trained.steps[-1]
    layer = 1
    table = after_recall(trained, layer, thorough=False)
    rows: dict[Any, Any] = {row["quantity"]: row for row in table.to_dict("records")}
    transfer = trained.metrics.set_index("step")["transfer_accuracy"]
    row = rows["transfer"]
    assert row["complete"] == complete.iloc[0]
    assert (row["then"], row["end"]) == pytest.approx((transfer[row["checkpoint"]], transfer[row["last"]]))
    assert row["low"] <= row["gain"] <= row["high"]
    scores = scores_over_training(trained, thorough=False).set_index(["step", "layer"])["score"]
    row = rows["score"]
    assert row["then"] == pytest.approx(scores[row["checkpoint"], layer], abs=1e-5)
    assert row["gain"] == pytest.approx(scores[row["last"], layer] - scores[row["checkpoint"], layer], abs=1e-5)


def test_after_recall_says_why_nothing_can_be_said(tmp_path):
    run = small_run(tmp_path / "run")
    table = after_recall(run, 1, thorough=False)
    assert table["gain"].isna().all()
    assert table["reason"].str.startswith("recall never reaches 99%").all()


@pytest.mark.parametrize(
    ("sections", "rest_words", "transfer_words"),
    [
        ({}, "fewer than 3", "ransfer"),
        ({"training": {"checkpoints": 2}}, "fewer than 3", "ransfer"),
        ({"mixture": {"parallel_fraction": 1.0}}, "fewer than 3", "transfer is not defined"),
        ({"mixture": {"parallel_fraction": 0.0}}, "fewer than 3", "ransfer"),
        ({"training": {"steps": 60, "evaluate_every": 1, "learning_rate": 1e-6}}, "does not rest", "ransfer"),
    ],
    ids=["ends before recall", "two checkpoints", "no mono facts", "no parallel facts", "never leaves chance"],
)
def test_odd_runs_get_sensible_words_on_rest_and_rises(sections, rest_words, transfer_words, tmp_path):
    run = small_run(tmp_path / "run", **sections)
    said, phases_said = (" ".join(question.compute(run).summary) for question in (learning, phases))
    assert rest_words in said
    assert transfer_words in said
    assert "nan" not in (said + phases_said).lower().replace("dominan", "")
    assert "After recall: nothing can be said, since" in phases_said
    for row in phases.compute(run).tables["onsets"].to_dict("records"):
        assert not (row["outcome"] == "no rise" and row["last"] - row["first"] > 0.2 + 4 * row["noise"]), row


def test_a_run_that_diverges_is_not_said_to_rest(tmp_path):
    settings = {"steps": 400, "evaluate_every": 50, "learning_rate": 10.0, "weight_decay": 10.0, "warmup_steps": 0}
    with pytest.raises(Failure, match="diverged"):
        small_run(tmp_path / "run", training=settings)
    run = Run(tmp_path / "run")
    assert run.rest.rests is None
    assert run.rest.reason == "training has not ended"
    assert "Whether the run rests can't be told: training has not ended." in learning.compute(run).summary
    assert "The run is under way" in phases.compute(run).summary[-1]


def test_a_curve_that_is_high_from_where_it_is_defined_is_not_called_no_rise_on_the_time_line(at_once):
    """Causal unification has no value before the model knows facts, and may be 1 at once."""
    step = np.arange(200, 3001, 100)
    late = pd.DataFrame({"quantity": "causal unification, mono", "unit": "ratio", "step": step, "from": "patching"})
    late = late.assign(noise=0.0, floor=0.0, value=0.8 + 0.001 * np.random.default_rng(0).normal(size=len(step)))
    both = {"curves": late, "onsets": answer._onsets(late, None)}
    both = {name: pd.concat([at_once.tables[name], rows], ignore_index=True) for name, rows in both.items()}
    timeline = phases.figures(Finding("phases", [], at_once.tables | both, at_once.notes))[0].figure
    texts = [note["text"] for note in timeline.to_dict()["layout"]["annotations"]]
    assert sorted(texts) == ["near .80 from step 200 on", "no rise"]  # the other is transfer, which stays low


def test_onsets_of_metrics_alone_are_those_of_the_whole_question(trained, answered):
    alone = metric_onsets(trained).set_index("quantity")
    table = answered("phases").tables["onsets"]
    assert set(alone.index) == {"recall", "transfer"}
    for quantity, row in table[table["unit"] == "accuracy"].set_index("quantity").iterrows():
        pd.testing.assert_series_equal(alone.loc[quantity], row, check_names=False, check_dtype=False)
