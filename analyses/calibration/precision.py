"""What do rounded matrix products change: recall, transfer and score under tf32 and bf16?

    python -m analyses precision [--quick]

Question. `training.precision` tf32 and bf16 are quicker on a GPU. Do runs end elsewhere?

Grid, fixed before any of these runs. Twelve seeds, 72 to 83, in float32, tf32 and bf16; 200 entities, d_model 32, d_mlp
128, batches of 256, 1,000 steps; everything else at its default. The same seed has the same facts, initial weights and
batches. On the CPU: bf16 by PyTorch's autocast, as on a GPU; tf32 by rounding both factors of every matrix product of
the updates to 10 bits of the fraction (to nearest, ties away from zero) and multiplying in float32, which is what a
GPU's tf32 does but for the order of its sums. Evaluations are in float32, as they are on a GPU.

Test. Final recall, transfer, and score S - W of mono facts (layer 1, whole-sample centring): the difference to float32
of the same seed, with a t interval over twelve seeds, and a two-sided exact sign test; Holm over the six tests. Beside
it the standard deviation over seeds in float32: a difference far below it can't matter to a study over seeds.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from statsmodels.stats.multitest import multipletests

from analyses.statistics import Rows, p_value, sign_test, values, with_interval
from mechxl.config import RunConfig, parse_config
from mechxl.findings import signed
from mechxl.plots import Panel, group_colour, small_multiples, themed

NOTE = Path(__file__).parents[2] / "docs" / "many_runs.md"
PRECISIONS = ("float32", "tf32", "bf16")
QUANTITIES = {"recall": "recall", "transfer": "transfer", "score_1": "score, layer 1"}
SEEDS, QUICK_SEEDS = range(72, 84), range(72, 74)
SETTINGS: dict[str, Any] = {
    "world": {"n_entities": 200},
    "model": {"d_model": 32, "d_mlp": 128},
    "training": {"batch_size": 256, "steps": 1000, "checkpoints": 2, "evaluate_every": 100, "threads": 1},
}
DEFAULTS = ("training.learning_rate", "training.betas", "training.schedule", "training.weight_decay")
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")


def simulate(quick: bool) -> Iterator[dict[str, Any]]:
    """A row a run."""
    for precision in PRECISIONS:
        settings = SETTINGS | {"training": SETTINGS["training"] | {"precision": precision}}
        if quick:
            settings["training"] |= {"steps": 50, "warmup_steps": 5}
        configs = [parse_config(settings | {"seed": seed}) for seed in (QUICK_SEEDS if quick else SEEDS)]
        with tempfile.TemporaryDirectory() as folder:
            for config, out in zip(configs, train_on_the_cpu(configs, Path(folder)), strict=True):
                yield {"run": precision, "seed": config.seed} | _ends(out)


def train_on_the_cpu(configs: Sequence[RunConfig], folder: Path) -> list[Path]:
    """Trains runs together on the CPU, also with products that only a GPU rounds by itself; gives their directories."""
    from mechxl.training import ensemble, stepper

    def rounded(precision: str) -> AbstractContextManager[object]:
        return rounding() if precision == "tf32" else nullcontext()

    runs = [(config, folder / f"{config.seed}") for config in configs]
    with patch.object(ensemble, "pick_device", lambda *_: "cpu"), patch.object(stepper, "rounded_products", rounded):
        endings = ensemble.train_together(runs, quiet=True)
    assert not any(ending.error for ending in endings)
    return [out for _, out in runs]


def rounding() -> AbstractContextManager[object]:
    """Inside it, the factors of matrix products keep 10 bits of their fraction."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    products = {getattr(torch.ops.aten, name).default for name in PRODUCTS}

    class Rounding(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            if func in products:
                args = (*args[:-2], *(ten_bits(factor) for factor in args[-2:]))
            return func(*args, **(kwargs or {}))

    return Rounding()


def ten_bits(x: Any) -> Any:
    """A float32 tensor with 10 bits of the fraction, to nearest, ties away from zero: what a GPU's tf32 keeps."""
    import torch

    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _ends(out: Path) -> dict[str, float | None]:
    from analyses.ends import mono_scores, plain
    from mechxl.run import Run

    run = Run(out)
    last = run.metrics.iloc[-1]
    found = {"recall": float(last["recall_accuracy"]), "transfer": float(last["transfer_accuracy"])}
    return {key: plain(value) for key, value in found.items()} | {"score_1": plain(mono_scores(run)["score_1"])}


def analyse(rows: Rows) -> dict[str, pd.DataFrame]:
    """Each quantity in float32, and what the others change."""
    lines, tests = [], []
    for key, name in QUANTITIES.items():
        exact = values(rows, "float32", key)
        for precision in PRECISIONS[1:]:
            change = values(rows, precision, key) - exact
            tests.append(sign_test(change))
            lines.append(
                {
                    "quantity": name,
                    "float32": with_interval(exact, 3),
                    "sd over seeds": signed(float(exact.std(ddof=1)), 3),
                    "precision": precision,
                    "change": with_interval(change, 3),
                    "seeds above 0, below": f"{int((change > 0).sum())}, {int((change < 0).sum())} of {len(change)}",
                }
            )
    corrected = np.asarray(multipletests(tests, method="holm")[1])
    table = pd.DataFrame([line | {"p after Holm": p_value(p)} for line, p in zip(lines, corrected, strict=True)])
    return {"precision": table}


def figures(rows: Rows) -> list[Panel]:
    """What each precision changes, every seed."""
    figure = small_multiples(list(QUANTITIES.values()))
    for place, key in enumerate(QUANTITIES):
        for number, precision in enumerate(PRECISIONS[1:], start=1):
            change: Float[np.ndarray, " seed"] = values(rows, precision, key) - values(rows, "float32", key)
            marker = {"color": group_colour(number), "size": 7, "opacity": 0.7}
            dots = go.Scatter(x=[precision] * len(change), y=change, mode="markers", marker=marker, showlegend=False)
            figure.add_trace(dots, row=place // 2 + 1, col=place % 2 + 1)
    caption = "Change to float32 of the same seed, at the end of training: twelve seeds. Emulated on the CPU."
    return [Panel("change", "What rounding changes", caption, themed(figure, height=520))]
