"""The runs of a study as one table: one row for each run, with the settings that vary and the final metrics."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet

from mechxl.config import flat
from mechxl.errors import Failure, InputError
from mechxl.files import kind_of, read_rows, reason, whole_file
from mechxl.sweep.engine import Outcome
from mechxl.sweep.results import Results
from mechxl.sweep.study import Study

TABLE = "sweep.parquet"


class Table:
    """The table of a sweep, which grows as its runs end.

    A row for each run, in the study's order. Columns: `run` (its name), `path`, `variant` (if the study has variants),
    every setting that varies by dotted name, `seed`, `status` (complete, failed, stopped, submitted) and `reason`,
    `steps` (of its newest metrics). Complete runs also have what `results` says, nested values as dotted columns.

    Args:
        study: the runs.
        out: the directory that holds them.
    """

    EVERY = 10.0  # least seconds between two times that it is written while runs are at work
    SHARE = 0.02  # of the time that may go into that

    def __init__(self, study: Study, out: Path) -> None:
        self.study, self.path, self.results = study, out / TABLE, Results(out)
        self.variants = any(run.variant for run in study.runs)
        self.rows: dict[str, dict[str, Any]] = {}
        self.planned = {run.name: run for run in study.runs}
        self.next = time.monotonic() + self.EVERY

    def add(self, outcome: Outcome) -> Outcome:
        """Adds a run's row. A complete run that is not as training left it has failed: the outcome that counts."""
        job, ended = outcome.job, dict[str, Any]()
        if outcome.status == "complete":
            try:
                ended = (self.results.of(job.name, job.config) or self.results.make(job.name)).results
            except InputError as error:
                outcome = Outcome(job, "failed", str(error))
        run = self.planned[job.name]
        settings = flat(run.config)
        row: dict[str, Any] = {"run": run.name, "path": str(job.out)}
        if self.variants:
            row["variant"] = run.variant
        for name in self.study.varied:
            row[name] = list(settings[name]) if isinstance(settings[name], tuple) else settings[name]
        row |= {"seed": run.config.seed, "status": outcome.status, "reason": outcome.reason or None}
        row["steps"] = 0 if ended else _steps(job.out)
        self.rows[run.name] = row | dict(flattened(ended))
        if time.monotonic() > self.next:
            with suppress(Failure):  # a full disk, say: the last writing will tell
                self.write()
        return outcome

    def frame(self) -> pd.DataFrame:
        """The rows so far."""
        return pd.DataFrame.from_records([self.rows[name] for name in self.planned if name in self.rows])

    def write(self) -> pd.DataFrame:
        """Writes the rows so far to OUT/sweep.parquet, and gives them."""
        started = time.monotonic()
        frame = self.frame()
        write_table(frame, self.path)
        took = time.monotonic() - started
        self.next = time.monotonic() + max(self.EVERY, took / self.SHARE)
        return frame


def flattened(row: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries by dotted name."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _steps(out: Path) -> int:
    """The step of a run's newest metrics."""
    try:
        rows = read_rows(out / "metrics.jsonl")
    except InputError:
        return 0
    return rows[-1].get("step", 0) if rows else 0


def is_table(path: Path) -> bool:
    """Whether a table may be written to a path: nothing is there, or a table of runs is."""
    if (kind := kind_of(path)) != "file":
        return kind == "nothing"
    try:
        return {"run", "path", "status", "steps"} <= set(pyarrow.parquet.read_schema(path).names)
    except (OSError, ValueError):
        return False


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as a whole file, or nothing; `pandas.read_parquet(path)` reads it.

    Raises:
        Failure: it can't be written.
    """
    try:
        with whole_file(path) as temporary:
            table.to_parquet(temporary, index=False)
    except OSError as error:
        raise Failure(
            f"{path}: can't be written ({reason(error)}); make room, and run the same command again: complete runs stay"
        ) from error


def summary(table: pd.DataFrame, varied: tuple[str, ...]) -> str:
    """An aligned text table: what varies, mean recall and transfer over the n complete runs, how many of these rest."""
    keys = [name for name in ("variant", *varied) if name in table and table[name].astype(str).nunique() > 1]
    rows = [[*(_field(name) for name in keys), "n", "recall", "transfer", "rest"]]
    groups = table.groupby(table[keys].astype(str).agg(tuple, axis=1), sort=False) if keys else [((), table)]
    for values, group in groups:
        complete = group[group["status"] == "complete"]
        means = [complete.get(f"{kind}_accuracy", pd.Series(dtype=float)).mean() for kind in ("recall", "transfer")]
        rest = complete.get("rests", pd.Series(dtype=object))
        known = f"{int(rest.eq(True).sum())}/{len(complete)}" if rest.notna().any() else "-"  # None too
        shown = ["-" if pd.isna(mean) else f"{mean:.3f}" for mean in means]
        rows.append([*values, str(len(complete)), *shown, known])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _field(name: str) -> str:
    return name.rpartition(".")[2]
