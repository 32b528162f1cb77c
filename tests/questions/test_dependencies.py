"""What voids a kept finding: the code that its question imports, and no other. A copy of the package is edited."""

import shutil
from pathlib import Path

import pytest

import mechxl
from mechxl.check import accept
from mechxl.questions.ask import ask
from mechxl.questions.dependencies import files_behind
from mechxl.questions.find import find_question
from mechxl.questions.kept import finding_digest
from mechxl.run import Run
from tests.runs import copied


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of mechxl's files, to edit: each test looks at it before and after its own edit."""
    copy = tmp_path_factory.mktemp("package") / "mechxl"
    return shutil.copytree(Path(mechxl.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))


def behind(package: Path, question: str) -> dict[str, bytes]:
    source = package / "questions" / question / "__init__.py"
    files = files_behind(source, f"mechxl.questions.{question}", package)
    return {str(file.relative_to(package)): file.read_bytes() for file in files}


def edit(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")


@pytest.mark.parametrize(
    "file",
    [
        "report/page.py",
        "report/page.js",
        "questions/unification/panels.py",
        "questions/patching/answer.py",
        "questions/table.py",
        "plots.py",
        "training/loop.py",
        "comparison/compute.py",
    ],
)
def test_what_the_answer_does_not_use_keeps_it(package, file):
    before = behind(package, "unification")
    edit(package / file)
    assert behind(package, "unification") == before


@pytest.mark.parametrize(
    "file",
    [
        "questions/unification/answer.py",
        "questions/unification/words.py",
        "questions/common.py",
        "measures/procrustes.py",
        "measures/statistics.py",  # by way of every measure
        "model/forward.py",  # by way of the activations
        "data/world.py",  # by way of the run
        "findings.py",
    ],
)
def test_what_the_answer_uses_voids_it(package, file):
    before = behind(package, "unification")
    edit(package / file)
    assert behind(package, "unification") != before


def test_imports_inside_functions_count_and_those_for_drawing_or_types_do_not(tmp_path):
    (tmp_path / "mechxl").mkdir()
    for name in ("early", "late", "drawing", "typing_only"):
        (tmp_path / "mechxl" / f"{name}.py").touch()
    (tmp_path / "own.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "import mechxl.early, beside\n"
        "if TYPE_CHECKING:\n    from mechxl import typing_only\n"
        "def compute(run):\n    from mechxl.late import something\n"
        "def figures(finding):\n    from mechxl import drawing\n",
        encoding="utf-8",
    )
    (tmp_path / "beside.py").write_text("import more, json, torch\n", encoding="utf-8")
    (tmp_path / "more.py").touch()
    files = files_behind(tmp_path / "own.py", "own", tmp_path / "mechxl")
    names = {str(file.relative_to(tmp_path)) for file in files}
    assert names == {"own.py", "beside.py", "more.py", "mechxl/early.py", "mechxl/late.py"}


def test_an_own_package_is_followed_inside_itself(tmp_path):
    package = tmp_path / "my_package" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "other.py").touch()
    (package / "question.py").write_text(
        "from .helper import one\nfrom ..shared import two\nimport other\n", encoding="utf-8"
    )
    for file in (package / "helper.py", package.parent / "shared.py", package.parent / "unused.py"):
        file.touch()
    files = files_behind(package / "question.py", "my_package.inner.question", tmp_path / "mechxl")
    names = {str(file.relative_to(tmp_path)) for file in files}
    assert names == {"my_package/inner/question.py", "my_package/inner/helper.py", "my_package/shared.py"}


def test_settings_checkpoints_and_precision_void_it(trained, tmp_path):
    run = copied(trained, tmp_path / "run")
    question = find_question("learning")
    digest = finding_digest(run, question, thorough=False)
    assert finding_digest(run, question, thorough=True) != digest
    checkpoint = run.checkpoint(run.steps[1])
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(bytes(content))
    accept(run.path)
    changed = finding_digest(Run(run.path), question, thorough=False)
    assert changed != digest
    config = run.file("config.toml")
    config.write_text(config.read_text(encoding="utf-8").replace("weight_decay = 0.1", "weight_decay = 0.2"))
    accept(run.path)
    assert finding_digest(Run(run.path), question, thorough=False) != changed


def test_phases_is_void_when_a_finding_that_it_reads_is_new(trained, tmp_path):
    run = copied(trained, tmp_path / "run", without=["findings"])
    question = find_question("phases")
    before = finding_digest(run, question, thorough=False)
    ask(run, "learning")
    assert finding_digest(run, question, thorough=False) != before
