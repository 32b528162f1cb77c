"""Runs a module like `python -m MODULE ...`, and prints its peak memory in MB as the last line of stderr."""

import resource
import runpy
import sys


def main() -> None:
    """Runs the module that the arguments name, with the other arguments."""
    sys.argv = sys.argv[1:]
    status = 0
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    print(f"\n{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
