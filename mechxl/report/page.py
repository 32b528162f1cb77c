"""Lays out findings as one HTML page."""

import os
import re
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mechxl.config import RunConfig, changed_settings, flat
from mechxl.data.description import describe
from mechxl.errors import Failure, InputError
from mechxl.files import check_path, kind_of, write_text
from mechxl.findings import Finding
from mechxl.lock import is_held
from mechxl.questions.ahead import answer_ahead
from mechxl.questions.ask import ask
from mechxl.questions.find import find_question
from mechxl.questions.question import Question
from mechxl.questions.table import QUESTIONS
from mechxl.report.hero import hero_curves, hero_rates
from mechxl.report.layout import render_page
from mechxl.report.model.kept import MOST_CHECKPOINTS, NO_MODEL, Shown, is_kept, keep_model, kept_model
from mechxl.report.plotlyjs import PART, plotly_js, which
from mechxl.report.sections import Section, drawn, failed, readable, section
from mechxl.report.story import story_of
from mechxl.run import Run

PAGE = re.compile(
    rb"\s*<!doctype html>\s*<html[^>]*>\s*<head>.{0,1000}<title>[^<]* \xc2\xb7 mechxl</title>", re.DOTALL
)  # how a page begins
SCRIPT = re.compile(rb"/\*\*\s*\* plotly\.js ")


def write_report(
    run: Run,
    out: str | Path,
    *,
    only: Sequence[str] = (),
    also: Sequence[str] = (),
    thorough: bool = False,
    plotly: str = "inline",
    model_checkpoints: int = MOST_CHECKPOINTS,
    quiet: bool = False,
    processes: int = 1,
) -> Path:
    """Computes the questions of a run and writes its report.

    Args:
        run: a run with checkpoints.
        out: the page.
        only: questions to compute, by name or as the module of a question of your own; empty for all of mechxl's.
        also: questions to compute beside these.
        thorough: use all facts; otherwise large worlds are sampled.
        plotly: inline (one self-contained file) or beside (plotly.min.js next to the page, shared by many).
        model_checkpoints: how many checkpoints of the model the page holds at most; 0: it can't be asked anything.
        quiet: no progress bar.
        processes: how many questions are computed at a time, each in a process of its own; 1: one by one, in this one.

    Returns:
        The page's path.

    Raises:
        InputError: no such question, the run has no checkpoints, or the page can't be written.
        Failure: a question raised an error. The page is written, with the error in that question's section.
    """
    out = Path(out)
    page_targets(out, plotly)  # refused before anything is computed
    names = list(dict.fromkeys([*(only or QUESTIONS), *also]))
    asked = [(name, _question(name)) for name in names]  # an unknown question is refused before any is computed
    sections: list[Section] = []
    findings: dict[str, Finding] = {}
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("computing", total=2 * len(names))
        if run.steps and processes > 1:
            coded = (
                {} if is_kept(run, model_checkpoints) else {"model": partial(keep_model, run.path, model_checkpoints)}
            )
            for name in answer_ahead(run, names, thorough, processes, coded):
                bar.update(task, advance=1, description=f"computed {name}")
        bar.update(task, completed=len(names))
        for name, question in asked:
            bar.update(task, description=f"computing {name}")
            try:
                if isinstance(question, BaseException):
                    raise question
                finding = ask(run, name, thorough=thorough)
                sections.append(section(question, finding))
                findings[name] = finding
            except BaseException as error:  # one question's error, SystemExit among them, must not cost the others
                if isinstance(error, KeyboardInterrupt):
                    raise
                if isinstance(error, InputError) and (name in QUESTIONS or not run.steps):
                    raise  # something is wrong with the run
                sections.append(failed(name, None if isinstance(question, BaseException) else question, error))
                console.print(readable(_traceback(error)), markup=False, highlight=False)
            bar.advance(task)
    model = kept_model(run, model_checkpoints)
    drawn_by = which(figure for section in sections for figure in (*section.figures, section.overview) if figure)
    inline = plotly == "inline"
    page = render(run, sections, model, findings=findings, thorough=thorough, inline=inline, drawn_by=drawn_by)
    write_page(page, out, plotly, drawn_by)
    if wrong := [section.name for section in sections if section.error]:
        raise Failure(f"{out}: the page is written, but these questions raised an error: {', '.join(wrong)}")
    return out


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # a class of errors of one's own may have no text
        return type(error).__name__


def _question(name: str) -> Question | BaseException:
    """A question, or the error that its module raised on import."""
    try:
        return find_question(name)
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's module may raise anything; its section shows the error
        return error


