"""Trains a run.

python -m mechxl.train [--config FILE.toml] [--out runs/NAME] [--with-null] [--resume] [--overwrite] [--describe]
[--SECTION.FIELD VALUE ...]
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mechxl.cli import DONE, command, option, parse, read_config, settings_type
from mechxl.config import RunConfig, parse_config

if TYPE_CHECKING:
    from mechxl.data.description import Description


@dataclass(frozen=True)
class TrainOptions:
    """What to do, apart from the settings."""

    config: Annotated[
        Path | None, tyro.conf.arg(help="TOML file with settings; options on the command line override it")
    ] = None
    out: Annotated[Path, tyro.conf.arg(help="the directory of the run")] = Path("runs/default")
    with_null: Annotated[
        bool,
        tyro.conf.arg(
            help="then train its null at OUT-null: the same settings with world.shared_facts 0, where nothing can "
            "rightly unify; unification is measured as the excess over it"
        ),
    ] = False
    resume: Annotated[bool, tyro.conf.arg(help="continue a run that was stopped, with its own settings")] = False
    overwrite: Annotated[
        bool, tyro.conf.arg(help="replace the run at --out, once the new one's first update has succeeded")
    ] = False
    describe: Annotated[bool, tyro.conf.arg(help="print what is known before training; do not train")] = False
    quiet: Annotated[bool, tyro.conf.arg(help="no progress bar and no messages")] = False
    version: Annotated[bool, tyro.conf.arg(help="print the version")] = False


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command(_train, argv)


def _train(argv: Sequence[str]) -> int:
    options, config = _arguments(argv)
    if options.describe:
        from mechxl.data.corpus import build_corpus
        from mechxl.data.description import describe

        print_description(describe(config, build_corpus(config)))
        return DONE
    from mechxl.training.loop import train_run

    how = {"resume": options.resume, "overwrite": options.overwrite, "quiet": options.quiet}
    if options.with_null:
        from mechxl.training.pair import train_pair

        train_pair(config, options.out, **how)
    else:
        train_run(config, options.out, **how)
    return DONE


def _arguments(argv: Sequence[str]) -> tuple[Any, RunConfig]:
    """The options and the settings; a resumed run's own settings are the defaults."""
    source = option(argv, "config")
    if source is None and "--resume" in argv:
        own = Path(option(argv, "out") or TrainOptions.out) / "config.toml"
        source = str(own) if own.is_file() else None
    defaults = read_config(Path(source)) if source and not {"-h", "--help"} & set(argv) else RunConfig()
    fields = [("options", Annotated[TrainOptions, tyro.conf.arg(name="")]), ("settings", settings_type(defaults))]
    arguments: Any = parse(make_dataclass("Train", fields), argv, "python -m mechxl.train", "Trains a run.")
    return arguments.options, parse_config(asdict(arguments.settings))


def print_description(description: "Description") -> None:
    """Prints a Description on stdout."""
    print("Sentences (* = told in training)")
    for sentence in description.sentences:
        told = "*" if sentence.told else " "
        print(f"  {sentence.group:<9}{sentence.language} {told} {sentence.text:<28} {sentence.tokens}")
    for title, rows in description.tables.items():
        print(f"\n{title}")
        width = max(len(row.label) for row in rows)
        for row in rows:
            value = f"{row.shown} {row.unit}".strip()
            print(f"  {row.label:<{width}}  {value:<14}" + (f"  {row.note}" if row.note else ""))


if __name__ == "__main__":
    sys.exit(main())
