"""Findings as JSON: nothing is lost, NaN is null and has its reason, and what no longer fits is not reused."""

import json

import numpy as np
import pandas as pd
import pytest

from mechxl.findings import Finding, counted, permuted_p, signed


def finding(**table):
    return Finding("q", ["said"], {"t": pd.DataFrame(table)}, {"n": 3}, {"board": np.array([[1, -2], [3, 4]])})


def test_a_finding_survives_its_file(tmp_path):
    one = finding(step=[0, 1], value=[0.5, np.nan], reason=["", "no items"], name=["a", "b"])
    path = tmp_path / "q.json"
    path.write_text(one.to_json("digest"), encoding="utf-8")
    back = Finding.read(path, "digest")
    assert back is not None
    pd.testing.assert_frame_equal(back.tables["t"], one.tables["t"], check_dtype=False)
    assert (back.summary, back.notes) == (one.summary, one.notes)
    assert (back.arrays["board"] == one.arrays["board"]).all()
    assert json.loads(path.read_text())["tables"]["t"]["value"] == [0.5, None]


def test_nan_without_a_reason_is_refused():
    with pytest.raises(ValueError, match="without a reason"):
        finding(value=[np.nan], reason=[""]).to_json("digest")
    with pytest.raises(ValueError, match="without a reason"):
        finding(value=[np.nan]).to_json("digest")


def test_another_digest_or_a_damaged_file_is_not_reused(tmp_path):
    path = tmp_path / "q.json"
    path.write_text(finding(value=[1.0]).to_json("digest"), encoding="utf-8")
    assert Finding.read(path, "other") is None
    path.write_text(path.read_text()[:-20], encoding="utf-8")
    assert Finding.read(path, "digest") is None
    assert Finding.read(tmp_path / "missing.json", "digest") is None


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