def write_page(page: str, out: Path, plotly: str, drawn_by: str = PART) -> Path:
    """Writes a page, and plotly.js beside it if asked: which one `drawn_by` says.

    Raises:
        InputError: it can't be written, or another file than a page of mechxl's is there.
    """
    targets = page_targets(out, plotly, drawn_by)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        contents = (page, plotly_js(drawn_by)) if len(targets) > 1 else (page,)
        for target, content in reversed([*zip(targets, contents, strict=True)]):  # the script first: a page needs it
            write_text(target, content)
    except OSError as error:
        raise InputError(f"{out}: can't be written ({error.strerror}); choose another --out") from None
    return out


def page_targets(out: Path, plotly: str, drawn_by: str = PART) -> list[Path]:
    """Where a page, and plotly.js if that is asked for, are written: links are followed.

    Raises:
        InputError: something else than a page (or plotly.js) of mechxl's is there, or it can't be written.
    """
    beside = [out.parent / drawn_by] if plotly == "beside" else []
    targets = []
    for path, known in zip([out, *beside], (PAGE, SCRIPT), strict=False):
        target = check_path(path, "--out").resolve()
        if (kind := kind_of(target)) == "directory":
            raise InputError(f"{path}: is a directory; give a file with --out FILE.html")
        if kind != "nothing" and not (kind == "file" and _is_made_here(target, known)):
            what = "is not a page that mechxl wrote" if kind == "file" else f"is a {kind}"
            raise InputError(f"{path}: {what}, and is not replaced; choose another --out, or move it away")
        folder = next(parent for parent in target.parents if kind_of(parent) != "nothing")
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            problem = "Permission denied" if folder.is_dir() else "Not a directory"
            raise InputError(f"{path}: can't be written ({problem}: {folder}); choose another --out")
        targets.append(target)
    return targets


def _is_made_here(path: Path, known: re.Pattern[bytes]) -> bool:
    """Whether a file is empty or begins as a page (a script) does that mechxl wrote."""
    try:
        with path.open("rb") as file:
            beginning = file.read(4000)
    except OSError:
        return False
    return not beginning or known.match(beginning) is not None


def render(
    run: Run,
    sections: Sequence[Section],
    model: Shown = NO_MODEL,
    *,
    findings: Mapping[str, Finding] | None = None,
    thorough: bool,
    inline: bool,
    drawn_by: str = PART,
) -> str:
    """The page as text.

    Its first screen tells the findings' story. The figure that plays has the overview of the first section that has
    one, the curves of recall and transfer, and the map of facts.
    """
    findings = findings or {}
    timeline = next((section.overview for section in sections if section.overview), None)
    learning = findings.get("learning")
    return render_page(
        "template.html",
        inline,
        drawn_by,
        run=run,
        sections=sections,
        model=model,
        timeline=timeline,
        story=story_of(findings, run.complete),
        curves=drawn(hero_curves(learning)) if learning else None,
        rates=hero_rates(learning) if learning else {},
        moving=next((figure for section in sections for figure in section.figures if figure.name == "map"), None),
        steps=run.steps,
        description=describe(run.config, run.corpus),
        settings=_settings(run.config),
        environment=_environment(run),
        thorough=thorough,
        **_lead(run),
    )


def _lead(run: Run) -> dict[str, Any]:
    config = run.config
    state = ""
    if not run.complete:
        how = "Training is under way" if is_held(run.path) else "Training was interrupted"
        state = f"Not finished. {how}: step {run.steps[-1]:,} of {config.training.steps:,}."
    if run.manifest and run.manifest.accepted:
        listed = "; ".join(run.manifest.accepted)
        state = f"Not as training left it, and accepted by hand (mechxl check --accept): {listed}."
    if run.foreign:
        state += f" Not of this training, and left alone: {', '.join(run.foreign)} in checkpoints/."
    told = [(name, _plain(value)) for name, value in changed_settings(config).items()]
    return {"changed": told, "state": state.strip(), "facts": int(run.corpus.world.seen.sum())}


def _settings(config: RunConfig) -> list[tuple[str, str, str]]:
    """(name, value, default) of every setting, with the five seeds and the shares filled in."""
    values, defaults = ({"seed": c.seed} | flat(c) for c in (config, RunConfig()))
    return [(name, _plain(value), _plain(defaults[name])) for name, value in values.items()]


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(part if isinstance(part, str) else f"{part:g}" for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _environment(run: Run) -> list[tuple[str, str]]:
    environment = run.environment
    rows = [(name, str(value)) for name, value in environment["versions"].items()]
    rows += [(name, str(environment[name])) for name in ("platform", "commit", "threads", "device", "data_digest")]
    rows.append(("command", " ".join(environment["command"])))
    if "wall_seconds" in environment:
        rows.append(("training took", f"{environment['wall_seconds']:.0f} s"))
    rows.append(("trained null", run.null.name if run.null else f"none: {run.why_no_null}"))
    if resumed := environment.get("resumed_at"):
        rows.append(("resumed at steps", ", ".join(map(str, resumed))))
    return rows
