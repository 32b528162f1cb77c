"""Many default runs at once on a GPU: how fast, against TransformerLens there, and whether they end as on the CPU.

All is measured in this process, one case after the other, in less than four minutes on an H100.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from benchmarks.machine import ROOT, table
from benchmarks.peers import graphed_hooked_loop, transformer_lens_train
from benchmarks.together import FIRST_SEED, Case, Timed, trained, tried
from mechxl.config import parse_config
from mechxl.errors import InputError
from mechxl.files import read_json

BUDGET = 225.0  # seconds of the section: nothing is begun that is expected to end later
FLOP = 1.73e6  # of an example, forward and backward; the last layer at the asked position only
FLOAT32 = {"NVIDIA H100 80GB HBM3": 67e12, "NVIDIA H200": 67e12}  # FLOP/s without tensor cores, by data sheet
CPU_RUNS, RECIPE = ROOT / "analyses" / "results" / "rest.json", "cosine_beta_.99"  # the default recipe
TINY: dict[str, Any] = {
    "world": {"n_entities": 40, "n_unseen": 8},
    "model": {"d_model": 16, "d_mlp": 32},
    "training": {"steps": 8, "warmup_steps": 2, "batch_size": 32, "evaluate_every": 4, "checkpoints": 3},
}


WHOLE, BARE, COMPILED = "64 runs", "64 runs, evaluated and saved at both ends only", "64 runs, loss compiled"
CASES = {
    "1 run": Case(1, 3000, 6),
    "16 runs": Case(16, 1000, 10),
    WHOLE: Case(64, 3000, 40),
    "64 runs, tf32": Case(64, 600, 15, precision="tf32"),
    "64 runs, bf16": Case(64, 600, 15, precision="bf16"),
    "256 runs": Case(256, 200, 45),
    BARE: Case(64, 600, 12, bare=True),
    COMPILED: Case(64, 600, 35, compiled=True),
}
QUICK = {WHOLE: Case(3, 8, 1), BARE: Case(2, 4, 1, bare=True)}
TRAIN, GRAPHED = "`transformer_lens.train.train`", "HookedTransformer loop, compiled, a CUDA graph"
PEERS: dict[str, tuple[Callable[[int, str], float], int]] = {
    TRAIN: (transformer_lens_train, 300),
    GRAPHED: (graphed_hooked_loop, 2000),
}


def require_gpu() -> None:
    """Checks that torch sees a GPU.

    Raises:
        InputError: it sees none.
    """
    if not torch.cuda.is_available():
        raise InputError("the section gpu needs a GPU, and torch sees none here; to check that it runs, add --quick")


def section(quick: bool) -> str:
    """The rates of cases and peers, and the ends of runs on the GPU beside those on the CPU."""
    if not quick:
        require_gpu()
    device, began = "cpu" if quick else "cuda", time.perf_counter()
    base = parse_config({"training": {"device": device}})
    if quick:
        base = parse_config(TINY | {"training": TINY["training"] | {"device": device}})
    peers = {
        name: tried(name, device, lambda peer=peer, steps=steps: _peer(peer, 2 if quick else steps, device))
        for name, (peer, steps) in PEERS.items()
    }
    results: dict[str, Timed | str] = {}
    for name, case in (QUICK if quick else CASES).items():
        if time.perf_counter() - began + case.seconds > BUDGET:
            results[name] = "not measured: no time was left"
            continue
        results[name] = tried(name, device, lambda case=case: trained(case, base))
    card = "CPU" if quick else torch.cuda.get_device_name()
    return "\n\n".join([_intro(card), rates(peers, results, card), *_sentences(results), *_ends(results)])


def rates(peers: Mapping[str, float | str], results: Mapping[str, Timed | str], card: str) -> str:
    """A table with a row for each case and each peer."""
    rows = []
    for name, timed in results.items():
        if isinstance(timed, str):
            rows.append((name, timed, *["-"] * 7))
            continue
        rate = timed.examples
        rows.append(
            (
                name,
                f"{timed.case.steps:,}",
                *(f"{seconds:.1f}" for seconds in (timed.start_up, timed.loop)),
                f"{timed.model_steps:,.0f}",
                f"{rate:,.0f}",
                *(_over(rate, peers[peer]) for peer in PEERS),
                share(rate, card),
            )
        )
    for name, rate in peers.items():
        if isinstance(rate, str):
            rows.append((name, rate, *["-"] * 7))
        else:
            rows.append((name, "-", "-", "-", "-", f"{rate:,.0f}", *(_over(rate, peers[peer]) for peer in PEERS), "-"))
    columns = ("together", "steps", "start-up, s", "loop, s", "model-steps/s", "examples/s")
    return table((*columns, "over train.train", "over the compiled loop", "of the float32 limit"), rows)


def share(rate: float, card: str) -> str:
    """The arithmetic of an example at this rate over the card's float32 rate, in percent; unknown for other cards."""
    return f"{100 * rate * FLOP / FLOAT32[card]:.1f} %" if card in FLOAT32 else "unknown"


