"""Pages say what the kept results hold, made with the defaults of today; planted errors are found and repaired."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analyses import check, quotes
from analyses import study as studying
from analyses.__main__ import main
from analyses.check import fill, problems
from analyses.quotes import numbers_of, quoted, unmarked, with_numbers, wrong
from analyses.study import load, note_of, read_results, with_results
from mechxl.config import RunConfig
from mechxl.errors import InputError

DONE, FAILED = 0, 1
ROOT = quotes.ROOT
NOTE = "analyses/claims/language.md"


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A copy of all pages and results, which the checks look at instead."""
    for page in quotes.pages():
        (tmp_path / page.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, tmp_path / page.relative_to(ROOT))
    shutil.copytree(studying.RESULTS, tmp_path / "results")
    monkeypatch.setattr(quotes, "ROOT", tmp_path)
    monkeypatch.setattr(studying, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(check, "note_of", lambda study: tmp_path / note_of(study).relative_to(ROOT))
    return tmp_path


def test_all_pages_say_what_the_results_hold_and_check_needs_no_torch():
    code = "import sys; from analyses.__main__ import main; print(main(['--check']), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "0 False", done.stdout


def test_make_check_runs_it():
    (recipe,) = re.findall(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert "-m analyses --check\n" in recipe


def test_a_wrong_number_is_found_with_file_and_line_and_repaired(copy, capsys):
    page = copy / NOTE
    right = page.read_text(encoding="utf-8")
    start, end, name = next(quote for quote in quoted(right) if right[quote[0]].isdigit() or right[quote[0]] == ".")
    line = right.count("\n", 0, end) + 1
    page.write_text(right[:start] + ".123" + right[end:], encoding="utf-8")
    assert problems() == [f"{NOTE}:{line}: {name} is .123 here, and {right[start:end]} in the results"]
    assert main(["--check"]) == FAILED
    assert f"{NOTE}:{line}: {name} is .123 here" in capsys.readouterr().out
    assert fill() == [page]
    assert page.read_text(encoding="utf-8") == right
    assert main(["--check"]) == DONE


def test_new_results_are_found_wherever_they_are_quoted(copy):
    path = copy / "results" / "language.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    for row in kept["rows"]:
        row["transfer"] = round(row["transfer"] / 2, 4)
    path.write_text(json.dumps(kept), encoding="utf-8")
    places = {problem.split(":")[0] for problem in problems()}
    assert places == {NOTE, "analyses/README.md"}
    fill()
    assert not problems()


def test_a_table_changed_by_hand_is_found_and_made_again(copy):
    page = copy / "docs" / "measures.md"
    right = page.read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| score \| \S+ \S+ \S+ .*$", right.split("<!-- table: layer 2 -->")[1], re.M)
    line = right.splitlines().index(row) + 1
    page.write_text(right.replace(row, row.replace("rise", "fall", 1)), encoding="utf-8")
    assert problems() == [f"docs/measures.md:{line}: table layer 2: the results make this line: {row}"]
    assert fill() == [page]
    assert page.read_text(encoding="utf-8") == right


def test_a_table_that_no_study_makes_is_found(copy):
    page = copy / NOTE
    page.write_text(
        page.read_text(encoding="utf-8") + "\n<!-- table: own -->\n| .12 |\n<!-- end -->\n", encoding="utf-8"
    )
    assert [problem.split(": ", 1)[1] for problem in problems()] == ["no study makes the table own here"]


def test_a_default_that_has_changed_is_found_and_named(copy):
    path = copy / "results" / "language.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    now = kept["default"]["training.schedule"]
    kept["default"] |= {"training.schedule": "stairs", "training.gone": 1}
    del kept["default"]["model.d_mlp"]
    path.write_text(json.dumps(kept), encoding="utf-8")
    reasons = (
        f"made with training.schedule = stairs, the default is {now} now",
        "made with training.gone = 1, which is no default of its runs now",
        "made before there was a default model.d_mlp",
    )
    assert problems() == [f"language: its results were {reason}; carry it out again" for reason in reasons]


def test_a_study_that_was_not_carried_out_yet_says_nothing(copy):
    (copy / "results" / "rest.json").unlink()
    assert {problem.split(": ", 1)[1].split("rest.")[0] for problem in problems()} == {
        "no study makes the table recipes here",
        "no study makes the table threads here",
        "no study makes the table choice here",
        "no study has the number ",
    }


def test_only_studies_that_take_a_setting_from_the_defaults_are_outdated(monkeypatch):
    training = RunConfig().training
    new = RunConfig(training=training.model_copy(update={"batch_size": training.batch_size + 1}))
    monkeypatch.setattr(studying, "RunConfig", lambda: new)
    found = [problem.split(":")[0] for problem in problems() if "training.batch_size" in problem]
    trained = {name for name in with_results() if hasattr(load(name), "GRID")}
    own = {"tokenization_timing", "dose_map", "parallel_data", "initialisation", "pulled_together", "late_unification"}
    assert set(found) == trained - own  # which set the batch size themselves


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("falls to .73 here", [".73"]),
        ("falls by −.31 [−.4, .2],\nthen 0.19", ["−.31", "−.4", ".2", "0.19"]),
        ("in 12 % and 99.5% of 4 runs", ["12 %", "99.5%"]),
        ("p = .031, at step 1,078 and 390 of BPE-400", [".031", "1,078", "390"]),
        ("down to −1 or -2", ["−1", "-2"]),
        ("| a table | of .5 |", [".5"]),
        ("**.5**", [".5"]),
        ("12 seeds, layer 1, 2 of 18 runs", []),
        ("p .00003, torch 2.11.0<!-- language.trained.torch -->", [".00003"]),
        (".73<!-- language.transfer --> and .05<!-- fixed -->, 95 %<!--fixed-->, .2 [.1, .3]<!-- a.b -->", []),
        (".1 to .2<!-- fixed -->", [".1"]),
        ("`.5` and ``a ` .6``\n\n    python .7\n\n```sh\n.8\n```\n.9", [".9"]),
        ("<!-- table: tests -->\n- p = .03\n<!-- end -->\n.4", [".4"]),
        ("[here](https://arxiv.org/abs/2508.11017), Blum et al. 2025; version v1.2", []),
    ],
)
def test_numbers_that_may_be_results_must_be_marked(text, found):
    assert [number for _, number in unmarked(text)] == found


