"""Commands import nothing from the working directory but an own question that was named."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import tomli_w

from mechxl.sweep.engines.local import WORKER
from tests.model.plain import TINY
from tests.zygote import ENVIRONMENT, REPOSITORY

# What commands, their libraries, and a sweep's workers import, beside modules that Python imports before mechxl.
NAMES = (
    "abc", "argparse", "ast", "asyncio", "base64", "bisect", "copy", "csv", "dataclasses", "datetime",
    "decimal", "enum", "errno", "faulthandler", "filelock", "fractions", "glob", "hashlib", "inspect",
    "io", "jinja2", "json", "linecache", "logging", "math", "mechxl_extra", "multiprocessing",
    "numbers", "numpy", "orjson", "os", "pandas", "pathlib", "pickle", "platform", "plotly", "pyarrow",
    "pydantic", "queue", "random", "re", "rich", "safetensors", "scipy", "secrets", "selectors",
    "shutil", "signal", "socket", "statistics", "string", "struct", "subprocess", "tempfile",
    "textwrap", "threading", "tokenizers", "tomllib", "torch", "traceback", "transformer_lens",
    "typing", "typing_extensions", "tyro", "unittest", "uuid", "xarray", "xlrd", "zarr", "zipfile",
)  # fmt: skip


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder of modules, each of which leaves a file if it is imported; mechxl itself lies there as in a checkout."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / f'imported {name}')!r}, 'w').close()\n")
    (folder / "mechxl").symlink_to(REPOSITORY / "mechxl")
    return folder


def done(hostile: Path, arguments: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """A command in the folder, in a process of its own; an empty part of PYTHONPATH is the working directory too."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=hostile,
        capture_output=True,
        text=True,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep, "PYTHONDONTWRITEBYTECODE": ""},
    )


def imported(hostile: Path) -> list[str]:
    return sorted(path.name for path in hostile.parent.glob("imported *"))


def test_the_folder_is_noticed(hostile: Path):
    result = done(hostile, ["-c", "import xlrd, numpy"])
    assert result.returncode == 0, result.stderr
    assert imported(hostile) == ["imported numpy", "imported xlrd"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "mechxl", "train", "--describe", "--world.n-entities", "20"],
        ["-m", "mechxl.sweep", "nothing.toml"],
        ["-m", "mechxl.check"],
    ],
)
def test_no_command_imports_from_it(hostile: Path, arguments: list[str]):
    result = done(hostile, arguments)
    assert result.returncode == (0 if "--describe" in arguments else 2), result.stderr
    assert imported(hostile) == []


def test_nor_does_a_report_or_a_sweeps_worker(run: Path, hostile: Path):
    """The report names an own question, which lies there beside the others and imports a neighbour as it answers."""
    (hostile / "neighbour.py").write_text("SENTENCE = 'Told by a neighbour.'\n")
    (hostile / "own.py").write_text(
        "import scipy.stats\nfrom mechxl.findings import Finding\n\n\ndef compute(run):\n"
        "    from neighbour import SENTENCE\n    return Finding('own', [SENTENCE], {})\n\n\n"
        "def figures(finding):\n    return []\n"
    )
    page = run.parent / "page.html"
    result = done(hostile, ["-m", "mechxl.report", run, "--only", "own", "--out", page, "--quiet"])
    assert result.returncode == 0, result.stderr
    assert "Told by a neighbour." in page.read_text(encoding="utf-8")
    (hostile / "study.toml").write_text(tomli_w.dumps({"base": TINY}))
    out = run.parent / "runs"
    result = done(hostile, ["-m", "mechxl.sweep", "study.toml", "--out", out, "--engine", "local", "--quiet"])
    assert result.returncode == 0, result.stderr
    assert (out / "seed=0" / "COMPLETE").is_file()
    assert imported(hostile) == []


def test_a_worker_is_of_the_sweeps_own_mechxl(tmp_path: Path):
    """Whatever mechxl lies in the working directory, or is installed."""
    (tmp_path / "mechxl").mkdir()
    (tmp_path / "mechxl" / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    code = WORKER.replace("worker.main()", "print(worker.__file__)")
    result = subprocess.run(
        [sys.executable, "-P", "-c", code, str(REPOSITORY)], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout.strip() == str(REPOSITORY / "mechxl" / "sweep" / "engines" / "worker.py"), result.stderr
