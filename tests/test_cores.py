"""The cores that a process may use."""

from pathlib import Path

import pytest

from mechxl import cores as module
from mechxl.cores import cores


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", 4), ("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 4)],
)
def test_cores_are_those_of_affinity_and_quota(text, expected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    (tmp_path / "cpu.max").write_text(text + "\n")
    monkeypatch.setattr(module, "QUOTA", tmp_path / "cpu.max")
    assert cores() == expected
    monkeypatch.setattr(module, "QUOTA", tmp_path / "none")
    assert cores() == 4
