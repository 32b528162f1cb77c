"""The runs of a study as one table: one row for each run, with the settings that vary and the final metrics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet

from mechxl.config import flat
from mechxl.errors import Failure
from mechxl.files import kind_of, read_rows, reason, whole_file
from mechxl.run import Run
from mechxl.sweep.engine import Outcome
from mechxl.sweep.study import Planned, Study


def runs_table(study: Study, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """One row for each run, in the study's order.

    Columns: `run` (its name), `path`, `variant` (if the study has variants), every setting that varies by dotted name,
    `seed`, `status` (complete, failed, stopped) and `reason`, `steps` (of its newest metrics). Complete runs also have
    the last row of their metrics as dotted columns; `rests`, `rest_reason`, and how far `loss_range`, `recall_range`
    and `transfer_range` move over the last tenth of training; `wall_seconds`, `threads`, and `examples_per_second`
    (steps x batch size / wall seconds, evaluations included).
    """
    rows = [_row(study, run, outcomes[run.name]) for run in study.runs]
    return pd.json_normalize(rows)


def _row(study: Study, run: Planned, outcome: Outcome) -> dict[str, Any]:
    job = outcome.job
    settings = flat(run.config)
    row: dict[str, Any] = {"run": run.name, "path": str(job.out)}
    if any(other.variant for other in study.runs):
        row["variant"] = run.variant
    for name in study.varied:
        row[name] = list(settings[name]) if isinstance(settings[name], tuple) else settings[name]
    row |= {"seed": run.config.seed, "status": outcome.status, "reason": outcome.reason or None}
    metrics = read_rows(job.out / "metrics.jsonl") or [{"step": 0}]
    row["steps"] = metrics[-1].pop("step")
    if outcome.status != "complete":
        return row
    trained = Run(job.out)
    environment, rest = trained.environment, trained.rest
    seconds = environment["wall_seconds"]
    moves = {name: getattr(rest, name) for name in ("loss", "recall", "transfer")}
    return row | {
        **metrics[-1],
        "rests": rest.rests,
        "rest_reason": rest.reason or None,
        **{f"{name}_range": movement.range if movement else None for name, movement in moves.items()},
        "wall_seconds": seconds,
        "threads": environment["threads"],
        "examples_per_second": row["steps"] * run.config.training.batch_size / seconds,
    }


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
