"""How a study is carried out, the same way for all: rows, results, the note's tables, the page.

A study is one file in claims/ or calibration/. Its docstring has the hypothesis, the grid, the tests and what would
refute it. It has

    GRID        claims only: variants, grid and seeds, as `mechxl.sweep.parse_study` reads them
    measure     claims only: measure(run) -> the rows of one run, as plain values
    simulate    calibration only: simulate(quick) -> rows, as they come in
    analyse     analyse(rows) -> tables by name; each is put into the note where `<!-- table: NAME -->` stands
    numbers     optional: numbers(rows) -> numbers by name, as text; prose quotes them (`analyses/quotes.py`)
    figures     figures(rows) -> panels for the page
    NOTE        the note's path, where it is not NAME.md beside the study
    DEFAULTS    calibration only, optional: the settings of runs whose defaults `simulate` reads

Rows are kept as results/NAME.json, so that tables, numbers and page can be made again without the runs. The defaults
that they were made with are kept beside them: `default` has each setting that not every run of the grid sets itself.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mechxl.config import RunConfig, differences, flat
from mechxl.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mechxl.plots import Panel
    from mechxl.run import Run

    Rows = list[dict[str, Any]]
    Tables = dict[str, pd.DataFrame]

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGES = HERE.parent / "reports" / "studies"
ROOMS = ("claims", "calibration")


def studies() -> dict[str, Path]:
    """The file of each study, by name."""
    files = [file for room in ROOMS for file in sorted((HERE / room).glob("*.py")) if file.stem != "__init__"]
    return {file.stem: file for file in files}


def with_results() -> list[str]:
    """The studies that have been carried out."""
    return [name for name in studies() if (RESULTS / f"{name}.json").is_file()]


def described(file: Path) -> tuple[str, dict[str, Any] | None]:
    """A study's question (the first line of its docstring) and its GRID, read without importing it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    question = (ast.get_docstring(tree) or "").split("\n")[0]
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "GRID":
            return question, ast.literal_eval(node.value)
    return question, None


def load(name: str) -> ModuleType:
    """The module of a study.

    Raises:
        InputError: there is no such study; those that there are get named.
    """
    files = studies()
    if name not in files:
        raise InputError(f"study {name!r}: there is no such study; there are: {', '.join(files)}")
    return import_module(f"analyses.{files[name].parent.name}.{name}")


def rows_of_runs(study: ModuleType, name: str, folder: Path, *, train: bool) -> "tuple[Rows, Trained]":
    """The rows of all runs of a study of claims, and where these were trained; what is missing is trained first.

    Raises:
        InputError: no run is complete, or one was trained with other settings than the study's.
    """
    from rich.progress import track

    from mechxl.run import Run
    from mechxl.sweep.study import parse_study

    planned = parse_study(study.GRID, name)
    if train:
        from mechxl.sweep import sweep

        sweep(planned, folder)
    complete = [one for one in planned.runs if (folder / one.name / "COMPLETE").is_file()]
    missing = [one.name for one in planned.runs if one not in complete]
    if not complete:
        raise InputError(f"{folder}: has no complete run of the study {name}; leave --trained out to train them")
    for one in complete:
        for setting, (was, planned_now) in differences(Run(folder / one.name).config, one.config).items():
            raise InputError(
                f"{folder / one.name}: was trained with {setting} = {was}, and the study has {planned_now} now; "
                "give another --runs"
            )
    if missing:
        print(f"Not trained, and left out: {', '.join(missing)}")
    rows: Rows = []
    for one in track(complete, f"measuring {len(complete)} runs"):
        rows += study.measure(Run(folder / one.name))
    return rows, Trained.of({one.name: Run(folder / one.name).environment for one in complete})


@dataclass(frozen=True)
class Trained:
    """Where the runs of a study were trained.

    Attributes:
        on: how many runs, by device, threads and version of torch, in words.
        commits: the names of the runs, by the commit of this repository that they were trained at.
    """

    on: Mapping[str, int] = field(default_factory=dict)
    commits: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, environments: Mapping[str, Mapping[str, Any]]) -> "Trained":
        """Of runs, from their environment.json."""
        commits: dict[str, list[str]] = {}
        for name, environment in environments.items():
            commits.setdefault(environment.get("commit") or "unknown", []).append(name)
        return cls(dict(Counter(map(trained_on, environments.values()))), commits)


def trained_on(environment: Mapping[str, Any]) -> str:
    """The device, the threads and the version of torch of a training, in words."""
    threads = environment["threads"]
    where = "GPU" if environment["device"].startswith("cuda") else f"CPU, {threads} thread{'s' * (threads > 1)}"
    return f"{where}, torch {environment['versions']['torch'].partition('+')[0]}"


