"""What transfer and unification gain after recall is complete, with intervals over entities."""

from typing import Any

import numpy as np
import pandas as pd

from mechxl.data.transfer import transfer_items
from mechxl.instruments.activations.store import activations
from mechxl.instruments.checkpoints import read_checkpoint, use_checkpoint
from mechxl.measures.measurement import by_place
from mechxl.measures.sample import draw_sample
from mechxl.measures.score import cell_parts
from mechxl.measures.statistics import EntityBootstrap, interval
from mechxl.measures.vectors import centre, undefined, unit
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.questions.common import MAIN_ROLE, scored_facts
from mechxl.random import generator
from mechxl.run import Run

COMPLETE = 0.99  # of the tellings recalled
DRAWS = 1000


def after_recall(run: Run, layer: int, thorough: bool) -> pd.DataFrame:
    """Transfer and score at the first checkpoint with complete recall, at the last one, and the gain in between.

    Recall is complete at the first evaluation at which it is COMPLETE or more; the evaluation before it is the other
    end of the interval. Gains are differences over the same items; entities are resampled, the same at both
    checkpoints.

    Args:
        run: whose checkpoints.
        layer: of the score.
        thorough: all entities for the score rather than a seeded sample.

    Returns:
        Two rows (quantity transfer, score): complete, complete_low, complete_high (steps), checkpoint (the first one
        from there on), last (checkpoint), then, end, gain, low, high, n (items), entities, reason.
    """
    metrics = run.metrics
    recalled = metrics["recall_accuracy"].to_numpy(dtype=float) >= COMPLETE
    steps = metrics["step"].to_numpy()
    if not recalled.any():
        best = float(metrics["recall_accuracy"].max())
        return _nothing(f"recall never reaches {COMPLETE:.0%} (its highest value is {best:.1%})")
    first = int(recalled.argmax())
    about = {
        "complete": float(steps[first]),
        "complete_low": float(steps[max(first - 1, 0)]),
        "complete_high": float(steps[first]),
    }
    later = [step for step in run.steps if step >= steps[first]]
    if len(later) < 2:
        return _nothing(f"no checkpoint lies between complete recall (step {steps[first]:,}) and the last one", about)
    about |= {"checkpoint": float(later[0]), "last": float(later[-1])}
    rows = [_transfer(run, later[0], later[-1]), _score(run, layer, later[0], later[-1], thorough)]
    return pd.DataFrame([about | row for row in rows], columns=_COLUMNS)


_NUMBERS = ("complete", "complete_low", "complete_high", "checkpoint", "last", "then", "end", "gain", "low", "high")
_COLUMNS = ["quantity", *_NUMBERS, "n", "entities", "reason"]


def _nothing(reason: str, known: dict[str, float] | None = None) -> pd.DataFrame:
    rows = [dict.fromkeys(_NUMBERS, np.nan) | (known or {}) | {"quantity": quantity, "n": 0, "entities": 0,
            "reason": reason} for quantity in ("transfer", "score")]  # fmt: skip
    return pd.DataFrame(rows, columns=_COLUMNS)


def _transfer(run: Run, first: int, last: int) -> dict[str, Any]:
    corpus = run.corpus
    items = transfer_items(corpus)
    if not len(items.fact):
        undefined_numbers = dict.fromkeys(("then", "end", "gain", "low", "high"), np.nan)
        return undefined_numbers | {"quantity": "transfer", "n": 0, "entities": 0, "reason": items.why_none}
    questions, trie, model = Questions.of(corpus, items.fact, items.asked), answer_trie(corpus), run.model()
    right = []
    for step in (first, last):
        use_checkpoint(run, step, read_checkpoint(run, step), model)
        right.append(ask_questions(model, questions, trie).right.astype(float))
    entity = corpus.world.entity[items.fact]
    bootstrap = EntityBootstrap(entity, DRAWS, generator(0, "after recall"))
    gain, low, high = bootstrap.mean(right[1] - right[0], entity)
    numbers = {"then": float(right[0].mean()), "end": float(right[1].mean()), "gain": gain, "low": low, "high": high}
    return numbers | {"quantity": "transfer", "n": len(entity), "entities": len(bootstrap.entities), "reason": ""}


def _score(run: Run, layer: int, first: int, last: int, thorough: bool) -> dict[str, Any]:
    corpus, facts = run.corpus, scored_facts(run.corpus, thorough)
    world = corpus.world
    sample = draw_sample(
        world.relation[facts], world.entity[facts], world.n_languages, generator(0, "after recall"), draws=DRAWS,
        permutations=0,
    )  # fmt: skip
    stream = activations(run, "resid_post", facts=facts, layers=[layer], role=MAIN_ROLE, steps=[first, last])
    both = stream.transpose("checkpoint", "fact", "language", "d_model", ...).values.astype(float)
    both = both.reshape(2, len(facts), world.n_languages, -1)
    counts = {"quantity": "score", "n": len(facts), "entities": sample.entities}
    reasons = [undefined(h, sample.relation) for h in both]
    if any(reasons):
        nothing = dict.fromkeys(("then", "end", "gain", "low", "high"), np.nan)
        return nothing | counts | {"reason": next(filter(None, reasons))}
    every = np.vstack([np.ones((1, len(facts)), dtype=np.float32), sample.weights])  # the sample itself comes first
    scores = []
    for h in both:
        parts = cell_parts(unit(centre(h, "whole")), sample, every)
        scores.append((by_place(parts.S) - by_place(parts.W))[0])
    gains = scores[1] - scores[0]
    low, high = interval(gains[1:])
    numbers = {"then": scores[0][0], "end": scores[1][0], "gain": gains[0]}
    return {key: float(value) for key, value in numbers.items()} | {"low": low, "high": high} | counts | {"reason": ""}
