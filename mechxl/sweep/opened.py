"""The runs of a directory as one DataFrame: what varies, how each ended, and the runs themselves, opened when used."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mechxl.config import as_toml_table
from mechxl.errors import InputError
from mechxl.files import check_path, kind_of
from mechxl.questions.phases.curves import metric_onsets
from mechxl.run import Run
from mechxl.sweep.results import Results
from mechxl.sweep.table import flattened


def runs(path: str | Path, onsets: bool = False) -> pd.DataFrame:
    """All runs in a directory, as a sweep leaves it or any other, a row each.

    The index is the run's name. Columns: the settings that differ between the runs; `status` (complete, not complete,
    or damaged) and `reason`; what `mechxl.sweep.results.results` says of complete ones: last metrics, rest, half-rises
    and more; and `run`, the run itself, which is opened when it is first used.

    Args:
        path: the directory.
        onsets: date the rises of recall and of transfer as the question `phases` does, which takes about a sixth of a
            second a run. It adds for each `recall_outcome`, `recall_onset`, and its 95 % interval `recall_onset_low`,
            `recall_onset_high` (steps; NaN where there is no onset, of which the outcome says why); likewise of
            `transfer`. The half-rises, which assume no shape and have no interval, are there without it.

    Example:
        >>> table = runs("runs")  # or runs/NAME, as a sweep wrote it
        >>> table.query("status == 'complete'")[["recall_accuracy", "transfer_accuracy", "transfer_half_rise"]]
        >>> table["run"].iloc[0].metrics.plot(x="step", y="recall_accuracy", backend="plotly")

    Raises:
        InputError: there is no such directory, or no run in it.
    """
    path = check_path(Path(path), "runs")
    names = sorted(one.parent.name for one in path.glob("*/config.toml")) if path.is_dir() else []
    if not names:
        raise InputError(f"{path}: holds no runs; name a directory that mechxl.sweep wrote, such as runs/NAME")
    kept, rows, settings = Results(path), dict[str, dict[str, Any]](), dict[str, dict[str, Any]]()
    for name in names:
        settings[name], rows[name] = _row(kept, path / name)
    if onsets:
        from rich.progress import track

        ended = [name for name in names if rows[name]["status"] == "complete"]
        for name in track(ended, f"onsets of {len(ended)} runs", transient=True):
            rows[name] |= _onsets(path / name)
    varying = _varying(settings)
    frame = pd.DataFrame([varying[name] | rows[name] for name in names], index=pd.Index(names, name="name"))
    return frame.assign(run=pd.Series([_Later(path / name) for name in names], frame.index, dtype=object))


def _row(kept: Results, place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's settings by dotted name, and the rest of its row."""
    try:
        found = kept.of(place.name)
        if found is None and kind_of(place / "COMPLETE") != "nothing":
            found = kept.make(place.name, keep=False)
        if found is None:
            run = Run(place)
            steps = run.rows[-1]["step"] if run.rows else 0
            return _settings(as_toml_table(run.config)), {"status": "not complete", "reason": None, "steps": steps}
        return _settings(found.settings), {"status": "complete", "reason": None, **dict(flattened(found.results))}
    except InputError as error:
        return {}, {"status": "damaged", "reason": str(error)}


def _onsets(place: Path) -> dict[str, Any]:
    """The onsets of recall and transfer with their intervals; empty, with the reason, if the run is damaged."""
    try:
        table = metric_onsets(Run(place))
    except InputError as error:
        return {"status": "damaged", "reason": str(error)}
    found: dict[str, Any] = {}
    for row in table.to_dict("records"):
        name = str(row["quantity"])
        ends = {"": row["step"], "_low": row["low"], "_high": row["high"]}
        found |= {f"{name}_outcome": row["outcome"]} | {f"{name}_onset{end}": value for end, value in ends.items()}
    return found


def _settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """All settings by dotted name, seeds that follow `seed` left out."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in flattened(table)}


def _varying(settings: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each run's settings, those that are not equal in all runs."""
    known = [own for own in settings.values() if own]
    names = dict.fromkeys(name for own in known for name in own)
    varying = [name for name in names if len({json.dumps(own.get(name)) for own in known}) > 1]
    return {run: {name: own.get(name) for name in varying} for run, own in settings.items()}


class _Later(Run):
    """A run that is opened when it is first used: opening checks its files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getattr__(self, name: str) -> Any:
        """What opening a run sets."""
        if name not in ("manifest", "base", "_hashes", "_rows"):
            raise AttributeError(f"a run has no attribute {name!r}")
        Run.__init__(self, self.path)
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"
