"""What README and docs show is there: every file in the tree, every command and snippet; and README stays short."""

import ast
import contextlib
import re
import shlex
from pathlib import Path

import pytest

from analyses.study import studies
from mechxl.questions.find import find_question
from mechxl.questions.table import QUESTIONS
from mechxl.sweep.study import read_study

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted(
    [README, *(ROOT / "docs").glob("*.md"), ROOT / "analyses" / "README.md", *ROOT.glob("analyses/claims/*.md")]
)
CARRIED_OUT = "extending.md"  # whole, in test_extending.py
MOST_WORDS = 900


def blocks(page: Path, kind: str) -> list[str]:
    """The fenced blocks of a kind (the word after the opening fence)."""
    pieces = re.split(r"^```(.*)$\n?", page.read_text(encoding="utf-8"), flags=re.M)
    return [text for word, text in zip(pieces[1::4], pieces[2::4], strict=True) if word == kind]


def tree() -> dict[str, str]:
    """Paths that README's tree names, with their phrases: `names  phrase`, a folder's name ending in a slash."""
    (text,) = [block for block in blocks(README, "") if block.startswith("mechxl/")]
    folders: list[str] = []
    paths = {}
    for line in text.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names, _, phrase = line.strip().partition("  ")
        folders = folders[:depth]
        for name in names.split():
            paths["/".join([*folders, name.rstrip("/")])] = phrase.strip()
        if names.endswith("/"):
            folders.append(names.rstrip("/"))
    return paths


def test_the_tree_names_every_package_and_file_with_a_phrase():
    package = ROOT / "mechxl"
    files = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    there = {"/".join(("mechxl", *path.relative_to(package).with_suffix("").parts)) for path in files}
    there |= {"/".join(("mechxl", *path.parent.relative_to(package).parts)) for path in package.rglob("__init__.py")}
    named = {path for path in tree() if path.startswith("mechxl")}
    assert named == there, "add a file to README's tree, in the line of its room, or take it out"
    for path, phrase in tree().items():
        assert phrase, f"{path} has no phrase in README's tree"


def test_the_tree_names_the_folders_beside_the_package():
    assert {"analyses", "benchmarks", "docs", "reports", "tests"} <= tree().keys()
    for path in tree():
        assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), path


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= MOST_WORDS


def commands() -> list[tuple[str, str]]:
    """(page, command) of every shell block and indented command."""
    found = []
    for page in (page for page in PAGES if page.name != CARRIED_OUT):
        lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
        text = page.read_text(encoding="utf-8")
        lines += re.findall(r"^    ((?:\.venv/bin/)?python .*|make .*)$", text, re.M)
        lines += re.findall(r"`((?:\.venv/bin/)?python -m (?:mechxl|analyses|benchmarks)[^`]*|make [a-z]+)`", text)
        found += [(page.name, line) for line in lines if line.strip()]
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_that_is_shown_parses(page, command):
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert words[1] in targets
        return
    assert words[0].endswith("python"), command
    module, arguments = words[2], words[3:]
    assert words[1] == "-m"
    if "--help" in arguments or "--version" in arguments:
        return
    parse_of(module)(arguments)


def parse_of(module: str):
    """What parses the arguments of a command, without carrying it out."""
    if module == "mechxl.train":
        from mechxl.train import _arguments

        return _arguments
    if module == "mechxl.report":
        return parse_report
    if module == "mechxl.sweep":
        return parse_sweep
    if module == "analyses":
        return parse_analyses
    if module == "mechxl.check":
        return parse_check
    if module == "mechxl.facts":
        return parse_facts
    assert module in ("benchmarks", "pytest", "tests.fuzz", "tests.damage"), module
    return lambda arguments: None


def parse_report(arguments: list[str]) -> None:
    from mechxl.cli import parse
    from mechxl.report.__main__ import Report

    options = parse(Report, [argument.replace("RUN", "runs/x").strip("[].") for argument in arguments], "report", "")
    for name in options.only:
        if "." not in name:
            assert find_question(name).name in QUESTIONS


def parse_check(arguments: list[str]) -> None:
    from mechxl.check import Check
    from mechxl.cli import parse

    assert parse(Check, arguments, "check", "").runs


def parse_facts(arguments: list[str]) -> None:
    from mechxl.facts import USAGE

    assert f"mechxl.facts {arguments[0]}" in USAGE


def parse_sweep(arguments: list[str]) -> None:
    from mechxl.cli import parse
    from mechxl.sweep.__main__ import Sweep

    options = parse(Sweep, arguments, "sweep", "")
    with contextlib.suppress(AttributeError):
        if str(options.study) != "STUDY.toml":
            read_study(ROOT / options.study)


def parse_analyses(arguments: list[str]) -> None:
    from analyses.__main__ import Options
    from mechxl.cli import parse

    options = parse(Options, arguments, "analyses", "")
    assert options.name in ("", "NAME", *studies())


SNIPPETS = [(page.name, block) for page in PAGES if page.name != CARRIED_OUT for block in blocks(page, "python")]


@pytest.mark.parametrize(("page", "block"), SNIPPETS)
def test_a_snippet_compiles_and_what_it_imports_of_ours_is_there(page, block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mechxl"):
            module = __import__(str(node.module), fromlist=["_"])
            for alias in node.names:
                assert hasattr(module, alias.name), f"{page}: {node.module} has no {alias.name}"


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_index_names_every_document():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index
