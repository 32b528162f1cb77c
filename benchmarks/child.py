"""Runs a module as `python -m MODULE ...` would, and says at the end of stderr how much memory that took, in MB."""

import resource
import runpy
import sys


def main() -> None:
    """The module and its arguments are this command's own."""
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
