"""Writes a run's report.

python -m mechxl.report RUN [--out FILE.html] [--only QUESTION ...] [--thorough] [--plotly inline|beside]
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mechxl.cli import DONE, command, parse


@dataclass(frozen=True)
class Report:
    """Which run, and what of it."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(help="the run's directory")]
    out: Annotated[Path | None, tyro.conf.arg(help="the page; without it reports/NAME.html")] = None
    only: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            help="questions to ask (learning, unification, language_identity, patching, phases); without it all"
        ),
    ] = ()
    thorough: Annotated[bool, tyro.conf.arg(help="all facts rather than samples of large worlds")] = False
    plotly: Annotated[
        Literal["inline", "beside"],
        tyro.conf.arg(help="inline: one self-contained file; beside: plotly.min.js next to it"),
    ] = "inline"
    quiet: Annotated[bool, tyro.conf.arg(help="no progress bar")] = False
    version: Annotated[bool, tyro.conf.arg(help="print the version")] = False


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command(_report, argv)


def _report(argv: Sequence[str]) -> int:
    options: Any = parse(Report, argv, "python -m mechxl.report", "Writes a run's report as one HTML page.")
    from mechxl.report.page import write_report
    from mechxl.run import Run

    run = Run(options.run)
    out = options.out or Path("reports") / f"{run.name}.html"
    path = write_report(
        run, out, only=options.only, thorough=options.thorough, plotly=options.plotly, quiet=options.quiet
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
