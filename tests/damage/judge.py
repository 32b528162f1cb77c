"""What is read from a damaged run, in a process of its own, and whether it is right."""

import hashlib
import io
import os
import pickle  # noqa: TID251  between this process and its own children
import re
import resource
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from mechxl import activations, ask
from mechxl.cli import command
from mechxl.errors import Failure, InputError
from mechxl.report.page import write_report
from mechxl.run import Run
from mechxl.training.loop import train_run
from tests.damage.ways import Damage
from tests.model.plain import contents

CATEGORIES = ("right", "refused", "said", "WRONG", "TRACEBACK", "HANG")
SECONDS = 60  # of CPU time, and twice that of waiting
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_STATE = re.compile(r'<p class="state">.*?</p>', re.DOTALL)
_POLICY = re.compile(r"nonce[-=].?[0-9a-f]{32,}")  # which follows from all of the page

Verdict = tuple[str, str]
"""Category, and what was seen."""


def page_of(run: Path, out: Path, questions: Sequence[str]) -> tuple[int, str, str]:
    """(status, page, what was said) of `mechxl report`."""
    said = io.StringIO()

    def body(_: object) -> int:
        write_report(Run(run), out, only=questions, plotly="beside", quiet=True)
        return 0

    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        status = command(body, [])
    return status, out.read_text(encoding="utf-8") if out.is_file() else "", said.getvalue()


def read_as_notebook(path: Path, questions: Sequence[str]) -> dict[str, Any]:
    """What a notebook reads of a run: values by name, or the error of each."""
    run: Any = _or_error(lambda: Run(path))
    if isinstance(run, Exception):
        return {"run": run}
    readers: dict[str, Callable[[], Any]] = {
        "config": lambda: repr(run.config),
        "environment": lambda: repr(run.environment),
        "steps": lambda: (run.steps, run.complete),
        "facts": lambda: run.facts.to_csv(),
        "metrics": lambda: run.metrics.to_csv(),
        "rest": lambda: repr(run.rest),
        "shown": lambda: run._repr_html_(),
        "tokenizer": lambda: run.tokenizer.to_str(),
        "corpus": lambda: run.corpus.digest,
        **{
            f"model {at}": lambda at=at: [p.detach().numpy().copy() for p in run.model(at).parameters()]
            for at in (0, -1)
        },
        "activations": lambda: activations(run, steps=-1).values,
        **{name: lambda name=name: ask(run, name).to_json("") for name in questions},
    }
    return {name: _or_error(read) for name, read in readers.items()}


