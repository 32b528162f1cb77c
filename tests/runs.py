"""Copies of the run that all tests share."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mechxl.run import Run


def copied(run: Run, to: Path, without: Sequence[str] = ()) -> Run:
    """A copy of a run in a directory of its own, to change; `without` names what is left out.

    Another worker may be writing findings or activations into the shared run: what is half-written is left out.
    """
    return Run(shutil.copytree(run.path, to, ignore=shutil.ignore_patterns("*.partial", *without)))
