"""Eight runs on all cores by `mechxl.sweep`, against eight one-thread `transformer_lens.train.train` runs in a row."""

import tempfile
from pathlib import Path
from statistics import median

from benchmarks.machine import finished, spread, table

RUNS = 8


def many(quick: bool) -> str:
    """Examples a second in total; the time includes start-up for the sweep, but not for the peer."""
    steps, turns = (60, 1) if quick else (3000, 2)
    sweeps, peers = [], []
    for _ in range(turns):
        peers.append(_peer())
        with tempfile.TemporaryDirectory() as folder:
            study = Path(folder) / "eight.toml"
            study.write_text(f'name = "eight"\nseeds = {RUNS}\n[base]\ntraining.steps = {steps}\n', encoding="utf-8")
            done = finished("mechxl.sweep", str(study), "--out", f"{folder}/runs", "--quiet")
        sweeps.append(RUNS * steps * 512 / done.wall)
    peers.append(_peer())
    rows = [
        (f"`python -m mechxl.sweep`, {RUNS} default runs of {steps:,} steps, all cores", spread(sweeps)),
        ("`transformer_lens.train.train`, one thread, one run after the other", spread(peers)),
    ]
    text = f"Total: {median(sweeps) / median(peers):.2f} times the rate (the peer measured before, between and after)."
    return f"{table(('what', 'examples/s'), rows)}\n\n{text}"


def _peer() -> float:
    return float(
        finished("benchmarks.peers", "transformer_lens_train", "--threads", "1", "--steps", "150", threads=1).out
    )
