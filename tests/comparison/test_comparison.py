"""Comparisons: groups by what differs, clocks in closed form, paired tests against scipy, what stands in the way."""

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mechxl.check import accept
from mechxl.comparison.across import across_words, correlations, pearson
from mechxl.comparison.compute import _by_group, _differences, clocks, compare
from mechxl.comparison.ends import ends_by_group, ends_words
from mechxl.comparison.figures import figures, overview
from mechxl.comparison.finals import finals_by_group, settings_map
from mechxl.comparison.words import words
from mechxl.errors import InputError
from mechxl.findings import Finding
from mechxl.measures.rises import RESOLVED
from mechxl.report.__main__ import main
from mechxl.report.comparison import render_comparison
from mechxl.run import Run
from tests.instruments.runs import small_run
from tests.runs import unfinished

NULL_WORLD = {"n_entities": 12, "n_relations": 2, "n_values": 4, "n_unseen": 3, "shared_facts": 0.0}
LEARNED = {"steps": 12, "checkpoints": 12, "batch_size": 32, "warmup_steps": 2, "evaluate_every": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    return [
        small_run(folder / f"{kind}-{seed}", tokenization={"kind": kind}, training=LEARNED | {"init_seed": seed})
        for kind in ("syllable", "character")
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def finding(runs):
    return compare(runs)


def test_groups_are_the_settings_that_differ_and_seeds_are_replicates(finding):
    assert finding.notes["differ"] == ["tokenization.kind"]
    assert finding.notes["groups"] == ["kind syllable", "kind character"]
    assert "training.batch_size" in finding.notes["equal"]
    assert not {"training.init_seed", "tokenization.kind"} & set(finding.notes["equal"])
    assert finding.tables["runs"]["group"].value_counts().to_dict() == {"kind syllable": 2, "kind character": 2}


def test_a_step_on_other_clocks_is_what_it_must_be(runs):
    for run in runs[::2]:
        found, corpus = clocks(run), run.corpus
        fact, language = corpus.tellings
        sentences = [
            len(corpus.tokenizer.encode(" ".join(corpus.lexicon.words[word] for word in words if word >= 0)).ids)
            + 1  # EOS
            for words in corpus.words_of(fact, language, True)
        ]
        assert found["tokens_a_step"] == pytest.approx(32 * np.mean(sentences))
        mono = (corpus.mixture.group[fact] == "mono").mean()
        n_mono = (corpus.mixture.group == "mono").sum()
        assert found["exposures_a_step"] == pytest.approx(32 * mono / n_mono)
        d, d_mlp, n = run.config.model.d_model, run.config.model.d_mlp, run.config.model.n_layers
        assert found["compute_a_step"] == pytest.approx(6 * n * (4 * d * d + 2 * d * d_mlp) * found["tokens_a_step"])


def planted_onsets(ratio=2.0, seeds=6, missing=()):
    rng, rows = np.random.default_rng(0), []
    for group, factor in (("a", 1.0), ("b", ratio)):
        for seed in range(seeds):
            here = (group, seed) in missing
            rows.append(
                {"group": group, "seed": seed, "quantity": "recall", "step": 500 * factor * np.exp(0.05 * rng.normal()),
                 "outcome": "rises, not finished" if here else "rises", "tokens_a_step": 10.0 * (1 + (group == "b")),
                 "exposures_a_step": 0.1, "compute_a_step": 7.0}
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_paired_ratios_and_their_tests_are_scipys():
    onsets = planted_onsets()
    table = _differences(onsets, ["a", "b"])
    step, tokens = (
        {str(k): v for k, v in table[table["clock"] == clock].iloc[0].items()} for clock in ("step", "tokens")
    )
    ln = [np.log(onsets[onsets["group"] == group]["step"].to_numpy()) for group in "ab"]
    assert step["p"] == pytest.approx(stats.ttest_rel(ln[1], ln[0]).pvalue)
    assert step["ratio"] == pytest.approx(np.exp((ln[1] - ln[0]).mean()))
    assert step["low"] < 2 < step["high"]
    assert tokens["ratio"] == pytest.approx(2 * step["ratio"])  # twice the tokens a step
    expected = np.sort(table["p"]) * [4, 3, 2, 1]
    np.testing.assert_allclose(np.sort(table["p_holm"]), np.minimum(np.maximum.accumulate(expected), 1))


def test_seeds_without_an_onset_in_both_do_not_count():
    table = _differences(planted_onsets(missing=[("a", 0), ("b", 1)]), ["a", "b"])
    assert (table["n"] == 4).all()
    groups = _by_group(planted_onsets(missing=[("a", 0)]), ["a", "b"])
    assert groups[groups["group"] == "a"][["n", "runs", "not_finished"]].iloc[0].tolist() == [5, 6, 1]
    one = _differences(planted_onsets(seeds=1), ["a", "b"])
    assert one["p"].isna().all()
    assert one["reason"].str.contains("no test").all()


def test_a_setting_that_has_no_effect_is_in_no_name(runs, tmp_path):
    pairs = small_run(tmp_path / "bpe", tokenization={"kind": "bpe", "vocab_size": 120}, training=LEARNED)
    found = compare([*runs[::2], pairs])
    assert found.notes["groups"] == ["kind syllable", "kind character", "kind bpe, vocab_size 120"]
    sizes = found.tables["settings"].set_index(["setting", "group"])["value"]["tokenization.vocab_size"]
    assert sizes.tolist() == ["no effect", "no effect", "120"]


def test_the_first_screen_marks_each_groups_mean_and_interval():
    onsets = planted_onsets(missing=[("b", seed) for seed in range(6)])
    tables = {"by_group": _by_group(onsets, ["a", "b"]), "curves": pd.DataFrame({"step": [1, 3000]})}
    notes = {"groups": ["a", "b"], "quantities": ["recall"], "layers": 2}
    marks: Any = overview(Finding("comparison", [], tables, notes)).figure.data[0]
    ln = np.log(onsets[onsets["group"] == "a"]["step"])
    low, high = np.exp(stats.t.interval(0.95, 5, ln.mean(), stats.sem(ln)))
    assert list(marks["x"]) == pytest.approx([np.exp(ln.mean()), np.nan], nan_ok=True)
    assert (marks["x"] + marks["error_x"]["array"])[0] == pytest.approx(high)
    assert (marks["x"] - marks["error_x"]["arrayminus"])[0] == pytest.approx(low)
    assert "a, recall, 6 of 6 seeds" in marks["text"][0]
    assert "b, recall, 0 of 6 seeds" in marks["text"][1]
    alone = planted_onsets(missing=[("b", seed) for seed in range(1, 6)])
    tables["by_group"] = _by_group(alone, ["a", "b"])
    marks = overview(Finding("comparison", [], tables, notes)).figure.data[0]
    assert marks["text"][1] == f"b, recall, 1 of 6 seeds: {marks['x'][1]:,.0f}"  # no interval


def test_what_no_run_has_a_curve_of_is_said_and_the_rest_compared(tmp_path):
    parallel = [
        small_run(tmp_path / str(seed), mixture={"parallel_fraction": 1.0}, training=LEARNED | {"init_seed": seed})
        for seed in (0, 1)
    ]
    found = compare(parallel)
    assert "transfer" not in found.notes["quantities"]
    assert "recall" in found.notes["quantities"]
    assert "No run has a curve of transfer: nothing is compared there." in found.summary
    assert [panel.name for panel in [overview(found), *figures(found)]] == ["overview", "curves"]  # so short: no onset


@pytest.fixture
def dated(finding):
    """The comparison, as if every quantity of every run had an onset at step 5."""
    onsets = finding.tables["onsets"].assign(outcome=RESOLVED[0], step=5.0)
    return replace(finding, tables=finding.tables | {"onsets": onsets})


def test_it_has_figures_with_n_and_survives_json(finding, dated):
    finding.to_json("x")
    assert figures(finding)[0].name == "curves"
    assert "onsets" not in [panel.name for panel in figures(finding)], "an empty figure"
    assert [panel.name for panel in figures(dated)][:2] == ["curves", "onsets"]
    for panel in figures(finding):
        assert "seeds" in panel.caption
        assert "null" in panel.caption.lower()


def test_the_menu_puts_every_trace_on_each_clock(dated):
    finding = dated
    for panel in figures(finding)[:2]:
        drawn = panel.figure.to_plotly_json()
        traces, menu = drawn["data"], drawn["layout"]["updatemenus"][0]
        assert [button["label"] for button in menu["buttons"]] == list(finding.notes["clocks"].values())
        for button, clock in zip(menu["buttons"], finding.notes["clocks"], strict=True):
            arrays, layout = button["args"]
            assert len(arrays["x"]) == len(traces)
            assert set(layout.values()) == {finding.notes["clocks"][clock]}
            rates = finding.tables["onsets"].groupby("group")[[] if clock == "step" else [f"{clock}_a_step"]].mean()
            for trace, x in zip(traces, arrays["x"], strict=True):
                if (group := trace.get("legendgroup")) in finding.notes[
                    "groups"
                ]:  # curves: a group's whole trace has one rate
                    rate = 1.0 if clock == "step" else float(rates.loc[group].iloc[0])
                    np.testing.assert_allclose(x, np.array(trace["x"]) * rate)


def test_other_worlds_and_runs_under_way_are_said(runs, tmp_path):
    other = small_run(tmp_path / "other", world={"n_entities": 20, "n_relations": 2, "n_values": 4, "n_unseen": 3})
    other = unfinished(other.path, other.steps[-2])
    said = " ".join(compare([runs[0], other]).summary)
    assert "told different facts (world.n_entities differ" in said
    assert "Still training, and compared up to their last step: other." in said


def test_runs_without_a_common_clock_are_said(runs, tmp_path):
    late = small_run(tmp_path / "late", training=LEARNED | {"steps": 40, "checkpoints": 2, "evaluate_every": 40})
    metrics = late.path / "metrics.jsonl"
    metrics.write_text("".join(line for line in metrics.read_text().splitlines(True) if '"step": 40' in line))
    accept(late.path)
    found = compare([runs[0], Run(late.path)])
    assert "step" in found.notes["apart"]
    assert "no range in common" in " ".join(found.summary)


def test_refusals_name_the_run(runs, capsys):
    with pytest.raises(InputError, match="two runs or more"):
        compare(runs[:1])
    with pytest.raises(InputError, match="given twice"):
        compare([runs[0], runs[0]])
    assert main([str(run.path) for run in runs[:2]] + ["--only", "learning"]) == 2
    assert "leave them out" in capsys.readouterr().err
    assert main([]) == 2
    assert "no run" in capsys.readouterr().err


def test_a_table_that_is_too_long_is_left_out_and_named(finding, monkeypatch):
    monkeypatch.setattr("mechxl.report.comparison.MOST_ROWS", 20)
    page, rows = render_comparison(finding, "x", inline=False), len(finding.tables["curves"])
    assert rows > 20 > len(finding.tables["settings"])
    assert f"curves: {rows:,} rows are too many for this page" in page
    assert 'data-file="x-curves"' not in page
    assert 'data-file="x-settings"' in page


def test_the_command_writes_the_page(runs, tmp_path):
    out = tmp_path / "page.html"
    paths = [str(run.path) for run in runs]
    assert main([*paths, "--out", str(out), "--plotly", "beside", "--quiet"]) == 0
    page = out.read_text()
    assert "kind character" in page
    assert (tmp_path / "plotly.min.js").is_file()


def planted_curves():
    """Two runs of a, one of b, at two steps: recall ends at .9, 1.0 and .2; transfer is known of one run of a alone."""
    rows = [
        {"group": group, "run": run, "quantity": quantity, "step": step, "value": value}
        for group, run, quantity, values in (
            ("a", "a0", "recall", (0.1, 0.9)),
            ("a", "a1", "recall", (0.3, 1.0)),
            ("b", "b0", "recall", (0.1, 0.2)),
            ("a", "a0", "transfer", (0.5, np.nan)),
        )
        for step, value in zip((1, 12), values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_where_groups_end_is_the_mean_of_last_values_with_a_t_interval():
    rows = finals_by_group(planted_curves(), ["a", "b"]).to_dict("records")
    at = {(row["quantity"], row["group"]): row for row in rows}
    assert at["recall", "a"]["value"] == pytest.approx(0.95)
    low, high = stats.t.interval(0.95, 1, 0.95, stats.sem([0.9, 1.0]))
    assert [at["recall", "a"][end] for end in ("low", "high")] == pytest.approx([low, high])
    assert at["recall", "b"]["n"] == 1
    assert "no interval" in at["recall", "b"]["reason"]
    assert at["transfer", "a"]["value"] == 0.5, "the last that is known"
    assert at["transfer", "b"]["n"] == 0


def test_two_settings_that_differ_make_a_map_whose_cells_know_their_runs():
    curves = planted_curves()
    settings = [("x", "a", 1), ("x", "b", 2), ("y", "a", 10), ("y", "b", 9)]
    tables = {
        "settings": pd.DataFrame(settings, columns=["setting", "group", "value"]),
        "runs": pd.DataFrame({"group": ["a", "a", "b"], "run": ["a0", "a1", "b0"]}),
        "finals_by_group": finals_by_group(curves, ["a", "b"]),
    }
    shown = settings_map(Finding("comparison", [], tables, {"differ": ["x", "y"], "groups": ["a", "b"]}))
    assert shown is not None
    assert (shown.rows, shown.columns) == (("1", "2"), ("9", "10"))
    cells = [[cell.runs if cell else None for cell in line] for line in shown.cells]
    assert cells == [[None, ("a0", "a1")], [("b0",), None]]
    assert settings_map(Finding("comparison", [], tables, {"differ": ["x"], "groups": ["a", "b"]})) is None


def test_not_finished_is_not_called_no_onset():
    """Two groups: one whose curves all rise still at the end, one in which one does and one never rises."""
    rows = [
        {"group": group, "quantity": "transfer", "unit": "accuracy", "clock": "step", "n": 0, "runs": 2,
         "onset": np.nan, "low": np.nan, "high": np.nan, "not_finished": unfinished}
        for group, unfinished in (("a", 2), ("b", 1))
    ]  # fmt: skip
    runs = pd.DataFrame({"group": ["a", "a", "b", "b"], "seed": [0, 1, 0, 1]})
    differences = pd.DataFrame({"p_holm": [0.0002], "clock": ["step"], "quantity": ["recall"], "ratio": [2.0],
                                "low": [1.9], "high": [2.1], "first": ["a"], "second": ["b"], "n": [6]})  # fmt: skip
    notes = {
        "groups": ["a", "b"],
        "differ": ["x"],
        "equal": [],
        "worlds": [],
        "under_way": [],
        "apart": [],
        "missing": [],
        "no_null": ["a-0"],
    }
    ends = ends_by_group(planted_ends(), ["a", "b"])
    tables = {"by_group": pd.DataFrame(rows), "runs": runs, "differences": differences, "ends_by_group": ends}
    tables |= {"verdicts": pd.DataFrame(), "correlations": correlations(pd.DataFrame())}
    tables |= {"finals_by_group": finals_by_group(planted_curves(), ["a", "b"])}
    said = words(tables, notes)
    assert said[0] == "At the end, a: recall .95 [.31, 1.59], transfer .50 (n = 2 runs)."
    assert "a: transfer is not finished in 2 of 2 runs." in said
    assert "b: transfer has no onset in 1 of 2 runs and is not finished in 1 of 2 runs." in said
    assert any("Nothing is said of unification" in sentence and "a-0 has none" in sentence for sentence in said)
    assert any(sentence.endswith("(n = 6 seeds, p < 0.001 after Holm).") for sentence in said)


def planted_ends(seeds=4):
    """Gains after recall of two groups; in the second no run recalls enough, and none rests."""
    rows = []
    for group in "ab":
        for seed in range(seeds):
            for quantity, factor in (("transfer", 1.0), ("score", 2.0)):
                gain = factor * (0.1 + 0.01 * seed) if group == "a" else np.nan
                rows.append(
                    {"group": group, "seed": seed, "quantity": quantity, "rests": group == "a", "complete": 1000.0,
                     "then": 0.5, "end": 0.5 + gain, "gain": gain}
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_gains_after_recall_are_means_over_seeds_with_t_intervals():
    table = ends_by_group(planted_ends(), ["a", "b"])
    rows: dict[Any, Any] = {(row["group"], row["quantity"]): row for row in table.to_dict("records")}
    gain = np.array([0.1, 0.11, 0.12, 0.13])
    low, high = stats.t.interval(0.95, 3, gain.mean(), stats.sem(gain))
    row = rows["a", "transfer"]
    assert (row["gain"], row["low"], row["high"]) == pytest.approx((gain.mean(), low, high))
    assert (row["n"], row["rest"]) == (4, 4)
    assert rows["b", "transfer"]["n"] == 0
    assert "no interval" in rows["b", "transfer"]["reason"]
    said = ends_words(table, ["a", "b"])
    assert said[0].startswith("a: after recall is complete, transfer gains .12 [.09, .14] (n = 4 of 4 seeds)")
    assert said[1] == "b: recall reaches 99 % in no run; 0 of 4 runs rest."


def test_score_against_transfer_over_runs_is_scipys_and_no_claim():
    rng = np.random.default_rng(0)
    x = rng.normal(size=9)
    y = rng.normal(size=9) - x
    expected: Any = stats.pearsonr(x, y)
    ends = expected.confidence_interval(0.95)
    assert pearson(x, y) == pytest.approx((expected.statistic, ends.low, ends.high))
    assert np.isnan(pearson(x[:3], y[:3])).all()
    assert np.isnan(pearson(x, np.zeros(9))).all()
    rows = [
        {"run": str(i), "layer": 1, "measure": "S - W", "end": a, "transfer": b}
        for i, (a, b) in enumerate(zip(x, y, strict=True))
    ]
    table = correlations(pd.DataFrame(rows))
    assert table["n"].tolist() == [9]
    (sentence,) = across_words(table)
    assert "no measure of transfer" in sentence
    assert "no claim" in sentence


def test_with_every_null_unification_is_compared_and_judged(tmp_path):
    """Two runs with nulls beside: the excess is what is compared; take one null away and nothing is said of it."""
    both = [small_run(tmp_path / str(seed), training=LEARNED | {"init_seed": seed}) for seed in (0, 1)]
    for seed in (0, 1):
        small_run(tmp_path / f"{seed}-null", training=LEARNED | {"init_seed": seed}, world=NULL_WORLD)
    found = compare([Run(run.path) for run in both])
    layer = found.notes["layer"]
    assert f"unification, layer {layer}" in found.notes["quantities"]
    assert any("of 2 runs, each judged against its trained null" in sentence for sentence in found.summary)
    shutil.rmtree(tmp_path / "1-null")
    found = compare([Run(run.path) for run in both])
    assert any("1 has none" in sentence for sentence in found.summary)
    assert not any(quantity.startswith("unification") for quantity in found.notes["quantities"])
