"""Figures of the question `patching`."""

from mechxl.findings import Finding
from mechxl.plots import Panel
from mechxl.questions.patching.controls_panel import controls_panel
from mechxl.questions.patching.grids import grid_panel, heads_panel
from mechxl.questions.patching.over_training import curve_panel, outcomes_panel


def figures(finding: Finding) -> list[Panel]:
    """The chosen place over training; the grid; outcomes; heads; controls."""
    if not len(finding.tables["places"]) or not finding.tables["curve"]["accuracy"].notna().any():
        return []
    panels = [curve_panel(finding), grid_panel(finding), outcomes_panel(finding)]
    return [*panels, heads_panel(finding), controls_panel(finding)]
