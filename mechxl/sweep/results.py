"""What a complete run ended with, in one row; and rows that were kept, so that 2,000 runs need not be opened again.

OUT/sweep.jsonl has a line for each run that has ended: its name, a signature of its files, its settings and its row. A
row is used again only while the names, sizes and times of the run's files are those of its signature.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mechxl.config import RunConfig, as_toml_table
from mechxl.files import kind_of, read_bytes
from mechxl.measures.transitions import quick_half_rise
from mechxl.run import Run

KEPT = "sweep.jsonl"
CURVES = ("recall", "transfer")


def results(run: Run) -> dict[str, Any]:
    """The row of a complete run.

    `steps`; the last row of its metrics; `rests`, `rest_reason`, and how far `loss_range`, `recall_range` and
    `transfer_range` move over the last tenth of training; `recall_half_rise` and `transfer_half_rise`, the steps at
    which these accuracies have risen by half (`quick_half_rise`); `wall_seconds`, `threads`, `examples_per_second`
    (steps x batch size / wall seconds, evaluations included); and `megabytes` on disk, caches and findings left out.
    """
    rows, rest, environment = run.rows, run.rest, run.environment
    last = dict(rows[-1])
    steps, seconds = last.pop("step"), environment["wall_seconds"]
    moves = {name: getattr(rest, name) for name in ("loss", "recall", "transfer")}
    step = np.array([row["step"] for row in rows])
    halves = {
        name: quick_half_rise(step, np.array([row[f"{name}_accuracy"] for row in rows], dtype=float)) for name in CURVES
    }
    return {
        "steps": steps,
        **last,
        "rests": rest.rests,
        "rest_reason": rest.reason or None,
        **{f"{name}_range": movement.range if movement else None for name, movement in moves.items()},
        **{f"{name}_half_rise": None if np.isnan(half) else half for name, half in halves.items()},
        "wall_seconds": seconds,
        "threads": environment["threads"],
        "examples_per_second": steps * run.config.training.batch_size / seconds,
        "megabytes": (sum(seal.size for seal in run.manifest.files.values()) if run.manifest else 0) / 1e6,
    }


@dataclass(frozen=True)
class Kept:
    """A kept row.

    Attributes:
        signature: of the run's files when the row was made.
        settings: of the run, as plain values.
        results: the row.
    """

    signature: str
    settings: dict[str, Any]
    results: dict[str, Any]


class Results:
    """The rows of a directory of runs: kept ones, and new ones, which it keeps.

    Args:
        out: the directory.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.kept = out, dict[str, Kept]()
        if kind_of(out / KEPT) != "file":
            return
        for line in read_bytes(out / KEPT, None).splitlines():
            try:
                content = json.loads(line)
                name = content.pop("run")
                self.kept[name] = Kept(**content)
            except (ValueError, KeyError, TypeError, AttributeError):  # torn, or not ours: its run is opened again
                continue

    def of(self, name: str, config: RunConfig | None = None) -> Kept | None:
        """The kept row of a complete run; None if there is none, its files have changed, or its settings differ."""
        kept = self.kept.get(name)
        if kept is None or (config is not None and kept.settings != as_toml_table(config)):
            return None
        return kept if kept.signature == signature(self.out / name) else None

    def make(self, name: str, keep: bool = True) -> Kept:
        """The row of a complete run, opened now, and kept for later if that is wanted.

        Raises:
            InputError: the run is not as training left it.
        """
        before = signature(self.out / name)
        run = Run(self.out / name)
        kept = Kept(before, as_toml_table(run.config), results(run))
        self.kept[name] = kept
        if not keep:
            return kept
        line = json.dumps({"run": name, "signature": before, "settings": kept.settings, "results": kept.results})
        with suppress(OSError), (self.out / KEPT).open("ab") as file:  # on a full disk it is made again next time
            file.write(b"\n" + line.encode() + b"\n")  # what a full disk cut before ends here
        return kept


def signature(directory: Path) -> str:
    """A hash of names, sizes and times of a run's files; findings and caches are left out."""
    found: list[tuple[str, int, int]] = []
    for folder in (directory, directory / "checkpoints"):
        try:
            with os.scandir(folder) as entries:
                found += [
                    (entry.name, status.st_size, status.st_mtime_ns)
                    for entry in entries
                    if entry.is_file() and entry.name != "lock"
                    for status in [entry.stat()]
                ]
        except OSError:
            found.append((folder.name, -1, -1))
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()[:32]
