"""Lays out findings as one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mechxl.config import RunConfig, as_toml_table, flat
from mechxl.data.description import Description, describe
from mechxl.findings import Finding
from mechxl.plots import Panel
from mechxl.questions.ask import QUESTIONS, ask
from mechxl.refusals import InputError
from mechxl.run import Run, write_text

TITLES = {
    "learning": "What the model learns, and when",
    "unification": "Whether a fact is one thing in all languages",
    "language_identity": "The language: in the text, in the model, and what it is used for",
    "patching": "Patching: is the unified representation the one that is used?",
    "phases": "Phases: when does each thing happen?",
}


@dataclass(frozen=True)
class Section:
    """A question's part of the page."""

    name: str
    title: str
    summary: list[str]
    panels: list[tuple[Panel, str]]


def write_report(
    run: Run,
    out: str | Path,
    *,
    only: Sequence[str] = (),
    thorough: bool = False,
    plotly: str = "inline",
    quiet: bool = False,
) -> Path:
    """Asks the questions of a run and writes its report.

    Args:
        run: a run with checkpoints.
        out: the page.
        only: questions to ask; empty: all.
        thorough: all facts rather than samples.
        plotly: inline (one self-contained file) or beside (plotly.min.js next to the page, shared by many).
        quiet: no progress bar.

    Returns:
        The page's path.

    Raises:
        InputError: no such question, the run has no checkpoints, or the page can't be written.
    """
    out = Path(out)
    if out.is_dir():
        raise InputError(f"{out}: is a directory, and a report is a file; give --out FILE.html")
    names = list(only) or list(QUESTIONS)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    findings: dict[str, Finding] = {}
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=len(names))
        for name in names:
            bar.update(task, description=f"asking {name}")
            findings[name] = ask(run, name, thorough=thorough)
            bar.advance(task)
    return write_page(render(run, findings, thorough=thorough, inline=plotly == "inline"), out, plotly)


def write_page(page: str, out: Path, plotly: str) -> Path:
    """Writes a page, and plotly.min.js beside it if asked.

    Raises:
        InputError: it can't be written.
    """
    if out.is_dir():
        raise InputError(f"{out}: is a directory, and a report is a file; give --out FILE.html")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, page)
        if plotly == "beside":
            write_text(out.parent / "plotly.min.js", get_plotlyjs())
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); choose another --out") from None
    return out


def render(run: Run, findings: dict[str, Finding], *, thorough: bool, inline: bool) -> str:
    """The page as text."""
    sections = [
        Section(
            name,
            TITLES[name],
            finding.summary,
            [(panel, figure_html(panel)) for panel in QUESTIONS[name].figures(finding)],
        )
        for name, finding in findings.items()
    ]
    description: Description = describe(run.config, run.corpus)
    return (
        environment()
        .get_template("template.html")
        .render(
            run=run,
            sections=sections,
            description=description,
            settings=_settings(run.config),
            environment=_environment(run),
            thorough=thorough,
            checkpoints=findings["learning"].tables["checkpoints"].to_dict("records") if "learning" in findings else [],
            plotly_js=get_plotlyjs() if inline else "",
            version=version("mechxl"),
            **_lead(run),
        )
    )


def environment() -> jinja2.Environment:
    """Templates of this package; all that they show is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("mechxl.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def figure_html(panel: Panel) -> str:
    """A panel's figure as a part of a page."""
    config = {"responsive": True, "displaylogo": False, "displayModeBar": False}
    return panel.figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=f"figure-{panel.name}", config=config, auto_play=False
    )


def _lead(run: Run) -> dict[str, Any]:
    config = run.config
    given, defaults = _flattened(as_toml_table(config)), _flattened(as_toml_table(RunConfig()))
    changed = [(name, _plain(value)) for name, value in given.items() if value != defaults.get(name)]
    state = "" if run.complete else f"Not finished: step {run.steps[-1]:,} of {config.training.steps:,}."
    return {"changed": changed, "state": state, "facts": int(run.corpus.world.seen.sum())}


def _flattened(table: dict[str, Any]) -> dict[str, Any]:
    """`{"seed": 0, "world": {"n_values": 16}}` as `{"seed": 0, "world.n_values": 16}`."""
    sections = {name: value if isinstance(value, dict) else {"": value} for name, value in table.items()}
    return {f"{name}.{key}".rstrip("."): value for name, fields in sections.items() for key, value in fields.items()}


def _settings(config: RunConfig) -> list[tuple[str, str, str]]:
    """(name, value, default) of every setting, the five seeds and the shares filled in."""
    values, defaults = ({"seed": c.seed} | flat(c) for c in (config, RunConfig()))
    return [(name, _plain(value), _plain(defaults[name])) for name, value in values.items()]


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(f"{part:g}" for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _environment(run: Run) -> list[tuple[str, str]]:
    environment = run.environment
    rows = [(name, str(value)) for name, value in environment["versions"].items()]
    rows += [(name, str(environment[name])) for name in ("platform", "commit", "threads", "device", "data_digest")]
    rows.append(("command", " ".join(environment["command"])))
    if "wall_seconds" in environment:
        rows.append(("training took", f"{environment['wall_seconds']:.0f} s"))
    if resumed := environment.get("resumed_at"):
        rows.append(("resumed at steps", ", ".join(map(str, resumed))))
    return rows