def write_results(rows: "Rows", name: str, default: Mapping[str, Any], trained: Trained) -> Path:
    """Keeps the rows of a study as JSON, with the defaults that they were made with, and where runs were trained."""
    path = RESULTS / f"{name}.json"
    content = {"default": dict(default), "trained_on": dict(trained.on), "commits": dict(trained.commits), "rows": rows}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read_results(name: str) -> "Rows":
    """The kept rows of a study."""
    return _kept(name)["rows"]


def read_trained_on(name: str) -> dict[str, int]:
    """How many runs of a study were trained on what, in words; empty if its results do not say."""
    return _kept(name).get("trained_on", {})


def commits_of(name: str) -> dict[str, list[str]]:
    """The names of a study's runs by the commit that they were trained at; empty if its results do not say."""
    return _kept(name).get("commits", {})


def kept_text(name: str) -> str:
    """The kept results of a study, as the file has them."""
    return (RESULTS / f"{name}.json").read_text(encoding="utf-8")


def _kept(name: str) -> dict[str, Any]:
    return json.loads(kept_text(name))


def defaults_of(study: ModuleType, name: str) -> dict[str, Any]:
    """The defaults that a study's numbers rest on: each setting that not every run sets itself, but for seeds."""
    default = json.loads(json.dumps(flat(RunConfig())))
    if not hasattr(study, "GRID"):
        return {setting: default[setting] for setting in getattr(study, "DEFAULTS", ())}
    from mechxl.sweep.study import parse_study

    by_every_run = set.intersection(*(_set_in(run.config) for run in parse_study(study.GRID, name).runs))
    return {
        setting: value
        for setting, value in default.items()
        if setting not in by_every_run and not setting.endswith("seed")
    }


def _set_in(config: RunConfig) -> set[str]:
    """The settings that a run was given, by dotted name."""
    sections = {section: fields for section, fields in config if isinstance(fields, BaseModel)}
    return {f"{section}.{field}" for section, fields in sections.items() for field in fields.model_fields_set}


def outdated(study: ModuleType, name: str) -> list[str]:
    """What a study's results were made with that is no default any more, a phrase a setting."""
    was, now = _kept(name)["default"], defaults_of(study, name)
    changed = [
        f"made with {setting} = {was[setting]}, the default is {now[setting]} now"
        for setting in was
        if setting in now and was[setting] != now[setting]
    ]
    gone = [
        f"made with {setting} = {was[setting]}, which is no default of its runs now"
        for setting in was
        if setting not in now
    ]
    return changed + gone + [f"made before there was a default {setting}" for setting in now if setting not in was]


def note_of(study: ModuleType) -> Path:
    """Where a study's tables are shown."""
    return getattr(study, "NOTE", Path(str(study.__file__)).with_suffix(".md"))


def with_tables(note: str, tables: "Tables") -> str:
    """A note's text with the tables between its marks: `<!-- table: NAME -->` and the next `<!-- end -->`.

    Raises:
        InputError: the note has no place for a table.
    """
    for name, table in tables.items():
        mark = f"<!-- table: {name} -->"
        if mark not in note:
            raise InputError(
                f"the note has no line {mark}; write it, and <!-- end --> below, where the table shall stand"
            )
        pattern = re.escape(mark) + r"\n.*?<!-- end -->"
        note = re.sub(pattern, lambda _, m=mark, t=table: f"{m}\n{markdown(t)}\n<!-- end -->", note, flags=re.S)
    return note


def markdown(table: "pd.DataFrame") -> str:
    """A table in Markdown; one of a single column without a header row, as a list."""
    cells = [[str(cell) for cell in row] for row in table.itertuples(index=False)]
    if table.shape[1] == 1:
        return "\n".join(f"- {cell}" for (cell,) in cells)
    lines = [[str(column) for column in table.columns], ["---"] * table.shape[1], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_page(name: str, study: ModuleType, tables: "Tables", panels: "Sequence[Panel]") -> Path:
    """The study's page: its question, figures, tables, and the docstring with hypothesis and tests."""
    from mechxl.report.study import write_study

    paragraphs = (study.__doc__ or "").strip().split("\n\n")
    return write_study(PAGES / f"{name}.html", name.replace("_", " "), paragraphs, panels, tables)


def variant(run: "Run") -> str:
    """The variant of a study that a run belongs to, by the name of its directory: `default,seed=0`."""
    return run.name.split(",")[0]
