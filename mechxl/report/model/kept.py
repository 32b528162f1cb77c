"""The page's model of a run, kept beside it: to code its weights takes longer than to lay out a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from mechxl.findings import Finding
from mechxl.questions.dependencies import files_behind
from mechxl.questions.kept import digest_of, keep, read_kept
from mechxl.run import Run

NAME = "model_panel"
CODER = Path(__file__).with_name("pack.py")
MOST_CHECKPOINTS = 12
Json = Mapping[str, Any]


class Shown(TypedDict):
    """Content for the page: a description (JSON), the weights (text), and why there are none or fewer."""

    description: Json
    weights: str
    note: str


NO_MODEL: Shown = {"description": {}, "weights": "", "note": ""}


def kept_model(run: Run, most: int) -> Shown:
    """The page's model of a run: read where it is kept, else coded and kept.

    Args:
        run: a run with checkpoints.
        most: the most checkpoints; 0: none.
    """
    if not (asked := min(most, MOST_CHECKPOINTS, len(run.steps))):
        return NO_MODEL
    digest = _digest(run, asked)
    if (kept := read_kept(run, NAME, digest)) is None:
        from mechxl.report.model.pack import model_of

        kept = Finding(NAME, [], {}, dict(model_of(run, asked)))
        keep(run, NAME, kept.to_json(digest))
    return cast(Shown, kept.notes)


def is_kept(run: Run, most: int) -> bool:
    """Whether nothing is left to code."""
    asked = min(most, MOST_CHECKPOINTS, len(run.steps))
    return not asked or read_kept(run, NAME, _digest(run, asked)) is not None


def keep_model(path: Path, most: int) -> None:
    """Codes the model of a run and keeps it, in a process of its own."""
    kept_model(Run(path), most)


def _digest(run: Run, asked: int) -> str:
    sources = files_behind(CODER, "mechxl.report.model.pack")
    return digest_of(run, sources, checkpoints=asked)
