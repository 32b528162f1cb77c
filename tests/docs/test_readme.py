"""README's snippets: the lines for a notebook run, and the commands are ones that mechxl takes."""

import re
import shlex
from pathlib import Path

import pytest

from mechxl import train
from mechxl.cli import parse
from mechxl.report.__main__ import Report
from mechxl.run import Run
from mechxl.sweep.__main__ import main as sweep

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = {kind: re.findall(rf"^```{kind}\n(.*?)^```", README, re.DOTALL | re.MULTILINE) for kind in ("python", "sh")}
COMMANDS = re.findall(r"^\.venv/bin/python -m (mechxl\.\w+) (.*?)(?: +# .*)?$", "".join(BLOCKS["sh"]), re.MULTILINE)


def test_the_lines_for_a_notebook_run(trained: Run, answered):
    answered("unification")
    [snippet] = BLOCKS["python"]
    lines = snippet.replace('"runs/default"', repr(str(trained.path)))
    found: dict[str, object] = {}
    exec(lines.replace('"runs/parallel_fraction"', repr(str(trained.path.parent))), found)
    assert isinstance(found["run"], Run)


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_the_commands_are_understood(module: str, arguments: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    argv = shlex.split(arguments)
    if module == "mechxl.report":
        options = parse(Report, argv, module, "")
        assert options.runs
    elif module == "mechxl.sweep":
        assert sweep([*argv, "--dry-run"]) == 0
    elif "--help" in argv:
        with pytest.raises(SystemExit) as end:
            train.main(argv)
        assert end.value.code == 0
    else:
        assert train.main([*dict.fromkeys([*argv, "--describe"])]) == 0
    assert capsys.readouterr().out or module == "mechxl.report"


def test_there_are_commands():
    assert len(COMMANDS) >= 8
