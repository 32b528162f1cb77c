"""The excess of the small run over its trained null: its tables, words and figure; AUC at every layer in words."""

import numpy as np
import pandas as pd

from mechxl.findings import Finding, signed
from mechxl.questions.unification.excess import COMPARED, over_null
from mechxl.questions.unification.excess_panel import excess_panel
from mechxl.questions.unification.excess_words import excess_words
from mechxl.questions.unification.transfer import auc_words


def test_it_is_the_runs_table_less_the_nulls_in_words_and_figure(paired, answered):
    finding = answered("unification")
    own = finding.tables["measures"]
    tables = over_null(paired, own, thorough=False)
    excess = tables["excess"].set_index(["group", "layer", "step", "measure"])
    null = tables["null"].set_index(["group", "layer", "step", "measure"])
    own = own[own["centring"] == "whole"].set_index(["group", "layer", "step", "measure"])
    assert set(excess.index.get_level_values("measure")) == set(COMPARED)
    assert set(excess.index.get_level_values("step")) == set(paired.steps)
    np.testing.assert_allclose(excess["value"], own["value"][excess.index] - null["value"][excess.index])
    known = excess[excess["low"].notna()]
    assert ((known["low"] <= known["value"]) & (known["value"] <= known["high"])).all()
    notes = finding.notes | {"null": {"name": "a-null", "why_none": "", "get": "", "is_null": False}}
    said = " ".join(excess_words(tables["excess"], notes))
    for layer in (1, 2):
        value = float(excess["value"]["mono", layer, paired.steps[-1], "alignment"])
        assert f"Layer {layer}, excess over the trained null at step 120: S − X {signed(value)} [" in said
    panel = excess_panel(Finding("unification", [], tables, notes))
    assert panel is not None
    assert "one" not in panel.name
    for text in ("n = ", "Null: 0", "95 % intervals", "pair of runs"):
        assert text in panel.caption
    assert excess_panel(Finding("unification", [], {"excess": tables["excess"][:0]}, notes)) is None
    assert finding.summary[0].startswith("Whether and when the languages unify is not said here")


def test_every_layer_of_auc_is_said_and_the_best_with_a_p_over_all():
    columns = ["step", "layer", "value", "low", "high", "p_scan"]
    numbers = [(10, 1, 0.9, 0.8, 0.95, 0.001), (20, 1, 0.49, 0.4, 0.6, 0.9), (20, 2, 0.64, 0.6, 0.7, 0.02)]
    rows = pd.DataFrame(numbers, columns=columns).assign(measure="auc_transfer", n=9)
    (said,) = auc_words(rows)
    assert "layer 1 .49 [.40, .60], layer 2 .64 [.60, .70]; it says most at layer 2, p = 0.020" in said
    (said,) = auc_words(rows.assign(p_scan=0.3))
    assert "no layer says anything" in said
    assert auc_words(rows[:0]) == []
