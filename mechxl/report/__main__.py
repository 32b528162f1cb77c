"""Writes a run's report, or the comparison of several.

python -m mechxl.report RUN [RUN ...] [--null RUN] [--out FILE.html] [--only QUESTION ...] [--also QUESTION ...]
[--thorough] [--plotly inline|beside] [--model-checkpoints N]
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mechxl.cli import DONE, command, parse
from mechxl.cores import cores
from mechxl.errors import InputError
from mechxl.files import check_path, kind_of
from mechxl.questions.table import QUESTIONS


@dataclass(frozen=True)
class Report:
    """Which runs to report, which questions to compute, and where to write the page."""

    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(help="directory of a run, or of a sweep; several runs are compared"),
    ]
    null: Annotated[
        Path | None,
        tyro.conf.arg(
            help="the run's trained null (the same settings with world.shared_facts 0); by default RUN-null, if that "
            "is one"
        ),
    ] = None
    out: Annotated[
        Path | None,
        tyro.conf.arg(help="the page to write; by default reports/NAME.html, or comparison.html for several runs"),
    ] = None
    only: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            help=f"questions to compute: {', '.join(QUESTIONS)}, or a module of your own such as "
            "my_package.my_question; by default all of mechxl's"
        ),
    ] = ()
    also: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help="questions of your own to compute beside mechxl's, such as my_package.my_question"),
    ] = ()
    thorough: Annotated[bool, tyro.conf.arg(help="use all facts; otherwise large worlds are sampled")] = False
    plotly: Annotated[
        Literal["inline", "beside"],
        tyro.conf.arg(help="inline: one self-contained file; beside: plotly.min.js next to it"),
    ] = "inline"
    model_checkpoints: Annotated[
        int,
        tyro.conf.arg(
            help="checkpoints of the model that the page holds, so that it can be asked; 12 at most, 0: none"
        ),
    ] = 12
    quiet: Annotated[bool, tyro.conf.arg(help="show no progress bar")] = False
    version: Annotated[bool, tyro.conf.arg(help="print the version")] = False


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command(_report, argv)


def _report(argv: Sequence[str]) -> int:
    title = "Writes a run's report, or the comparison of several, as one HTML page."
    options: Any = parse(Report, argv, "python -m mechxl.report", title)
    from mechxl.report.page import write_report
    from mechxl.run import Run

    if not options.runs:
        raise InputError("no run is given; name a run's directory, or several to compare")
    if not 0 <= options.model_checkpoints <= 12:
        raise InputError(f"--model-checkpoints {options.model_checkpoints}: must be 0 to 12; 0 leaves the model out")
    paths = run_directories(options.runs)
    if options.null and len(paths) > 1:
        raise InputError("--null is for one run; of several, each takes the null that lies beside it as RUN-null")
    runs = [Run(path, options.null) for path in paths]
    laid_out = {"thorough": options.thorough, "plotly": options.plotly, "quiet": options.quiet}
    if len(runs) == 1:
        out = options.out or Path("reports") / f"{runs[0].name}.html"
        parts = {"only": options.only, "also": options.also, "model_checkpoints": options.model_checkpoints}
        path = write_report(runs[0], out, **parts, processes=cores(), **laid_out)
    else:
        if options.only or options.also:
            raise InputError("--only and --also pick questions for a single run; leave them out to compare several")
        from mechxl.report.comparison import write_comparison

        path = write_comparison(runs, options.out or Path("reports") / "comparison.html", **laid_out)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return DONE


def run_directories(paths: Sequence[Path]) -> list[Path]:
    """The runs among paths that a user gave, and those in directories of runs, such as a sweep's.

    What lies among runs and is none (a sweep's table, say) is passed over, and said on stderr; so is a run that has no
    checkpoint yet.

    Raises:
        InputError: a path does not exist, or no path leads to a run.
    """
    runs: list[Path] = []
    passed: list[str] = []
    for path in paths:
        check_path(path, "the run")
        if kind_of(path) == "nothing":
            raise InputError(f"{path}: there is no such run")
        if kind_of(path / "config.toml") != "nothing":
            runs.append(path)
        elif inside := sorted(one.parent for one in path.glob("*/config.toml")) if path.is_dir() else []:
            runs += inside
        else:
            passed.append(str(path))
    begun = [run for run in runs if any(run.glob("checkpoints/step-*.safetensors"))]
    if not begun and len(runs) + len(passed) == 1 == len(runs) and runs[0] == paths[0]:
        return runs  # the run itself says what it lacks
    if not begun:
        raise InputError(
            f"{paths[0]}: is not a run directory (it has no config.toml), nor does it hold runs with checkpoints; "
            "name one that mechxl.train or mechxl.sweep wrote"
        )
    passed += [f"{run} (no checkpoints)" for run in runs if run not in begun]
    if passed:
        print(f"mechxl: passed over, as there is no run to compare: {', '.join(passed)}", file=sys.stderr)
    return begun


if __name__ == "__main__":
    sys.exit(main())
