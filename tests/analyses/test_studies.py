"""Studies: notes and pages hold what the kept results say, and one is carried out whole on tiny runs."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analyses import error_rates, quotes
from analyses import study as studying
from analyses.__main__ import main
from analyses.calibration import transitions
from analyses.check import of_study
from analyses.claims import tokenization_timing
from analyses.statistics import least_p, p_value, sign_test, spearman, spearman_p, t_interval
from analyses.study import (
    described,
    kept_text,
    load,
    markdown,
    note_of,
    read_results,
    studies,
    with_results,
    with_tables,
)
from mechxl.config import RunConfig
from mechxl.errors import InputError
from mechxl.measures.transitions import onset
from mechxl.sweep.engine import Outcome
from mechxl.sweep.engines import ENGINES
from mechxl.training.loop import train_run

DONE, BAD_INPUT = 0, 2
NAMES = list(studies())
DONE_STUDIES = with_results()  # a study is committed before its runs, and may have none yet


def test_all_studies_are_there():
    assert set(NAMES) == {
        "after_recall",
        "causal",
        "coverage",
        "dose_map",
        "erasure",
        "excess",
        "initialisation",
        "language",
        "late_unification",
        "parallel_data",
        "patching",
        "precision",
        "probe_coverage",
        "pulled_together",
        "readings",
        "replication",
        "rest",
        "script_or_language",
        "tokenization_bridges",
        "tokenization_timing",
        "transitions",
        "unification_controls",
    }


def test_what_has_no_results_yet_says_so_in_the_list():
    listed = (studying.HERE / "README.md").read_text(encoding="utf-8").splitlines()
    for name, file in studies().items():
        (line,) = (line for line in listed if f"`{file.parent.name}/{name}.py`" in line)
        assert ("no runs yet" in line) == (name not in DONE_STUDIES)


@pytest.mark.parametrize("name", DONE_STUDIES)
def test_the_note_shows_what_the_kept_results_say(name):
    note = note_of(load(name)).read_text(encoding="utf-8")
    _, tables = of_study(name, kept_text(name))
    assert with_tables(note, tables) == note


@pytest.mark.parametrize("name", DONE_STUDIES)
def test_figures_draw_the_kept_results(name):
    panels = load(name).figures(read_results(name))
    assert panels
    for panel in panels:
        content = panel.figure.to_dict()["data"]
        assert sum(len(trace["x"]) for trace in content) > 10
        assert panel.caption


def test_the_list_names_each_study_with_its_runs_and_imports_nothing_slow():
    code = (
        "import sys; from analyses.__main__ import main; main([])\n"
        "print('slow:', sorted({'torch', 'transformer_lens', 'scipy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "slow: []" in done.stdout
    for name in NAMES:
        question, _ = described(studies()[name])
        assert question in done.stdout
    assert "language               30 runs" in done.stdout
    assert "rest                   168 runs" in done.stdout
    assert "tokenization_timing    112 runs" in done.stdout
    assert "coverage               no runs" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "there is no such study; there are: after_recall, dose_map, erasure, excess, "),
        (["language", "--quick"], "--quick is for calibration studies"),
        (["language", "--trained", "--runs", "nowhere"], "has no complete run of the study language"),
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence(arguments, sentence, capsys):
    assert main(arguments) == BAD_INPUT
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def in_process(jobs, workers, began, stopping, say):
    """An engine without processes."""
    for job in jobs:
        began(job)
        train_run(job.config, job.out, quiet=True)
        yield Outcome(job, "complete")


def test_a_study_is_carried_out_whole(tmp_path, monkeypatch, capsys):
    """Two kinds of tokens, two seeds: trained by the sweep, measured, its note filled in and its page written."""
    monkeypatch.setitem(ENGINES, "local", in_process)
    grid = {
        "seeds": 2,
        "base": {
            "world": {"n_entities": 40, "n_unseen": 8},
            "model": {"d_model": 16, "d_mlp": 32},
            "training": {"steps": 30, "warmup_steps": 5, "batch_size": 64, "checkpoints": 4, "evaluate_every": 2},
        },
        "runs": [{"name": kind, "tokenization.kind": kind} for kind in ("word", "character")],
    }
    note = Path(shutil.copy(note_of(tokenization_timing), tmp_path / "note.md"))
    monkeypatch.setattr(tokenization_timing, "GRID", grid)
    monkeypatch.setattr(tokenization_timing, "NOTE", note, raising=False)
    monkeypatch.setattr(studying, "RESULTS", tmp_path)
    monkeypatch.setattr(studying, "PAGES", tmp_path)
    monkeypatch.setattr(quotes, "ROOT", tmp_path)
    assert main(["tokenization_timing", "--runs", str(tmp_path / "runs")]) == DONE
    kept = json.loads((tmp_path / "tokenization_timing.json").read_text(encoding="utf-8"))
    rows = kept["rows"]
    assert kept["default"]["training.learning_rate"] == RunConfig().training.learning_rate
    assert "training.batch_size" not in kept["default"], "every run sets it"
    assert sorted((row["run"], row["seed"]) for row in rows) == [*itertools.product(("character", "word"), (0, 1))]
    assert {row["tokens_of_a_word"] for row in rows if row["run"] == "word"} == {1.0}
    assert {row["tokens_of_a_word"] for row in rows if row["run"] == "character"} == {
        4.5
    }  # names of 6 letters, words of 3
    text = note.read_text(encoding="utf-8")
    assert "| word | 1.00 |" in text
    assert "| byte |" not in text
    assert "2<!-- tokenization_timing.seeds --> seeds" in text
    assert "undefined<!-- tokenization_timing.transfer.byte -->" in text
    page = (tmp_path / "tokenization_timing.html").read_text(encoding="utf-8")
    assert "Does the tokenization move the phases of learning" in page
    assert "Hypothesis (claim 6" in page
    # a default has changed since: the runs that are there are not those of the study any more
    monkeypatch.setitem(grid["base"]["training"], "learning_rate", 0.0123)
    assert main(["tokenization_timing", "--trained", "--runs", str(tmp_path / "runs")]) == BAD_INPUT
    assert re.search(
        r"was trained with training.learning_rate = \S+, and the study has 0.0123", capsys.readouterr().err
    )
    # the same from the kept results, without the runs
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert main(["tokenization_timing", "--kept"]) == DONE
    assert note.read_text(encoding="utf-8") == text


def test_a_note_without_a_place_for_a_table_is_refused():
    tables = {"missing": load("transitions").analyse(read_results("transitions"))["lags"]}
    with pytest.raises(InputError, match="no line <!-- table: missing -->"):
        with_tables("a note", tables)
    assert markdown(tables["missing"]).startswith("| lag, ln(step) | spacing | n |")


def test_planted_rises_are_dated_and_surrogates_are_what_they_are():
    for seed in range(2):
        outcome, covers, half_covers = transitions.one_planted(("linear", 10, 0.0, "even", 5000 + seed))
        assert outcome == "rises"
        assert covers
        assert half_covers
        assert transitions.one_planted_twice(("log", 50, "even", 5000 + seed))[0] == "rises twice"
        assert transitions.one_surrogate(("linear", "line in step", 5000 + seed)) == "rises, onset not resolved"
        assert transitions.one_surrogate(("linear", "AR(1) at .5", 5000 + seed)) == "no rise"


def test_bounds_of_error_rates_name_the_rows_that_are_out_of_them():
    planted = {"what": "planted", "spacing": "log", "noise": "even", "snr": 5, "n": 100, "missed": 5, "once": 90}
    planted |= {"half_covered": 90, "unresolved": 0, "unfinished": 0, "twice": 0}
    rows = [planted | {"rho": 0.0, "covered": 80}, planted | {"rho": 0.6, "covered": 86, "missed": 6}]
    missed, covered = error_rates.BOUNDS["missed"], error_rates.BOUNDS["covered.even.many"]
    assert missed.out(rows) == ["log, even, SNR 5, rho 0.6"]  # .05 itself is within
    assert missed.together(rows) == ".055 of 200"
    assert covered.rates(rows) == {"log, even, SNR 5, rho 0": 80 / 90, "log, even, SNR 5, rho 0.6": 86 / 90}
    assert covered.out(rows) == ["log, even, SNR 5, rho 0"]
    found = error_rates.error_numbers(rows)
    assert (found["missed.high"], found["missed.out"], found["missed.rows"]) == (".060", "1", "2")


KEPT = [(study, row) for study in ("rest", "after_recall") for row in read_results(study)]


@pytest.mark.parametrize(
    ("study", "row"), KEPT[::8], ids=[f"{one}-{row['run']}-{row['seed']}" for one, row in KEPT[::8]]
)
def test_no_kept_run_that_ends_clearly_above_its_start_is_called_no_rise(study, row):
    """The curves of trained runs; clearly: a tenth, where an evaluation's sampling error is .02."""
    for name in ("recall", "transfer"):
        curve = np.array(row[f"{name}_curve"])
        if curve[-3:].mean() - curve[0] > 0.1:
            found = onset(np.array(row["steps"]), curve, np.random.default_rng(0), noise=0.02, draws=5)
            assert found.outcome != "no rise", f"{study}, {row['run']}, seed {row['seed']}, {name}: {found.reason}"


