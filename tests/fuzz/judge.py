"""One input, run as a command runs it: its outcome, or the defect that it shows."""

import io
import os
import re
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from mechxl.cli import command

SECONDS, BYTES, LONGEST = 5, 2**30, 3000  # of CPU time, of memory, letters of a sentence
OUTCOMES = {0: "taken", 1: "failed", 2: "refused", 130: "interrupted"}
_PLACE = re.compile(r'File "[^"]*?(mechxl/[^"]+|site-packages/[^"]+)", line (\d+), in (\S+)')


class Defect(BaseException):  # so that no `except Exception` keeps it
    """What must not happen; the text is the kind of defect."""


class _TooLong(BaseException):
    """Raised wherever the work is."""


def outcome(body: Callable[[], object], folder: Path | None = None) -> str:
    """Runs a body as a command's; returns what came of it.

    Args:
        body: raises what mechxl raises; a number that it returns is its exit status.
        folder: what must not change if the input is refused; None: a file that the body writes is the input.

    Raises:
        Defect: a property does not hold.
    """
    before = listed(folder) if folder else []
    said, printed, memory = io.StringIO(), io.StringIO(), _peak()

    def run(_: object) -> int:
        status = body()
        return status if type(status) is int else 0

    try:
        with redirect_stdout(printed), redirect_stderr(said), _limited():
            status = command(run, [])
    except SystemExit as end:  # of --help
        status = end.code
    except _TooLong:
        raise Defect(f"takes more than {SECONDS} s") from None
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | Defect):
            raise
        raise Defect(f"uncaught {type(error).__name__}: {str(error)[:80]}") from error
    text = said.getvalue()
    if status == 70:
        raise Defect(_unforeseen(text))
    if status not in OUTCOMES:
        raise Defect(f"status {status}")
    if "memory ran out" in text or _peak() > memory + BYTES:
        raise Defect("takes more than 1 GB")
    lines = text.splitlines()
    if any(not line.startswith("mechxl: ") for line in lines) or "Traceback" in text:
        raise Defect(f"says more than sentences of its own: {text[:80]!r}")
    if status == 1 and not lines:  # `check` prints what is wrong
        lines = [f"mechxl: {printed.getvalue()}"]
    if status and (len(lines) != 1 or not lines[0].removeprefix("mechxl: ").strip() or len(lines[0]) > LONGEST):
        raise Defect(f"{len(lines)} sentences, of {[len(line) for line in lines[:3]]} letters")
    if status == 2 and folder and listed(folder) != before:
        raise Defect("is refused, and the directory changed")
    return OUTCOMES[int(status or 0)]


def listed(folder: Path) -> list[tuple[str, int, int]]:
    """Name, kind and size of all below a folder; links are not followed."""
    found = []
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(above, name)  # noqa: PTH118  called for every input
            status = os.lstat(path)
            found.append((path, status.st_mode, 0 if name in folders else status.st_size))
    return sorted(found)


def _peak() -> int:
    """The most memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def _limited() -> Iterator[None]:
    """Ends what takes more CPU time than `SECONDS`."""

    def end(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def little_memory() -> Iterator[None]:
    """This process may not take the machine's memory: libraries reserve up to 2 GB of addresses that they never use."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        size = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + 3 * BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _unforeseen(text: str) -> str:
    """The error in the log that a sentence names, and the last place of mechxl's in it; the log is removed."""
    found = re.search(r"details are in (\S+?);", text)
    if not found:
        return f"unforeseen: {text[:200]}"
    log = Path(found[1])
    content = log.read_text(encoding="utf-8")
    if log.is_relative_to(tempfile.gettempdir()):
        with suppress(OSError):
            log.unlink()
    places = [place for place in _PLACE.findall(content) if place[0].startswith("mechxl/")]
    where = f"{places[-1][0]}:{places[-1][1]} in {places[-1][2]}" if places else "?"
    return f"unforeseen {content.strip().splitlines()[-1][:100]} ({where})"
