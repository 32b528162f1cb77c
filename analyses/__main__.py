"""Lists the studies, or carries one out: trains what is missing, measures, writes results, tables, numbers and a page.

python -m analyses [NAME] [--trained] [--kept] [--quick] [--runs DIR]
python -m analyses --kept     fills in all tables and numbers of all pages again, from the kept results
python -m analyses --check    changes nothing, and says which are not what the kept results hold
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from analyses.gallery import outdated, write_gallery
from analyses.study import (
    Trained,
    defaults_of,
    described,
    load,
    markdown,
    note_of,
    read_results,
    rows_of_runs,
    studies,
    with_tables,
    write_page,
    write_results,
)
from mechxl.cli import DONE, FAILED, command, parse
from mechxl.errors import InputError
from mechxl.files import write_text


@dataclass(frozen=True)
class Options:
    """Which study, and how much of it."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help="a study; without it they are listed")] = ""
    trained: Annotated[bool, tyro.conf.arg(help="train nothing: measure the runs that are there")] = False
    kept: Annotated[bool, tyro.conf.arg(help="measure nothing: all from the kept results")] = False
    check: Annotated[bool, tyro.conf.arg(help="change nothing: do all pages hold what the results say?")] = False
    quick: Annotated[bool, tyro.conf.arg(help="calibration: a small part, which is printed and not kept")] = False
    runs: Annotated[Path | None, tyro.conf.arg(help="where the runs are; without it runs/NAME")] = None


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command(_analyses, argv)


def _analyses(argv: Sequence[str]) -> int:
    options: Any = parse(Options, argv, "python -m analyses", "Lists the studies, or carries one out.")
    if options.check:
        return _check()
    if not options.name and options.kept:
        from analyses.check import fill

        print(write_gallery())
        print("\n".join(map(str, fill())) or "Nothing to change: all pages hold what the results say.")
        return DONE
    if not options.name:
        print("\n".join(_listed()))
        return DONE
    study = load(options.name)
    claims, trained = hasattr(study, "GRID"), Trained()
    if options.quick and claims:
        raise InputError(f"--quick: {options.name} is a study of runs; --quick is for calibration studies")
    if options.kept:
        rows = read_results(options.name)
    elif claims:
        folder = options.runs or Path("runs") / options.name
        rows, trained = rows_of_runs(study, options.name, folder, train=not options.trained)
    else:
        rows = list(study.simulate(quick=options.quick))
    tables = study.analyse(rows)
    print("\n\n".join(markdown(table) for table in tables.values()))
    if options.quick:
        return DONE
    if not options.kept:
        print(write_results(rows, options.name, defaults_of(study, options.name), trained))
    note = note_of(study)
    write_text(note, with_tables(note.read_text(encoding="utf-8"), tables))
    print(note)
    _quote(options.name, note)
    print(write_page(options.name, study, tables, study.figures(rows)))
    print(write_gallery())
    return DONE


def _quote(name: str, note: Path) -> None:
    """Writes a study's numbers into all pages that quote them."""
    from analyses.quotes import numbers_of, pages, with_numbers

    numbers = numbers_of(name)
    for page in dict.fromkeys([note, *pages()]):
        text = page.read_text(encoding="utf-8")
        if (filled := with_numbers(text, numbers)) != text:
            write_text(page, filled)
            print(page)


def _check() -> int:
    from analyses.check import problems
    from analyses.fixed import unfixed

    if found := [*problems(), *outdated()]:
        print("\n".join(found))
        print("python -m analyses --kept fills in tables and numbers again.")
    if early := unfixed():
        print("\n".join(early))
        print("A study's grid is committed before its runs are trained.")
    if not found and not early:
        print("All tables and quoted numbers are what the results hold, made with today's defaults.")
    return FAILED if found or early else DONE


def _listed() -> list[str]:
    """A line a study: its name, how many runs it has, and its question."""
    from mechxl.sweep.study import parse_study

    lines = []
    for name, file in studies().items():
        question, grid = described(file)
        size = f"{len(parse_study(grid, name).runs)} runs" if grid else "no runs"
        lines.append(f"{name:<22} {size:<8} {question}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
