"""What studies measure of a run at its last checkpoint: recall, transfer, scores, causal unification, moved weights."""

from typing import Any

import numpy as np
from jaxtyping import Float

from analyses.study import variant
from mechxl.data.guesses import no_fact_accuracies
from mechxl.data.transfer import transfer_items
from mechxl.measures.sample import Sample, draw_sample
from mechxl.measures.score import score
from mechxl.measures.vectors import centre, unit
from mechxl.questions.ask import ask
from mechxl.random import generator
from mechxl.run import Run

RECALLED = 0.99  # recall is complete at the first evaluation that reaches it


def ends(run: Run) -> dict[str, Any]:
    """A run's row: seed and variant, recall, transfer (all items) and the best guess that knows no fact, and so on.

    `recalled` is the first evaluation at which recall is .99 or more (None: never). `score_1` and `alignment_1` are
    S - W and S - X of mono facts at layer 1 (whole-sample centring, same relation), `causal_unification` that of mono
    facts that transfer (None: too few).
    """
    corpus, metrics = run.corpus, run.metrics
    last = metrics.iloc[-1]
    complete = metrics[metrics["recall_accuracy"] >= RECALLED]["step"]
    row: dict[str, Any] = {"run": variant(run), "seed": run.config.seed}
    row |= {"recall": float(last["recall_accuracy"]), "transfer": float(last["transfer_accuracy"])}
    row |= {"recalled": int(complete.iloc[0]) if len(complete) else None, "rests": run.rest.rests}
    items = transfer_items(corpus)
    row |= {"guess": no_fact_accuracies(corpus, items).by_asked, "items": len(items.fact)}
    row |= mono_scores(run) | mono_causal(run)
    return {key: plain(value) for key, value in row.items()}


def mono_vectors(run: Run, step: int | None = None, layer: int = 1) -> Float[np.ndarray, "fact language d_model"]:
    """The vectors of mono facts at the prompt's last token in every language, at a checkpoint (None: the last)."""
    from mechxl.instruments.activations.store import activations  # torch, which kept results do without

    facts = np.flatnonzero(run.corpus.mixture.group == "mono")
    steps = run.steps[-1] if step is None else step
    h = activations(run, "resid_post", facts=facts, role="prompt_last", steps=steps, layers=[layer]).squeeze()
    return h.transpose("fact", "language", "d_model").values.astype(float)


def mono_sample(run: Run) -> Sample:
    """The mono facts as measures take them, without draws."""
    world, facts = run.corpus.world, np.flatnonzero(run.corpus.mixture.group == "mono")
    count = run.config.languages.count
    return draw_sample(
        world.relation[facts], world.entity[facts], count, generator(0, "score"), draws=0, permutations=0
    )


def scores_of(x: Float[np.ndarray, "fact language d_model"], sample: Sample) -> dict[str, float]:
    """`score` (S - W) and `alignment` (S - X), whole-sample centring, same relation."""
    found = score(unit(centre(x, "whole")), sample)
    return {name: found[name].pooled.value for name in ("score", "alignment")}


def mono_scores(run: Run, layer: int = 1) -> dict[str, float]:
    """`score_LAYER` and `alignment_LAYER` of mono facts at the last checkpoint."""
    return {f"{name}_{layer}": x for name, x in scores_of(mono_vectors(run, layer=layer), mono_sample(run)).items()}


def mono_causal(run: Run) -> dict[str, Any]:
    """Causal unification of mono facts that transfer, at the last checkpoint, and of how many pairs."""
    curve = ask(run, "patching").tables["curve"]
    at_end = curve[(curve["step"] == run.steps[-1]) & (curve["direction"] == "both")]
    part = at_end[at_end["group"] == "mono, transferred"]
    if not len(part):
        return {"causal_unification": None, "pairs": 0}
    return {"causal_unification": float(part["unification"].iloc[0]), "pairs": int(part["n"].iloc[0])}


def moved(run: Run) -> float:
    """How far training moved the weight matrices: |W_end - W_0| / |W_0|, over all of them together."""
    from safetensors.numpy import load

    first, last = (load(run.read_checkpoint(step)[0]) for step in (run.steps[0], run.steps[-1]))
    matrices = [name for name in first if "W_" in name]
    change = sum(float(np.square(last[name].astype(float) - first[name]).sum()) for name in matrices)
    start = sum(float(np.square(first[name].astype(float)).sum()) for name in matrices)
    return float(np.sqrt(change / start))


def plain(value: Any) -> Any:
    """A number with four digits; None for NaN."""
    if isinstance(value, float | np.floating):
        return round(float(value), 4) if np.isfinite(value) else None
    return value
