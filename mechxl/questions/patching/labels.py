"""Labels and colours that several figures of the question `patching` share."""

from mechxl.findings import Finding
from mechxl.plots import BLUE, ORANGE, VERMILION
from mechxl.questions.patching.words import PARTS

GROUP_COLOURS = dict(zip((*PARTS["mono"], *PARTS["parallel"]), (VERMILION, ORANGE, BLUE), strict=True))


def direction_labels(finding: Finding) -> list[tuple[str, str]]:
    """The two directions as the tables name them, and their labels."""
    names = finding.notes["languages"]
    if len(names) == 2:
        return [("forth", f"{names[0]} → {names[1]}"), ("back", f"{names[1]} → {names[0]}")]
    return [("forth", "to later languages"), ("back", "to earlier ones")]


def pairs_counted(finding: Finding, table: str = "curve") -> str:
    """How many pairs each group has at the last checkpoint, for captions."""
    rows = finding.tables[table]
    rows = rows[rows["step"] == rows["step"].max()] if "step" in rows else rows
    counts = (f"{group} {int(rows[rows['group'] == group]['n'].max()):,}" for group in finding.notes["groups"])
    return f"n, pairs with both answers right at the last checkpoint: {'; '.join(counts)}"
