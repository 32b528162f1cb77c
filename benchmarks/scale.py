"""What a sweep itself costs: 2,000 runs of four steps, the same command again, and a table of all runs."""

import tempfile
from pathlib import Path

from benchmarks.machine import finished, table

RUNS = 2000
STUDY = """seeds = {seeds}
[base]
world = {{ n_entities = 20, n_unseen = 4, n_relations = 2, n_values = 4 }}
model = {{ n_layers = 1, d_model = 16, d_mlp = 32 }}
training = {{ steps = 4, batch_size = 16, warmup_steps = 1, checkpoints = 2, evaluate_every = 2, threads = 1 }}
[grid]
training.learning_rate = [1e-3, 2e-3]
"""


def section(quick: bool) -> str:
    """Seconds, processor time of the sweep's own process, peak memory, and disk."""
    n = 8 if quick else RUNS
    with tempfile.TemporaryDirectory() as folder:
        study, out = Path(folder) / "many.toml", Path(folder) / "runs"
        study.write_text(STUDY.format(seeds=n // 2), encoding="utf-8")
        arguments = (str(study), "--out", str(out), "--engine", "local", "--quiet")
        commands = {
            f"a sweep of {n:,} runs": ("mechxl.sweep", *arguments),
            "the same command again": ("mechxl.sweep", *arguments),
            "`mechxl.runs`": ("benchmarks.scale", str(out)),
        }
        rows = []
        for name, command in commands.items():
            done = finished(*command, threads=1)
            rows.append((name, f"{done.wall:.1f}", f"{done.own:.1f}", f"{done.peak:.0f}"))
        sizes = [path.stat().st_size for path in out.glob("*/**/*") if path.is_file()]
        shared = sum((out / name).stat().st_size for name in ("sweep.parquet", "sweep.jsonl"))
    columns = ("what", "seconds", "processor seconds of its own process", "its peak memory, MB")
    disk = (
        f"Disk: {sum(sizes) / n / 1e3:.1f} kB a run, and {shared / n / 1e3:.1f} kB a run in the two files of all runs."
    )
    return f"{table(columns, rows)}\n\n{disk}"


def main() -> None:
    """Opens all runs of a directory."""
    import sys

    import mechxl

    mechxl.runs(sys.argv[1])


if __name__ == "__main__":
    main()
