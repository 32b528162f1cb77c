"""What runs from a checkout that nobody installed."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest

from mechxl.version import own_version
from tests.zygote import ENVIRONMENT, REPOSITORY, Zygote


@pytest.fixture
def uninstalled(tmp_path: Path) -> Path:
    """A copy of the package, and beside it, in `others`, all that is installed but mechxl."""
    shutil.copytree(REPOSITORY / "mechxl", tmp_path / "mechxl", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "others").mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "mechxl" not in path.name:
            (tmp_path / "others" / path.name).symlink_to(path)
    return tmp_path


def test_the_version_is_that_of_the_installed_package():
    assert own_version() == version("mechxl")


# in a process that imported torch before
TRAIN = "import runpy, sys; sys.path[:] = {path}; runpy.run_module('mechxl.train', run_name='__main__', alter_sys=True)"


def test_a_checkout_that_is_not_installed_trains_and_says_so(uninstalled: Path, zygote: Zygote):
    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        """`-S`: without site-packages, where mechxl is installed."""
        path = {"PYTHONPATH": f"{uninstalled}{os.pathsep}{uninstalled / 'others'}"}
        command = [sys.executable, "-S", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=uninstalled, env=os.environ | ENVIRONMENT | path
        )

    for module in ("mechxl", "mechxl.train"):
        result = python("-m", module, "--version")
        assert (result.returncode, result.stdout, result.stderr) == (0, "mechxl not installed\n", "")
    size = ["--world.n_entities", "20", "--training.steps", "2", "--training.checkpoints", "2"]
    paths = sysconfig.get_paths()
    ours = [path for path in sys.path if paths["stdlib"] in (path, str(Path(path).parent)) and path != paths["purelib"]]
    train = TRAIN.format(path=[str(uninstalled), str(uninstalled / "others"), *ours])
    result = zygote.python("-c", train, "--out", "run", "--quiet", *size, cwd=uninstalled)
    assert (result.status, result.err) == (0, "")
    environment = json.loads((uninstalled / "run" / "environment.json").read_text())
    assert environment["versions"]["mechxl"] == "not installed"
