"""Findings that are kept beside a run, and what they are kept for."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from mechxl.config import flat
from mechxl.errors import InputError
from mechxl.findings import Finding
from mechxl.run import Run


def finding_path(run: Run, question: str) -> Path:
    """Where a question's finding is kept."""
    return run.file("findings") / f"{question}.json"


def kept_finding(run: Run, question: str, thorough: bool = False) -> Finding | None:
    """The kept finding of a question; None where there is none, or it was computed from something else."""
    return Finding.read(finding_path(run, question), finding_digest(run, thorough))


def finding_digest(run: Run, thorough: bool, reads: Sequence[str] = (), sources: Sequence[Path] = ()) -> str:
    """A hash of all that a finding is computed from: settings, checkpoints, metrics, this package's code, precision.

    Args:
        run: whose finding.
        thorough: precision.
        reads: other questions whose kept findings it is computed from.
        sources: files of an own question.
    """
    found = hashlib.sha256(json.dumps({"settings": flat(run.config), "thorough": thorough}, default=str).encode())
    if not (metrics := run.file("metrics.jsonl")).is_file():
        raise InputError(f"{metrics}: there is no such file; restore it, or train the run again")
    for step in run.steps:
        found.update(run.checkpoint(step).read_bytes())
    found.update(metrics.read_bytes())
    for source in [*sorted(Path(__file__).parents[1].rglob("*.py")), *sources]:
        found.update(source.read_bytes())
    for question in reads:
        path = finding_path(run, question)
        found.update(path.read_bytes() if path.is_file() else question.encode())
    return found.hexdigest()
