"""Trains the many runs of a study.

python -m mechxl.sweep STUDY.toml [--engine auto|local|gpu|slurm|ray] [--out DIR] [--dry-run] [--quiet]
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mechxl.cli import DONE, command, options_type, parse
from mechxl.errors import Failure, InputError
from mechxl.sweep.engine import Engine
from mechxl.sweep.engines import pick_engine
from mechxl.sweep.engines.ray import Ray
from mechxl.sweep.engines.slurm import Slurm

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

    [slurm]                       # what a task of --engine slurm asks for; the options below come first
    partition = "short"
    time = "02:00:00"

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
        Literal["auto", "local", "gpu", "slurm", "ray"],
        tyro.conf.arg(
            help="local: processes on the cores; gpu: many runs at once; slurm: a job array; ray: tasks of Ray; auto: "
            "gpu where torch sees one, else local"
        ),
    ] = "auto"
    out: Annotated[Path | None, tyro.conf.arg(help="directory for the runs; default: runs/NAME")] = None
    dry_run: Annotated[
        bool, tyro.conf.arg(help="write nothing; say how many runs there are, how long they take and how much disk")
    ] = False
    ray_address: Annotated[str, tyro.conf.arg(help="of a Ray cluster; default: the one at hand, else a local one")] = ""
    quiet: Annotated[bool, tyro.conf.arg(help="print failures only: no progress, no summary")] = False
    version: Annotated[bool, tyro.conf.arg(help="print the version")] = False


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command(_sweep, argv)


def _sweep(argv: Sequence[str]) -> int:
    options: Any = parse(_arguments(), argv, "python -m mechxl.sweep", HELP)
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers {options.workers}: must be at least 1; leave it out to fill the cores")
    from mechxl.sweep.study import read_study

    study = read_study(options.study)
    engine = _engine(options, study.slurm)
    out = options.out or Path("runs") / study.name
    if options.dry_run:
        from mechxl.sweep.dry import dry_run

        print(dry_run(study, out, engine, options.workers))
        return DONE
    from mechxl.sweep.sweeping import sweep
    from mechxl.sweep.table import TABLE, summary

    table = sweep(study, out, workers=options.workers, engine=engine, quiet=options.quiet)
    if not options.quiet:
        print(f"{out / TABLE}: {len(table)} runs\n{summary(table, study.varied)}")
    if failed := list(table["run"][table["status"] == "failed"]):
        raise Failure(f"{len(failed)} of {len(table)} runs failed; the reasons are above and in {out / TABLE}")
    return DONE


def _arguments() -> type:
    """The command's arguments, those of its engines too."""
    slurm = options_type(Slurm)
    fields = [("slurm", Annotated[slurm, tyro.conf.arg(name="")], field(default_factory=slurm))]
    return make_dataclass("Arguments", fields, bases=(Sweep,), frozen=True)


def _engine(options: Any, table: Mapping[str, Any]) -> Engine:
    """The engine that the command asks for; its options come before those of the study."""
    given = {name: value for name, value in asdict(options.slurm).items() if value not in (None, False)}
    if given and options.engine != "slurm":
        raise InputError(f"--{min(given).replace('_', '-')}: is an option of --engine slurm; add that")
    if options.ray_address and options.engine != "ray":
        raise InputError("--ray-address: is an option of --engine ray; add that")
    return Ray(options.ray_address) if options.engine == "ray" else pick_engine(options.engine, {**table, **given})


if __name__ == "__main__":
    sys.exit(main())