def _or_error(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:
        return error


def judge_report(run: Path, whole: str, questions: Sequence[str]) -> Verdict:
    """Compares a damaged run's page with the whole one's."""
    status, page, said = page_of(run, run.parent / "out" / "page.html", questions)
    lines = said.splitlines()
    if status == 70 or "Traceback" in said or any(not line.startswith("mechxl: ") for line in lines):
        return "TRACEBACK", said
    if status:
        return ("refused" if len(lines) == 1 else "TRACEBACK"), said
    state = "".join(_STATE.findall(page))
    if not alike(*(_POLICY.sub("", _STATE.sub("", text)) for text in (page, whole))):
        return "WRONG", f"{said} {_first_difference(page, whole)}"
    return ("said" if lines or state not in whole else "right"), f"{said} {state}"


def judge_notebook(run: Path, whole: dict[str, Any], questions: Sequence[str]) -> Verdict:
    """Compares what a notebook reads of a damaged run with the whole one's."""
    with redirect_stderr(io.StringIO()) as said:
        found = read_as_notebook(run, questions)
    errors = {name: value for name, value in found.items() if isinstance(value, Exception)}
    for name, error in errors.items():
        if not isinstance(error, InputError | Failure) or "\n" in str(error):
            return "TRACEBACK", f"{name}: {error!r}"
    for name, value in found.items():
        if name not in errors and not (alike(value, whole[name]) or (name == "shown" and errors)):
            return "WRONG", f"{name}: {value!r:.300}"
    if errors:
        return "refused", "; ".join(f"{name}: {error}" for name, error in errors.items())
    return ("said" if said.getvalue() else "right"), said.getvalue()


def judge_resume(run: Path, whole: dict[str, bytes]) -> Verdict:
    """Resumes a damaged training, and compares its end with the one that was never interrupted."""
    from tests.damage.__main__ import CONFIG

    before = _listed(run)
    said = io.StringIO()

    def body(_: object) -> int:
        train_run(CONFIG, run, resume=True, quiet=True)
        return 0

    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        status = command(body, [])
    lines = said.getvalue().splitlines()
    if status == 70 or len(lines) > 1:
        return "TRACEBACK", said.getvalue()
    if status:
        unchanged = _listed(run) == before
        return ("refused" if lines and unchanged else "WRONG"), f"{said.getvalue()} unchanged: {unchanged}"
    end = {name: content for name, content in contents(run).items() if name in whole}
    wrong = [name for name in whole if end.get(name) != whole[name]]
    return ("WRONG", f"other: {wrong}") if wrong else ("said" if lines else "right", said.getvalue())


def _listed(folder: Path) -> dict[str, tuple[int, str]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = (
            path.read_bytes()
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK, effective_ids=True)
            else b""
        )
        found[str(path)] = status.st_mode, hashlib.sha256(content).hexdigest()
    return found


def alike(one: Any, other: Any) -> bool:
    """Whether texts are equal but for the last digits of their numbers, and arrays within rounding."""
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True))
    if isinstance(one, list) and one and isinstance(one[0], np.ndarray):
        return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    if one == other or not (isinstance(one, str) and isinstance(other, str)):
        return bool(one == other)
    if _NUMBER.sub("#", one) != _NUMBER.sub("#", other):
        return False
    numbers = [np.array([float(x) for x in _NUMBER.findall(text)]) for text in (one, other)]
    return bool(np.allclose(*numbers, rtol=1e-4, atol=2e-5))


def _first_difference(one: str, other: str) -> str:
    at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"{one[max(at - 60, 0) : at + 60]!r} for {other[max(at - 60, 0) : at + 60]!r}"


def judged(
    damage: Damage, source: Path, work: Path, judges: dict[str, Callable[[Path], Verdict]]
) -> dict[str, Verdict]:
    """Damages a copy of a run and reads it, each judge in a process of its own; the copy is `work`/run."""
    verdicts: dict[str, Verdict] = {}
    for name, judge in judges.items():
        for place in (work / "run", work / "out"):
            if place.is_dir():
                _readable(place)
                shutil.rmtree(place)
        shutil.copytree(source, work / "run")
        (work / "out").mkdir(mode=0o777)
        (work / "out").chmod(0o777)
        damage.do(work / "run")
        verdicts[name] = _forked(lambda judge=judge: judge(work / "run"), damage.unprivileged)
    return verdicts


def _readable(folder: Path) -> None:
    """Folders that a damage made unreadable can be removed again."""
    for above, folders, _ in os.walk(folder):
        for name in folders:
            path = Path(above, name)
            if not path.is_symlink():
                path.chmod(0o755)


def _forked(judge: Callable[[], Verdict], unprivileged: bool) -> Verdict:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(2 * SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        if unprivileged and os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        try:
            verdict = judge()
        except BaseException as error:
            verdict = "TRACEBACK", repr(error)
        with os.fdopen(write, "wb") as pipe:
            pickle.dump(verdict, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if content:
        return pickle.loads(content)
    ended = os.waitstatus_to_exitcode(status)
    return (
        "HANG" if -ended in (signal.SIGALRM, signal.SIGXCPU, signal.SIGKILL) else "TRACEBACK"
    ), f"ended with {ended}"
