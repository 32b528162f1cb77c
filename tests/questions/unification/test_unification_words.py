"""The sentences on measures: what they are blind to follows from the table, and verbs agree."""

from dataclasses import replace

import pandas as pd

from mechxl.measures.table import MEASURES
from mechxl.questions.unification.transfer import auc_words
from mechxl.questions.unification.words import _agreement, blind_to

IN_WORDS = [row for row in MEASURES if row.in_words]


def test_only_cka_and_procrustes_are_said_not_to_see_an_offset_or_a_turn():
    """The others that can clear their nulls while the score is negative do see both: they fall (docs/measures.md)."""
    assert blind_to(IN_WORDS) == (
        "CKA and Procrustes residual do not see an offset or a turn of one language's vectors. S − X, retrieval, MEXA "
        "and checkerboard ρ see both (docs/measures.md shows how much)."
    )
    (mexa,) = (row for row in MEASURES if row.name == "mexa")
    assert blind_to([replace(mexa, sees_turn=False)]) == "MEXA does not see a turn of one language's vectors."


def test_verbs_agree_with_how_many_measures_clear_their_null():
    columns = {"value": 0.5, "low": 0.4, "high": 0.6, "step": 0}
    rows = [{"measure": row.name, "p_scan": 0.5 if row.name == "mexa" else 0.001} | columns for row in IN_WORDS]
    rows.append({"measure": "score", "p_scan": 0.5} | columns | {"value": -0.5, "low": -0.6, "high": -0.4})
    said = _agreement(pd.DataFrame(rows), 1, {}, MEASURES)
    assert "checkerboard ρ clear their permutation null" in said
    assert "; MEXA does not." in said
    assert "The score is negative all the same" in said
    only = _agreement(pd.DataFrame([row for row in rows if row["measure"] in ("cka", "score")]), 1, {}, MEASURES)
    assert "CKA clears its permutation null" in only


def test_an_auc_without_an_interval_is_not_told():
    """Where all items but one transfer, most resamples of entities have no AUC."""
    row = {"measure": "auc_transfer", "layer": 1, "step": 20, "value": 0.6, "low": 0.5, "high": 0.7, "n": 9}
    last = row | {"step": 40, "value": 1.0, "low": float("nan"), "high": float("nan")}
    (said,) = auc_words(pd.DataFrame([row, last]).assign(p_scan=0.2))
    assert "at step 20? AUC (.5: no) is layer 1 .60 [.50, .70]" in said
    assert auc_words(pd.DataFrame([last]).assign(p_scan=0.2)) == []
