"""The excess of a run over its trained null: the measures of both, and one less the other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from mechxl.findings import Estimate
from mechxl.instruments.activations.store import activations
from mechxl.measures.excess import Excess, excess
from mechxl.measures.table import MEASURES
from mechxl.questions.unification.groups import Group, groups_of, measure
from mechxl.run import Run

COMPARED = ("alignment", "score", "retrieval")  # S - X first
LABELS = {row.name: row.label for row in MEASURES if row.name in COMPARED}
PARTS = ("S", "W", "X")  # of the null, to show beside the run's
PLACE = ["group", "layer", "step", "measure"]

Layers = Float[np.ndarray, "layer fact language d"]


def vectors_by_step(
    run: Run, groups: Mapping[str, Group], steps: Iterable[int] | None = None
) -> Iterator[tuple[int, dict[str, Layers]]]:
    """At each checkpoint the residual stream of each group at the prompt's last token."""
    facts = np.concatenate([group.facts for group in groups.values()])
    ends = np.cumsum([len(group.facts) for group in groups.values()])[:-1]
    stream = activations(run, "resid_post", facts=facts, role="prompt_last")
    for step in run.steps if steps is None else steps:
        layers = stream.sel(checkpoint=step, role="prompt_last").transpose("layer", "fact", "language", "d_model")
        yield step, dict(zip(groups, np.split(layers.values.astype(float), ends, axis=1), strict=True))


def estimates(run: Run, groups: Mapping[str, Group], steps: Sequence[int], parts: Sequence[str] = ()) -> pd.DataFrame:
    """The compared measures of a run, centred on the whole sample: those of the question `unification`, without nulls.

    Args:
        run: a run, or a null.
        groups: of its facts, without permutations.
        steps: checkpoints.
        parts: more measures.

    Returns:
        Rows (group, layer, step, measure, value, low, high, null, p, n, entities, reason).
    """
    measures = [row for row in MEASURES if row.name in (*COMPARED, *parts)]
    rows = []
    for step, vectors in vectors_by_step(run, groups, steps):
        for name, layers in vectors.items():
            for layer, h in enumerate(layers):
                found = measure(h, groups[name], "whole", measures, all_costs=False, by_token=layer == 0)
                place = {"group": name, "layer": layer, "step": step}
                rows += [{**place, "measure": key, **asdict(one.pooled)} for key, one in found.items()]
    return pd.DataFrame(rows, columns=[*PLACE, *Estimate.__dataclass_fields__])


def excess_table(run: pd.DataFrame, null: pd.DataFrame, scanned: int = 1) -> pd.DataFrame:
    """The excess at each place that both have.

    Args:
        run: rows of `estimates`, or the table `measures` where the centring is whole.
        null: those of the trained null.
        scanned: how many layers the intervals hold for together.

    Returns:
        Rows (group, layer, step, measure, value, low, high, run, null, n, n_null, reason).
    """
    numbers = list(Estimate.__dataclass_fields__)
    of_null = {_place(row): row for row in null[null["measure"].isin(COMPARED)].to_dict("records")}
    rows = []
    for row in run[run["measure"].isin(COMPARED)].to_dict("records"):
        if (place := _place(row)) in of_null:
            own, other = (Estimate(**{name: one[name] for name in numbers}) for one in (row, of_null[place]))
            rows.append(dict(zip(PLACE, place, strict=True)) | asdict(excess(own, other, scanned)))
    return pd.DataFrame(rows, columns=[*PLACE, *Excess.__dataclass_fields__])


def over_null(run: Run, own: pd.DataFrame, thorough: bool) -> dict[str, pd.DataFrame]:
    """The tables `excess` and `null` of a run: at every checkpoint and group; empty without a trained null.

    Args:
        run: whose null.
        own: its table `measures`.
        thorough: all facts rather than those of some entities.
    """
    own = own[own["centring"] == "whole"]
    if run.null is None:
        return {"excess": excess_table(own, own[:0]), "null": own[:0]}
    groups = groups_of(run.null.corpus, thorough, own["group"].unique().tolist(), permutations=0)
    steps = [step for step in run.null.steps if step in run.steps]
    null = estimates(run.null, groups, steps, PARTS)
    return {"excess": excess_table(own, null), "null": null.drop(columns=["null", "p"])}


def _place(row: Mapping[Any, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in PLACE)
