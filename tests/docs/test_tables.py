"""The dictionary of columns has every column of every table, and no other."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from mechxl.questions.table import QUESTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "tables.md").read_text(encoding="utf-8")


def described(heading: str) -> list[tuple[str, str]]:
    """(table, column) of each row below a heading; a table's name stands in its first row only."""
    [part] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    rows, table = [], ""
    for line in re.findall(r"^\|(.*)\|$", part, re.MULTILINE)[2:]:
        *first, _ = line.split(" |")
        names = [re.findall(r"`([^`]+)`", cell) for cell in first]
        table = names[0][0] if len(names) > 1 and names[0] else table
        rows += [(table, column) for column in names[-1]]
    return rows


COMMON = [column for _, column in described("Columns that mean the same in every table")]


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_column_is_described_and_no_other(answered, question: str):
    tables, rows = answered(question).tables, described(question)
    assert {name for name, _ in rows} | set(re.findall(r"^\| `(\w+)` \| \|", PAGE, re.MULTILINE)) >= set(tables)
    assert {name for name, _ in rows} <= set(tables)
    for name, table in tables.items():
        if len(table):  # a run without a trained null has no rows of excess
            own = [column for described_table, column in rows if described_table == name]
            assert [c for c in table.columns if not any(fnmatchcase(c, known) for known in own + COMMON)] == [], name
            assert [known for known in own if not any(fnmatchcase(c, known) for c in table.columns)] == [], name
