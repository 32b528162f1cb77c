"""A tiny complete run that the tests of trust damage copies of, and how a folder looks from outside."""

import importlib
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mechxl.run import Run
from mechxl.training.loop import train_run
from tests.model.plain import tiny

Seen = dict[str, tuple[int, bytes | str | None]]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A complete run of 6 steps and 3 checkpoints, 0, 1 and 6."""
    return train_run(tiny(steps=6, checkpoints=3), tmp_path_factory.mktemp("trust") / "whole", quiet=True)


@pytest.fixture
def run(whole: Run, tmp_path: Path) -> Path:
    """A copy of it, in a folder of its own."""
    return shutil.copytree(whole.path, tmp_path / "run")


OWN = """
import pandas as pd

from mechxl.findings import Finding


def compute(run):
    return Finding("own", ["One sentence."], {"numbers": pd.DataFrame({"p": [1e-9, 1 / 3], "step": [0, 6]})})


def figures(finding):
    return []
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Writes own questions, each a module in a folder that is the working directory; gives the module's name."""
    folder = tmp_path / "questions"
    folder.mkdir()
    monkeypatch.chdir(folder)
    names: list[str] = []

    def write(text: str = OWN) -> str:
        names.append(f"own_{uuid.uuid4().hex}")
        (folder / f"{names[-1]}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def seen() -> Callable[[Path], Seen]:
    """Gives all below a folder: kind and content, links not followed; folders' names end with /."""

    def look(folder: Path) -> Seen:
        found: Seen = {}
        for above, folders, files in os.walk(folder):
            for name in (*folders, *files):
                path = Path(above, name)
                content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None  # noqa: PTH115
                found[str(path.relative_to(folder))] = path.lstat().st_mode >> 12, content
        return found

    return look
