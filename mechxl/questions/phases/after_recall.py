"""What transfer and unification gain after recall is complete, with intervals over entities."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mechxl.data.transfer import transfer_items
from mechxl.findings import Estimate
from mechxl.instruments.activations.store import activations
from mechxl.instruments.checkpoints import read_checkpoint, use_checkpoint
from mechxl.measures.excess import excess
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
        Rows (quantity transfer, score; with a trained null unification, the excess of S - X): complete, complete_low,
        complete_high (steps), checkpoint (the first one from there on), last (checkpoint), then, end, gain, low, high,
        n (items), entities, reason.
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
    rows = [_transfer(run, later[0], later[-1])]
    rows.append({"quantity": "score"} | _scores(run, layer, later[0], later[-1], thorough)["score"])
    if run.null is not None:
        gained = _excess(run, run.null, layer, later[0], later[-1], thorough)
        rows.append({"quantity": "unification (excess of S − X)"} | gained)
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


def _scores(run: Run, layer: int, first: int, last: int, thorough: bool) -> dict[str, dict[str, Any]]:
    """The gains of S - W (score) and of S - X (alignment) of one run."""
    corpus, facts = run.corpus, scored_facts(run.corpus, thorough)
    world = corpus.world
    sample = draw_sample(
        world.relation[facts], world.entity[facts], world.n_languages, generator(0, "after recall"), draws=DRAWS,
        permutations=0,
    )  # fmt: skip
    stream = activations(run, "resid_post", facts=facts, layers=[layer], role=MAIN_ROLE, steps=[first, last])
    both = stream.transpose("checkpoint", "fact", "language", "d_model", ...).values.astype(float)
    both = both.reshape(2, len(facts), world.n_languages, -1)
    counts = {"n": len(facts), "entities": sample.entities}
    reasons = [undefined(h, sample.relation) for h in both]
    if any(reasons):
        nothing = dict.fromkeys(("then", "end", "gain", "low", "high"), np.nan)
        return dict.fromkeys(("score", "alignment"), nothing | counts | {"reason": next(filter(None, reasons))})
    every = np.vstack([np.ones((1, len(facts)), dtype=np.float32), sample.weights])  # the sample itself comes first
    parts = [cell_parts(unit(centre(h, "whole")), sample, every) for h in both]
    found = {}
    for name, other in (("score", "W"), ("alignment", "X")):
        then, end = ((by_place(one.S) - by_place(getattr(one, other)))[0] for one in parts)
        gains = end - then
        low, high = interval(gains[1:])
        numbers = {"then": float(then[0]), "end": float(end[0]), "gain": float(gains[0]), "low": low, "high": high}
        found[name] = numbers | counts | {"reason": ""}
    return found


def _excess(run: Run, null: Run, layer: int, first: int, last: int, thorough: bool) -> dict[str, Any]:
    """The gain of unification: that of S - X less the null's."""
    if missing := [step for step in (first, last) if step not in null.steps]:
        nothing = dict.fromkeys(("then", "end", "gain", "low", "high"), np.nan)
        return nothing | {"n": 0, "entities": 0, "reason": f"the null has no checkpoint at step {missing[0]:,}"}
    own, other = (_scores(one, layer, first, last, thorough)["alignment"] for one in (run, null))
    gain = excess(_estimate(own), _estimate(other))
    numbers = {"then": own["then"] - other["then"], "end": own["end"] - other["end"], "gain": gain.value}
    counts = {"n": own["n"], "entities": own["entities"]}
    return numbers | {"low": gain.low, "high": gain.high} | counts | {"reason": gain.reason}


def _estimate(row: Mapping[str, Any]) -> Estimate:
    numbers = {"value": row["gain"], "low": row["low"], "high": row["high"], "null": np.nan, "p": np.nan}
    return Estimate(**numbers, n=row["n"], entities=row["entities"], reason=row["reason"] or "no null of its own")
