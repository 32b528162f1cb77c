"""A few inputs of every kind; `python -m tests.fuzz` draws many more. And the judge sees what must not happen."""

import sys
import tempfile
import time

import pytest

from mechxl.errors import Failure, InputError
from tests.fuzz import judge
from tests.fuzz.__main__ import batch
from tests.fuzz.judge import Defect, outcome
from tests.fuzz.kinds import kinds


def test_inputs_are_taken_or_refused_in_a_sentence(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = {
        name: batch(kind, 1, min(2 + int(20 * kind.share), kind.batch // 4)) for name, kind in kinds(tmp_path).items()
    }
    assert {name: counts.defects for name, counts in found.items() if counts.defects} == {}
    assert sum(counts.outcomes["taken"] for counts in found.values()) > 100
    assert sum(counts.outcomes["refused"] for counts in found.values()) > 100


def test_what_must_not_happen_is_seen(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "logs"))
    monkeypatch.setattr(judge, "SECONDS", 0.05)
    folder = tmp_path / "folder"
    for path in (folder, tmp_path / "logs"):
        path.mkdir()

    def raising(error: BaseException):
        def body() -> None:
            raise error

        return body

    def wait() -> None:
        while time.process_time():
            pass

    def touch() -> None:
        (folder / "new").touch()
        raise InputError("no")

    assert outcome(raising(InputError("no")), folder) == "refused"
    assert outcome(raising(Failure("no")), folder) == "failed"
    assert outcome(lambda: None, folder) == "taken"
    for body, said in (
        (raising(ZeroDivisionError("of 0")), "unforeseen ZeroDivisionError: of 0"),
        (raising(GeneratorExit()), "uncaught GeneratorExit"),
        (raising(InputError("")), "1 sentences"),
        (raising(MemoryError()), "1 GB"),
        (wait, "more than 0.05 s"),
        (touch, "the directory changed"),
        (lambda: print("Traceback", file=sys.stderr), "sentences of its own"),
        (lambda: 70, "unforeseen"),
    ):
        with pytest.raises(Defect, match=said):
            outcome(body, folder)