def test_an_unmarked_number_is_found_with_file_and_line(copy):
    page = copy / "analyses" / "README.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text + "\nTransfer is .5 there.\n", encoding="utf-8")
    (problem,) = problems()
    assert problem.startswith(f"analyses/README.md:{text.count(chr(10)) + 2}: .5 is not marked")


def test_quotes_are_numbers_with_intervals_or_words_and_the_rest_of_the_text_stays():
    numbers = {"a.x": ".5", "a.y": "−.2 [−.3, .1]", "a.z": "fails", "a.p_0.2": "7 %"}
    text = (
        "It holds<!-- a.z -->: .1<!--a.x--> of 9 .27 [.1,\n.3]<!-- a.y -->, 12 %<!-- a.p_0.2 --> (`1<!-- a.x -->`).\n"
    )
    right = (
        "It fails<!-- a.z -->: .5<!--a.x--> of 9 −.2 [−.3, .1]<!-- a.y -->, 7 %<!-- a.p_0.2 --> (`1<!-- a.x -->`).\n"
    )
    assert with_numbers(text, numbers) == right
    assert not [*wrong(right, numbers)]
    assert [line for line, _ in wrong(text, numbers)] == [1, 1, 2, 2]
    assert with_numbers(text, {}) == text


def test_results_say_where_their_runs_were_trained(copy):
    path = copy / "results" / "language.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    kept["trained_on"] = {"GPU, torch 2.12.1": 20, "CPU, 1 thread, torch 2.12.1": 10}
    path.write_text(json.dumps(kept), encoding="utf-8")
    numbers = numbers_of("language")
    assert [numbers[f"language.trained.{key}"] for key in ("gpu", "cpu", "torch")] == ["20", "10", "2.12.1"]
    text = "30 runs, 30<!-- language.trained.gpu --> on a GPU (torch 2.11.0<!-- language.trained.torch -->)."
    filled = "30 runs, 20<!-- language.trained.gpu --> on a GPU (torch 2.12.1<!-- language.trained.torch -->)."
    assert with_numbers(text, numbers) == filled
    del kept["trained_on"]
    path.write_text(json.dumps(kept), encoding="utf-8")
    assert not [name for name in numbers_of("language") if ".trained." in name]


def test_a_quote_of_nothing_is_wrong():
    numbers = {"language.x": ".5"}
    assert [*wrong("is <!-- language.x -->", numbers)] == [
        (1, "no number stands before the comment language.x; the results hold .5")
    ]
    (_, unknown), (_, nowhere) = wrong(".1<!-- language.y -->\n.1<!-- langage.x -->", numbers)
    assert unknown == "no study has the number language.y; see its numbers(rows)"
    assert nowhere.startswith("no study has the number langage.x; there are: after_recall, ")


def test_a_number_that_can_not_be_quoted_is_refused(monkeypatch):
    monkeypatch.setattr(load("language"), "numbers", lambda rows: {"x": "1 of 6"})
    with pytest.raises(InputError, match=r"number language\.x = '1 of 6': can't be quoted"):
        numbers_of("language")


@pytest.mark.parametrize("name", [name for name in with_results() if {"GRID", "numbers"} <= set(dir(load(name)))])
def test_numbers_are_there_with_fewer_seeds_too(name):
    rows = read_results(name)
    fewer = [row for row in rows if row["seed"] <= np.median([row["seed"] for row in rows])]
    assert len(fewer) < len(rows)
    found = load(name).numbers(fewer)
    whole, _ = check.of_study(name, studying.kept_text(name))
    assert {f"{name}.{key}" for key in found} == {key for key in whole if not key.startswith(f"{name}.trained.")}
    for key, value in found.items():
        assert re.fullmatch(quotes.VALUE, value), key
