"""How a notebook shows a run: a small table of escaped text, without scripts or colours."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mechxl.config import RunConfig, changed_settings

RATES = {"loss": "loss (nats an answer)", "recall_accuracy": "recall", "transfer_accuracy": "transfer"}
GROUPS = {"parallel": "told in every language", "mono": "told in one", "unseen": "told in none"}


def run_html(
    path: Path,
    config: RunConfig,
    complete: bool,
    steps: Sequence[int],
    groups: Mapping[str, int],
    last: Mapping[str, Any],
    rest: str,
) -> str:
    """A run as a small HTML table.

    Args:
        path: of the run directory.
        config: its settings.
        complete: whether training has ended.
        steps: of the checkpoints.
        groups: how many facts each group has; empty if the table of facts does not exist yet.
        last: the last row of metrics; empty if there is none yet.
        rest: whether the run rests, in words; empty if there is nothing to say.
    """
    rows = {"path": str(path), "state": _state(config, complete, steps, last), "settings": _settings(config)}
    if groups:
        told = [f"{count:,} {name} ({GROUPS.get(name, name)})" for name, count in groups.items()]
        rows["facts"] = f"{', '.join(told)}; {config.languages.count} languages"
    rows["checkpoints"] = _checkpoints(steps)
    if last:
        rates = [f"{label} {_number(last, name)}" for name, label in RATES.items()]
        rows[f"at step {int(last['step']):,}"] = ", ".join(rates)
    if rest:
        rows["rest"] = rest
    return table_html(f"Run {path.resolve().name}", rows)


def error_html(path: Path, error: Exception) -> str:
    """What is shown instead of a run that can't be read."""
    return table_html(f"Run {path.resolve().name}", {"can't be read": str(error)})


def table_html(title: str, rows: Mapping[str, str]) -> str:
    """A table of two columns under a title; all text is escaped here."""
    cell = "text-align: left; vertical-align: top"
    body = "".join(
        f'<tr><th scope="row" style="{cell}">{escape(name)}</th><td style="{cell}">{escape(text)}</td></tr>'
        for name, text in rows.items()
    )
    return f'<table><caption style="{cell}"><b>{escape(title)}</b></caption><tbody>{body}</tbody></table>'


def _state(config: RunConfig, complete: bool, steps: Sequence[int], last: Mapping[str, Any]) -> str:
    if complete:
        return f"complete, {config.training.steps:,} steps"
    step = max([int(last.get("step", 0)), *steps])
    return f"in training or stopped, at step {step:,} of {config.training.steps:,}"


def _settings(config: RunConfig) -> str:
    return ", ".join(f"{name} = {value}" for name, value in changed_settings(config).items()) or "all at their defaults"


def _checkpoints(steps: Sequence[int]) -> str:
    return f"{len(steps)}, steps {steps[0]:,} to {steps[-1]:,}" if steps else "none yet"


def _number(row: Mapping[str, Any], name: str) -> str:
    """A rate with three decimals, or the reason why there is none."""
    value = row.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        reason = row.get(name.replace("_accuracy", "_reason"))
        return f"- ({reason})" if isinstance(reason, str) else "-"
    return f"{value:.3f}"
