"""How a report grows with languages, tokenization, checkpoints and entities: processor time, memory and size of page.

    python -m benchmarks.report_growth NAME

prints the numbers of one case; each is a process of its own. Runs are short, since a report does the same work on a run
that has learned little; only the rows of interchange are fewer there.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import finished, table

SHORT = {"steps": 60, "checkpoints": 5, "threads": 1}
SMALL = {"n_entities": 150}
CASES: dict[str, dict[str, Any]] = {
    "two languages": {},
    "eight languages": {"languages": {"count": 8}},
    "byte": {"tokenization": {"kind": "byte"}},
    "300 checkpoints": {"training": {"steps": 300, "checkpoints": 300, "threads": 1}},
    "20,000 entities": {"world": {"n_entities": 20_000}, "languages": {"name_syllables": 64, "name_length": 3}},
}


def report_growth(quick: bool) -> str:
    """A table: a row for each case."""
    rows = []
    first = 0.0
    for name in list(CASES)[: 2 if quick else None]:
        found = json.loads(finished("benchmarks.report_growth", name, threads=1).out)
        first = first or found["seconds"]
        numbers = f"{found['seconds']:.1f}", f"{found['seconds'] / first:.1f}", f"{found['memory']:.2f}"
        rows.append((name, *numbers, f"{found['page']:.1f}"))
    intro = (
        "A report from nothing, with a null, in one process and one thread: processor time without imports and "
        f"training, its ratio to the first row, peak memory (GB), page (MB). {SMALL['n_entities']} entities and "
        f"{SHORT['checkpoints']} checkpoints unless the row says otherwise."
    )
    return f"{intro}\n\n{table(('run', 's', 'ratio', 'GB', 'MB'), rows)}"


def measured(name: str) -> dict[str, float]:
    """Seconds, memory and size of one case."""
    from mechxl.config import parse_config
    from mechxl.report.page import write_report
    from mechxl.training.pair import train_pair

    settings = {"world": SMALL, "training": SHORT} | CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        run = train_pair(parse_config(settings), Path(folder) / "run", quiet=True)
        import_all()
        begun = time.process_time()
        page = write_report(run, Path(folder) / "page.html", quiet=True)
        seconds, size = time.process_time() - begun, page.stat().st_size
    return {
        "seconds": seconds,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "page": size / 1e6,
    }


def import_all() -> None:
    """Imports what questions need, so that it does not count."""
    import importlib

    from mechxl.questions.server import IMPORTED

    for name in IMPORTED:
        importlib.import_module(name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(CASES))
    sys.stdout.write(json.dumps(measured(parser.parse_args().name)))
