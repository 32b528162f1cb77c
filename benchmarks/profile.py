"""The share of each operator in the time of a training step (torch.profiler, one thread)."""

import sys

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import finished, table
from benchmarks.peers import lean_step
from mechxl.training.memory import kept_memory
from mechxl.training.products import quick_products

GROUPS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "GELU and its gradient": ("aten::gelu",),
    "attention's elementwise products, sums, softmax": ("aten::mul", "aten::sum", "aten::_softmax"),
    "gathers and their gradient": ("aten::index_select", "aten::embedding", "aten::index"),
    "layer norm and its gradient": ("aten::native_layer_norm",),
    "loss": ("aten::_log_softmax", "aten::nll_loss"),
    "copies, joins, fills, additions": ("aten::copy_", "aten::cat", "aten::fill_", "aten::add", "aten::zero_"),
    "optimizer": ("aten::_fused_adamw_", "Optimizer."),
}
STEPS = 100


def profiled(quick: bool) -> str:
    """A table of the shares of a step's time."""
    done = finished("benchmarks.profile", threads=1)
    rows = [line.split("\t") for line in done.out.splitlines()]
    intro = f"Share of the processor time of {STEPS} steps, the profiler's own cost included."
    return f"{intro}\n\n{table(('part of a step', 'share', 'calls a step'), rows)}"


def main() -> None:
    """Prints one line for each group: name, share, calls in a step."""
    torch.set_num_threads(1)
    batches, step = lean_step()
    with quick_products(), kept_memory():
        for number in range(20):
            step(batches[number])
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for number in range(20, 20 + STEPS):
                step(batches[number])
    events = [(event.key, event.self_cpu_time_total, event.count) for event in profiler.key_averages()]
    total, rest = sum(time for _, time, _ in events), events
    rows = []
    for name, prefixes in GROUPS.items():
        group = [event for event in rest if event[0].startswith(prefixes)]
        rest = [event for event in rest if event not in group]
        rows.append((name, sum(time for _, time, _ in group), sum(count for _, _, count in group)))
    rows.append(("the rest: views, autograd's and PyTorch's own work", *(sum(e[i] for e in rest) for i in (1, 2))))
    for name, time, count in sorted(rows, key=lambda row: -row[1]):
        sys.stdout.write(f"{name}\t{100 * time / total:.1f} %\t{count / STEPS:.0f}\n")


if __name__ == "__main__":
    main()
