"""Copies of the run that all tests share."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mechxl.check import accept
from mechxl.manifest import sealed
from mechxl.run import Run
from mechxl.schema import environment_hash


def copied(run: Run, to: Path, without: Sequence[str] = ()) -> Run:
    """A copy of a run in a directory of its own, to change; `without` names what is left out.

    Another worker may be writing findings or activations into the shared run: what is half-written is left out.
    """
    return Run(shutil.copytree(run.path, to, ignore=shutil.ignore_patterns("*.partial", *without)))


def accepted(path: Path) -> Run:
    """The run of a directory whose files were changed on purpose."""
    accept(path)
    return Run(path)


def unfinished(path: Path, last: int) -> Run:
    """Makes a run's directory that of one whose training was interrupted after a step, without a saved state."""
    (path / "COMPLETE").unlink()
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["step"] <= last]
    (path / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    for checkpoint in (path / "checkpoints").iterdir():
        if int(checkpoint.stem.split("-")[1]) > last:
            checkpoint.unlink()
    return Run(path)


def write_environment(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a run's environment.json, with its hash."""
    plain = {name: value for name, value in content.items() if name != "sha256"}
    sha256 = environment_hash(plain, sealed(path / "config.toml").sha256)
    (path / "environment.json").write_text(json.dumps(plain | {"sha256": sha256}), encoding="utf-8")
