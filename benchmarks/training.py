"""Training against `transformer_lens.train.train`, a careful HookedTransformer loop, and bare matrix products."""

from statistics import median

from benchmarks.machine import alternating, ratio, spread, table

STEPS = {"whole_run": 3000, "steps_alone": 300, "hooked_loop": 150, "transformer_lens_train": 150}
STEPS |= {"plain_products": 150, "lean_products": 300}
MEANING = {
    "whole_run": "mechxl, the whole default run: set-up, 3,000 steps, evaluations, checkpoints",
    "steps_alone": "mechxl, its steps alone",
    "hooked_loop": "careful HookedTransformer loop: ready batches, fused AdamW, no evaluation",
    "transformer_lens_train": "`transformer_lens.train.train`, no evaluation",
    "plain_products": "floor: the matrix products of the hooked forward and backward alone",
    "lean_products": "floor: the matrix products of the lean forward and backward alone",
}


INTRO = (
    "Examples a second at the default run's shapes (batch 512, sentences of 5 tokens without EOS, 2 layers, "
    "d_model 64, float32), median (smallest to largest) of alternating runs, each in a process of its own; ratios "
    "are taken turn by turn. The peers neither draw batches nor evaluate nor save, mechxl does. The floors replay "
    "every matrix product of a step (attention's included) with the quicker of the two libraries that PyTorch can "
    "use here."
)


def training(quick: bool) -> str:
    """Examples a second on one and on two threads."""
    return "\n\n".join([INTRO, *(rendered(threads, measured(threads, quick)) for threads in (1, 2))])


def measured(threads: int, quick: bool) -> dict[str, list[float]]:
    """Examples a second of each, for each turn."""
    steps = {name: max(10, n // 30) for name, n in STEPS.items()} if quick else STEPS
    commands = {
        name: ("benchmarks.peers", name, "--threads", str(threads), "--steps", str(n)) for name, n in steps.items()
    }
    return alternating(commands, 2 if quick else 3, threads)


def rendered(threads: int, rates: dict[str, list[float]]) -> str:
    """The table for one number of threads, and the ratio of a step to its lower bounds."""
    rows = [
        (
            meaning,
            spread(rates[name]),
            ratio(rates[name], rates["transformer_lens_train"]),
            ratio(rates[name], rates["hooked_loop"]),
        )
        for name, meaning in MEANING.items()
    ]
    columns = (f"{threads} thread{'s' * (threads > 1)}", "examples/s", "over train.train", "over the loop")
    step, plain, lean = (512e3 / median(rates[name]) for name in ("steps_alone", "plain_products", "lean_products"))
    return (
        f"{table(columns, rows)}\n\nA step takes {step:.1f} ms: {step / lean:.2f} times its own products ({lean:.1f} "
        f"ms) and {step / plain:.2f} times the plain ones ({plain:.1f} ms)."
    )
