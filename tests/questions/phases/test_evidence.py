"""What the verdict is made of: causal unification as patching keeps it, and the excess at a checkpoint."""

import numpy as np
import pandas as pd
import pytest

from mechxl.findings import Finding
from mechxl.questions.common import scores_over_training
from mechxl.questions.phases.evidence import causal_evidence, separation_of, verdict_of
from mechxl.questions.verdict import verdict


def a_row(group, step, value, direction="both"):
    ends = {"unification": value, "unification_low": value - 0.1, "unification_high": value + 0.1}
    return {"group": group, "direction": direction, "step": step, "n": 40, "reason": ""} | ends


def test_causal_unification_is_that_of_the_last_step_and_of_facts_not_chosen_by_transfer():
    rows = [a_row("mono, transferred", 10, 0.9), a_row("mono, not transferred", 10, 0.1), a_row("parallel", 10, 0.4)]
    rows += [a_row("parallel", 5, 0.0), a_row("parallel", 10, 7.0, "forth")]
    found, why = causal_evidence(Finding("patching", [], {"curve": pd.DataFrame(rows)}))
    assert why == ""
    assert [(one.group, one.value) for one in found] == [("parallel facts", 0.4), ("mono facts that transfer", 0.9)]
    assert causal_evidence(None) == ([], "patching was not asked of this run")
    assert causal_evidence(Finding("patching", [], {})) == ([], "patching is not defined here")


def test_a_pair_of_runs_without_a_step_in_common_has_no_verdict():
    assert verdict([]).name == "undecided"


def test_the_verdict_and_the_separation_are_of_the_runs_own_numbers(paired):
    scores = [scores_over_training(run, thorough=False) for run in (paired, paired.null)]
    both = scores[0].merge(scores[1], on=["step", "layer"], suffixes=("", "_null"))
    found = verdict_of(paired, thorough=False)
    assert found is not None
    last = both[both["step"] == paired.steps[-1]].set_index("layer")
    sides = last["alignment"] - last["alignment_null"] > 0
    assert set(found.layers) <= set(sides.index[sides])
    layer = both[both["layer"] == 1]
    lowest = layer.iloc[int(layer["score"].to_numpy().argmin())]
    separation = separation_of(paired, scores[0], 1, thorough=False)
    assert separation is not None
    assert separation.step == lowest["step"]
    assert separation.excess == pytest.approx(lowest["score"] - lowest["score_null"], abs=1e-6)
    assert separation.low < separation.excess < separation.high
    assert separation_of(paired, scores[0].assign(score=np.abs(scores[0]["score"])), 1, thorough=False) is None
