"""The console script: `mechxl train ...` does the same as `python -m mechxl.train ...`, and so on for each command."""

import sys
from collections.abc import Sequence
from importlib import import_module

from mechxl.cli import command
from mechxl.errors import InputError

COMMANDS = {
    "train": "trains a run",
    "sweep": "trains all runs of a study",
    "report": "writes the report of a run, or the comparison of several",
    "check": "checks whether runs are as training left them",
    "facts": "says what a CSV file of facts holds",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that is named first."""
    return command(_run, sys.argv[1:] if argv is None else argv)


def _run(argv: Sequence[str]) -> int:
    name = argv[0] if argv else ""
    if name in COMMANDS:
        return import_module(f"mechxl.{name}" + ("" if name in ("train", "check", "facts") else ".__main__")).main(
            argv[1:]
        )
    usage = "usage: mechxl COMMAND [OPTIONS]\n\n" + "\n".join(f"  {key:<8} {text}" for key, text in COMMANDS.items())
    if name in ("", "-h", "--help"):
        print(usage)
        return 0
    raise InputError(f"there is no command {name!r}; there are: {', '.join(COMMANDS)}")


if __name__ == "__main__":
    sys.exit(main())