def test_statistics_over_seeds_are_those_of_scipy():
    points = np.array([0.2, 0.5, 0.1, 0.9])
    low, high = stats.t.interval(0.95, 3, points.mean(), stats.sem(points))
    assert t_interval(points) == pytest.approx((points.mean(), low, high))
    assert t_interval(np.ones(4)) == (1, 1, 1)
    assert sign_test(np.array([1.0, 2, 3, 4, 5, 6])) == pytest.approx(2 / 64)
    assert sign_test(np.array([1.0, -2, 0])) == 1
    assert sign_test(np.zeros(3)) == 1


def test_a_p_is_shown_with_the_digits_that_it_needs():
    shown = {1.0: "1.000", 0.5: ".500", 0.03125: ".031", 2 / 2**12: ".0005", 2 / 2**16: ".00003", 1 / 10_001: ".0001"}
    assert {p: p_value(p) for p in shown} == shown
    assert [least_p(seeds) for seeds in (0, 2, 6, 12)] == ["1.000", ".500", ".031", ".0005"]
    assert least_p(6, tests=3) == ".094"


def test_the_gains_after_recall_are_tested_by_two_corrections():
    """Twelve seeds that all gain have p = 2 / 2**12 each; the four tests of two schedules are corrected together."""
    study = load("after_recall")
    found = study.numbers(read_results("after_recall"))
    for schedule in study.SCHEDULES:
        if found[f"gain.transfer.{schedule}.seeds"] == "12":
            assert found[f"p.transfer.{schedule}"] == p_value(4 * 2 / 2**12)
            assert found[f"verdict.transfer.{schedule}"] == "holds"
    assert found["verdict.score.cosine"] == "fails"
    fallen = {"steps": [0, 900, 950, 1000], "recall_curve": [0.0, 0.8, 0.95, 0.99]}
    assert study._lowest_late_recall(fallen) == 0.8
    assert study._lowest_late_recall(fallen | {"steps": [0, 899, 950, 1000]}) == 0.95


def test_the_p_of_a_rank_correlation_is_its_share_of_all_permutations():
    x, y = np.arange(5.0), np.array([1.0, 0, 3, 2, 4])
    rhos = np.array([spearman(x, np.array(order)) for order in itertools.permutations(y)])
    exact = float((np.abs(rhos) >= abs(spearman(x, y)) - 1e-9).mean())
    assert spearman_p(x, y, np.random.default_rng(0)) == pytest.approx(exact, abs=0.01)
    assert spearman_p(np.arange(18), np.arange(18), np.random.default_rng(0)) == pytest.approx(1 / 10_001)