def compared(gpu: Sequence[Mapping[str, Any]], cpu: Sequence[Mapping[str, Any]]) -> str:
    """A table of recall and transfer at the last step: n and mean of both samples, and Mann-Whitney's p (two-sided).

    Args:
        gpu: last rows of metrics.
        cpu: rows of analyses/results/rest.json.
    """
    rows = []
    for name in ("recall", "transfer"):
        one, other = np.array([row[f"{name}_accuracy"] for row in gpu]), np.array([row[name] for row in cpu])
        alike = len(np.unique(np.concatenate([one, other]))) == 1
        p = "1, all are equal" if alike else f"{mannwhitneyu(one, other).pvalue:.2g}"
        means = [f"{values.mean():.4f} (sd {values.std(ddof=1):.4f})" for values in (one, other)]
        rows.append((name, len(one), means[0], len(other), means[1], f"{one.mean() - other.mean():+.4f}", p))
    return table(("at the last step", "n, GPU", "mean, GPU", "n, CPU", "mean, CPU", "difference", "p"), rows)


def cpu_runs() -> list[Mapping[str, Any]]:
    """The default recipe's runs on the CPU with one thread, seeds 24 to 35."""
    return [row for row in read_json(CPU_RUNS)["rows"] if row["run"] == RECIPE]


def _intro(card: str) -> str:
    return (
        f"Default runs on one device ({card}), trained together by `train_together`, each with its files, "
        "its checkpoints and an evaluation every 50 steps (fewer steps have fewer of both in proportion), in float32 "
        "unless a row says otherwise. One measurement of each, in one process. Start-up lasts until the first update "
        "is done: data, models, compiling where there is any, files of step 0. The loop is the rest, until all files "
        "are written; rates are the loop's. The peers neither evaluate nor save, and their start-up and compiling are "
        f"left out. Limit: {FLOP / 1e6:.2f} MFLOP an example at the card's float32 rate without tensor cores; tf32 "
        "and bf16 are held against it too."
    )


def _sentences(results: Mapping[str, Timed | str]) -> list[str]:
    """What the table's rows say together."""
    whole, bare, compiled = (results.get(name) for name in (WHOLE, BARE, COMPILED))
    if not isinstance(whole, Timed):
        return []
    said = [
        f"{whole.case.runs} whole runs of {whole.case.steps:,} steps take {whole.loop:.1f} s after a start-up of "
        f"{whole.start_up:.1f} s."
    ]
    if isinstance(bare, Timed):
        times = bare.model_steps / whole.model_steps
        said.append(f"Without the evaluations and checkpoints between, the rate is {times:.2f} times as high.")
    if isinstance(compiled, Timed):
        said.append(
            f"With a compiled loss it is {compiled.model_steps / whole.model_steps:.2f} times as high, and start-up "
            f"takes {compiled.start_up - whole.start_up:.1f} s more."
        )
    return [" ".join(said)]


def _ends(results: Mapping[str, Timed | str]) -> list[str]:
    whole = results.get(WHOLE)
    if not isinstance(whole, Timed):
        return []
    return [
        f"Do runs on the GPU end as runs on the CPU do? Seeds {FIRST_SEED} to {FIRST_SEED + whole.case.runs - 1} on "
        "the GPU, seeds 24 to 35 on the CPU with one thread (`analyses/results/rest.json`, "
        f"`{RECIPE}`); p is Mann-Whitney's, two-sided.",
        compared(whole.ends, cpu_runs()),
    ]


def _peer(peer: Callable[[int, str], float], steps: int, device: str) -> float:
    if device.startswith("cuda"):
        transformer_lens_train(20, device)  # what CUDA does once is no peer's
    return peer(steps, device)


def _over(rate: float, peer: float | str) -> str:
    return "-" if isinstance(peer, str) else f"{rate / peer:.2f}"
