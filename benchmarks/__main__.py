"""Runs the benchmarks and writes benchmarks/RESULTS.md.

    python -m benchmarks [--only SECTION ...] [--quick]

Each section is saved as benchmarks/sections/NAME.md with its machine and commit, so that one section can be measured
again alone. tried.md and report.md there are written by hand. The section gpu needs a GPU: without one it is left out,
or refused where --only names it. --quick takes a minute or two and only checks that everything runs: it writes nothing,
and its numbers mean nothing.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import activations, default, gpu, growth, many, members, page, patching, profile, scale, training
from benchmarks.machine import environment
from mechxl.errors import InputError

HERE = Path(__file__).parent
SECTIONS: dict[str, tuple[str, Callable[[bool], str]]] = {
    "training": ("Training", training.training),
    "profile": ("Where a step's time goes", profile.profiled),
    "many": ("Many runs", many.many),
    "members": ("Runs together in one process on the CPU", members.section),
    "scale": ("A sweep of 2,000 tiny runs", scale.section),
    "gpu": ("Many runs on a GPU", gpu.section),
    "default": ("The default run and report", default.default),
    "start-up": ("Start-up", default.start_up),
    "growth": ("Growth", growth.growth),
    "activations": ("Activations across checkpoints", activations.section),
    "patching": ("Patching across checkpoints", patching.section),
    "page": ("The page in a browser", page.section),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and writes the results; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), help="measure only these sections")
    parser.add_argument("--quick", action="store_true", help="only check that everything runs")
    options = parser.parse_args(argv)
    names = list(options.only or SECTIONS)
    if "gpu" in names and not options.quick:
        try:
            gpu.require_gpu()
        except InputError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            if options.only:
                return 2
            names.remove("gpu")
    for name in names:
        title, section = SECTIONS[name]
        print(title, file=sys.stderr)
        place = environment()
        ran = f"{place['machine']}; {place['versions']}; commit {place['commit']}, {place['date']}."
        text = f"## {title}\n\n{section(options.quick)}\n\n*{ran}*\n"
        print(text)
        if not options.quick:
            (HERE / "sections").mkdir(exist_ok=True)
            (HERE / "sections" / f"{name}.md").write_text(text, encoding="utf-8")
    if not options.quick:
        kept = [HERE / "sections" / f"{name}.md" for name in (*SECTIONS, "tried", "report")]
        texts = [path.read_text(encoding="utf-8") for path in kept if path.exists()]
        intro = "# Benchmarks\n\nWritten by `make bench` (`python -m benchmarks --only SECTION` for one).\n"
        (HERE / "RESULTS.md").write_text("\n".join([intro, *texts]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
