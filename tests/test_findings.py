"""Findings as JSON: nothing is lost, NaN is null and has its reason, and what no longer fits is not reused."""

import json

import numpy as np
import pandas as pd
import pytest

from mechxl.findings import Finding, counted, permuted_p, signed


def finding(**table):
    return Finding("q", ["said"], {"t": pd.DataFrame(table)}, {"n": 3}, {"board": np.array([[1, -2], [3, 4]])})


def test_a_finding_survives_its_file():
    one = finding(step=[0, 1], value=[1e-9 / 3, np.nan], reason=["", "no items"], name=["a", "b"])
    text = one.to_json("digest")
    back = Finding.from_json(text, "digest")
    assert back is not None
    assert back.to_json("digest") == text
    pd.testing.assert_frame_equal(back.tables["t"], one.tables["t"], check_dtype=False)
    assert (back.summary, back.notes) == (one.summary, one.notes)
    assert (back.arrays["board"] == one.arrays["board"]).all()
    assert json.loads(text)["tables"]["t"]["value"] == [1e-9 / 3, None]


def test_nan_without_a_reason_is_refused():
    with pytest.raises(ValueError, match="without a reason"):
        finding(value=[np.nan], reason=[""]).to_json("digest")
    with pytest.raises(ValueError, match="without a reason"):
        finding(value=[np.nan]).to_json("digest")


def test_another_digest_or_another_content_is_not_reused():
    text = finding(value=[1.0]).to_json("digest")
    assert Finding.from_json(text, "other") is None
    for changed in (text[:-20], text.replace("1.0", "0.5"), text.replace("said", ""), "", "{}", text + "\n"):
        with pytest.raises(ValueError, match="not as it was kept"):
            Finding.from_json(changed, "digest")
    with pytest.raises(ValueError, match="answers the question q"):
        Finding.from_json(text, "digest", "another")


def test_arrays_keep_six_significant_digits():
    numbers = np.array([[1e-9 / 3, 2 / 3], [-1e5 / 3, 0.0]])
    back = Finding.from_json(Finding("q", [], {}, arrays={"a": numbers}).to_json("digest"), "digest")
    assert back is not None
    assert back.arrays["a"] == pytest.approx(numbers, rel=1e-5, abs=0)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.5, 2, ".50"), (-0.314, 2, "−.31"), (-1.08, 2, "−1.08"), (0.0, 2, ".00"), (-0.001, 2, ".00"), (12.5, 1, "12.5")],
)
def test_signed_numbers(value, digits, text):
    assert signed(value, digits) == text


def test_a_count_agrees_with_its_noun():
    assert [counted(n, "pair") for n in (0, 1, 2, 1200)] == ["0 pairs", "1 pair", "2 pairs", "1,200 pairs"]
    assert counted(1, "entity") == "1 entity"
    assert counted(4, "entity") == "4 entities"


def test_a_p_value_says_when_it_is_the_least_possible():
    assert permuted_p(1 / 201, 200) == "p = .005, the least that 200 draws allow"
    assert permuted_p(2 / 201, 200) == "p = .010"
    assert permuted_p(1 / 10001, 10000) == "p = .00010, the least that 10,000 draws allow"
