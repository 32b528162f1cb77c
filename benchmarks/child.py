"""Runs a module like `python -m MODULE ...`, and prints its peak memory in MB and its own processor time."""

import re
import resource
import runpy
import sys
from pathlib import Path


def main() -> None:
    """Runs the module that the arguments name, with the other arguments."""
    sys.argv = sys.argv[1:]
    status = 0
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    used = resource.getrusage(resource.RUSAGE_SELF)
    # not ru_maxrss, which is at least what the parent had when it forked
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    kilobytes = int(peak[1]) if peak else used.ru_maxrss
    print(f"\n{kilobytes / 1024:.1f} {used.ru_utime + used.ru_stime:.3f}", file=sys.stderr)  # the last line
    sys.exit(status)


if __name__ == "__main__":
    main()
