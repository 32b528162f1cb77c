"""Trains the many runs of a study.

python -m mechxl.sweep STUDY.toml [--workers N] [--engine auto|local|gpu] [--out DIR] [--quiet]
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mechxl.cli import DONE, command, parse
from mechxl.errors import Failure, InputError

HELP = """Trains the many runs of a study: variants x grid x seeds. Complete runs are skipped, interrupted ones resumed.

A study is a TOML file:

    name = "sizes"                # default: the file's name
    seeds = 3                     # means 0, 1, 2; may be a list; default: [0]

    [base]                        # settings of all runs, as in a run's config.toml
    training.steps = 500

    [grid]                        # lists of values, crossed
    world.n_entities = [100, 1000]
    tokenization.kind = ["syllable", "bpe"]

    [[runs]]                      # variants: settings that change together; crossed with the grid
    name = "apart"
    mixture = { parallel_fraction = 0.2, unit = "entity" }

    [[runs]]
    name = "together"
    seeds = 1                     # for this variant only; default: the study's
    mixture = { parallel_fraction = 0.8 }

Each run has a directory (apart,n_entities=100,kind=bpe,seed=0) and a row in sweep.parquet:
pandas.read_parquet("runs/sizes/sweep.parquet"). Exit status: 0 all complete, 1 some run failed, 2 bad input,
130 interrupted (run the same command again to continue)."""


@dataclass(frozen=True)
class Sweep:
    """The command's arguments."""

    study: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(help="TOML file of the study")]
    workers: Annotated[
        int | None, tyro.conf.arg(help="most runs to train at once; default: as many as fill the cores")
    ] = None
    engine: Annotated[
        Literal["auto", "local", "gpu"],
        tyro.conf.arg(help="local: processes on the cores; gpu: many runs at once; auto: gpu where torch sees one"),
    ] = "auto"
    out: Annotated[Path | None, tyro.conf.arg(help="directory for the runs; default: runs/NAME")] = None
    quiet: Annotated[bool, tyro.conf.arg(help="print failures only: no progress, no summary")] = False
    version: Annotated[bool, tyro.conf.arg(help="print the version")] = False


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command(_sweep, argv)


def _sweep(argv: Sequence[str]) -> int:
    options: Any = parse(Sweep, argv, "python -m mechxl.sweep", HELP)
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers {options.workers}: must be at least 1; leave it out to fill the cores")
    from mechxl.sweep.study import read_study

    study = read_study(options.study)
    from mechxl.sweep.sweeping import TABLE, sweep
    from mechxl.sweep.table import summary

    out = options.out or Path("runs") / study.name
    table = sweep(study, out, workers=options.workers, engine=options.engine, quiet=options.quiet)
    if not options.quiet:
        print(f"{out / TABLE}: {len(table)} runs\n{summary(table, study.varied)}")
    if failed := list(table["run"][table["status"] == "failed"]):
        raise Failure(f"{len(failed)} of {len(table)} runs failed; the reasons are above and in {out / TABLE}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
