"""The console script: `mechxl train ...` does the same as `python -m mechxl.train ...`, and so on for each command."""

import sys
from importlib import import_module

from mechxl.version import own_version

COMMANDS = {
    "train": "trains a run",
    "sweep": "trains all runs of a study",
    "report": "writes the report of a run, or the comparison of several",
}


def main() -> int:
    """Runs the command that is named first."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        return import_module(f"mechxl.{name}" + ("" if name == "train" else ".__main__")).main(sys.argv[2:])
    if name == "--version":
        print(f"mechxl {own_version()}")
        return 0
    usage = "usage: mechxl COMMAND [OPTIONS]\n\n" + "\n".join(f"  {key:<8} {text}" for key, text in COMMANDS.items())
    if name in ("", "-h", "--help"):
        print(usage)
        return 0
    print(f"mechxl: there is no command {name!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
