"""docs/extending.md, carried out: its files are written, its changes applied and its commands run, on a copy."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from mechxl.config import RunConfig
from tests.instruments.runs import small_run
from tests.unpacked import unpacked
from tests.zygote import Zygote

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "extending.md"


def section(title: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's code, with a small run."""
    leave = shutil.ignore_patterns("__pycache__", "notebooks", "findings")
    for folder in ("mechxl", "analyses"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=leave)
    (tmp_path / "tests" / "measures").mkdir(parents=True)
    small_run(tmp_path / "runs" / "small", world={"n_entities": 40, "n_unseen": 8}, training={"checkpoints": 2})
    return tmp_path


def carry_out(title: str, copy: Path, zygote: Zygote) -> str:
    """Does what a section says, in its order; what the commands printed."""
    printed = []
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```$", section(title), re.S | re.M):
        if kind == "sh":
            printed += [run(line, copy, zygote) for line in block.splitlines()]
            continue
        head, _, body = block.partition("\n")
        file = copy / head.removeprefix("# ")
        if kind == "diff":
            apply(body, file)
        else:
            file.write_text(body, encoding="utf-8")
    return "\n".join(printed)


def apply(diff: str, file: Path) -> None:
    """Changes the one place of a file that a diff is about."""
    lines = diff.splitlines()
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{file.name} has this place {text.count(before)} times:\n{before}"
    file.write_text(text.replace(before, after), encoding="utf-8")


def run(command: str, copy: Path, zygote: Zygote) -> str:
    program, *arguments = shlex.split(command)
    assert program == "python"
    done = zygote.python(*arguments, cwd=copy, environment={"PYTHONPATH": str(copy)})
    assert done.status == 0, f"{command}\n{done.out}\n{done.err}"
    return done.out


def test_a_measure_appears_in_the_finding_its_words_and_its_figure(copy, zygote):
    carry_out("A measure of unification", copy, zygote)
    finding = json.loads((copy / "runs" / "small" / "findings" / "unification.json").read_text(encoding="utf-8"))
    rows = finding["tables"]["measures"]
    values = [value for name, value in zip(rows["measure"], rows["value"], strict=True) if name == "spread"]
    assert any(value is not None and value > 0 for value in values)
    assert any("spread" in sentence for sentence in finding["summary"])
    page = (copy / "unification.html").read_text(encoding="utf-8")
    assert '"text":"spread"' in unpacked(page).replace(": ", ":")


def test_a_question_of_one_s_own_and_then_of_the_report(copy, zygote):
    carry_out("A question", copy, zygote)
    for page in ("own.html", "both.html"):
        text = (copy / page).read_text(encoding="utf-8")
        assert "How large names are" in text
        assert "Names grow from size" in text
    assert "sizes" in run("python -m mechxl.report --help", copy, zygote)


def test_a_tokenization_cuts_words_in_pairs_of_letters(copy, zygote):
    printed = carry_out("A tokenization", copy, zygote)
    pieces = re.search(r"[a-z]{2}(?: ##[a-z]{2}){2}", printed)
    assert pieces, printed


def test_a_source_of_facts_is_described_and_trained_on(copy, zygote):
    printed = carry_out("A source of facts", copy, zygote)
    assert re.search(r"(Finland|Norway|Japan|Kenya) (capital|continent)", printed), printed
    assert re.search(r"(Finnland|Norwegen|Japan|Kenia) (Hauptstadt|Kontinent)", printed), printed
    assert (copy / "runs" / "countries" / "COMPLETE").is_file()


def test_a_study_is_trained_measured_and_noted(copy, zygote):
    printed = carry_out("A study", copy, zygote)
    assert re.search(r"widths +4 runs +Does a wider model recall more", printed)
    note = (copy / "analyses" / "claims" / "widths.md").read_text(encoding="utf-8")
    (interval,) = re.findall(r"\| wide \| (.*) \|", note)
    assert f"recalls {interval}<!-- widths.recall.wide.interval -->." in note
    kept = json.loads((copy / "analyses" / "results" / "widths.json").read_text(encoding="utf-8"))
    assert len(kept["rows"]) == 4
    assert kept["default"]["training.learning_rate"] == RunConfig().training.learning_rate
    assert "model.d_model" not in kept["default"]
    assert (copy / "reports" / "studies" / "widths.html").is_file()
