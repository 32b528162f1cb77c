"""Damages a small run in every way, reads it as a report, as a notebook and to resume it, and prints the table.

python -m tests.damage [--only KIND] [--every N] [--show CATEGORY]
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mechxl import activations
from mechxl.config import RunConfig
from mechxl.questions.table import QUESTIONS
from mechxl.training import loop
from mechxl.training.loop import train_run
from tests.damage.judge import (
    CATEGORIES,
    Verdict,
    judge_notebook,
    judge_report,
    judge_resume,
    judged,
    page_of,
    read_as_notebook,
)
from tests.damage.ways import Damage, damages
from tests.model.plain import contents, tiny

CONFIG = tiny(steps=6, checkpoints=3)


@dataclass(frozen=True)
class Scene:
    """A complete run and an interrupted one, each with another of other seeds, and what is right."""

    folder: Path
    questions: Sequence[str]
    page: str
    notebook: dict[str, Any]
    end: dict[str, bytes]

    @classmethod
    def make(cls, folder: Path, questions: Sequence[str] = tuple(QUESTIONS)) -> "Scene":
        """Trains the runs and asks the questions of the complete ones."""
        other = CONFIG.model_copy(update={"seed": 1})
        place, page = folder / "work" / "run", folder / "work" / "out" / "page.html"
        page.parent.mkdir(parents=True)
        folder.chmod(0o755)  # another user reads too
        for name, config in (("other", other), ("whole", CONFIG)):  # all at one place, which pages and findings name
            activations(train_run(config, place, quiet=True)).load()
            page_of(place, page, questions)
            shutil.copytree(place, folder / name / "run")
            shown, read = page_of(place, page, questions)[1], read_as_notebook(place, questions)
            shutil.rmtree(place)
        for name, config in (("stopped", CONFIG), ("other-stopped", other)):
            _stop(config, folder / name / "run")
        return cls(folder, questions, shown, read, contents_to_resume(folder / "whole" / "run"))

    def damages(self) -> list[tuple[str, Damage]]:
        """All damages, each with the name of the run."""
        return [
            (name, damage)
            for name, other in (("whole", "other"), ("stopped", "other-stopped"))
            for damage in damages(self.folder / name / "run", self.folder / other / "run")
        ]

    def judged(self, name: str, damage: Damage) -> dict[str, Verdict]:
        """The verdicts on one damage, by reader."""
        judges = {
            "report": partial(judge_report, whole=self.page, questions=self.questions),
            "notebook": partial(judge_notebook, whole=self.notebook, questions=self.questions),
        }
        if name == "stopped":
            judges = {"resume": partial(judge_resume, whole=self.end)}
        return judged(damage, self.folder / name / "run", self.folder / "work", judges)


def contents_to_resume(path: Path) -> dict[str, bytes]:
    """What a resumed training must end with."""
    return {name: x for name, x in contents(path).items() if not name.startswith(("findings", "activations"))}


def _stop(config: RunConfig, path: Path) -> None:
    """Trains until Ctrl-C at step 4."""
    rate = loop.learning_rate

    def press(settings: Any, step: int) -> float:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return rate(settings, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "learning_rate", press)
        with pytest.raises(KeyboardInterrupt):
            train_run(config, path, quiet=True)


def table(counts: dict[str, Counter[str]], what: str) -> str:
    """Counts by category as a table."""
    lines = [f"| {what} | n | {' | '.join(CATEGORIES)} |", "|---" + "|---:" * (1 + len(CATEGORIES)) + "|"]
    total = Counter[str]()
    for name, found in [*counts.items(), ("all", total)]:
        if found is not total:
            total += found
        shown = " | ".join(f"{found[category]:,}" for category in CATEGORIES)
        lines.append(f"| {name} | {found.total():,} | {shown} |")
    return "\n".join(lines)


def main() -> int:
    """Returns 1 if a damage was wrong without a word, gave a traceback or hung."""
    parser = argparse.ArgumentParser(prog="python -m tests.damage", description=__doc__)
    parser.add_argument("--only", default="", help="kinds of damage that begin so")
    parser.add_argument("--every", type=int, default=1, help="every Nth damage only")
    parser.add_argument("--show", default="", help="print the damages of this category too")
    options = parser.parse_args()
    torch.set_num_threads(1)  # processes that are forked share no threads
    by_reader: dict[str, Counter[str]] = defaultdict(Counter)
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory(prefix="mechxl-damage-") as name:
        tempfile.tempdir = name
        scene = Scene.make(Path(name))
        chosen = [item for item in scene.damages() if item[1].kind.startswith(options.only)][:: options.every]
        for number, (run, damage) in enumerate(chosen):
            if number % 100 == 0:
                print(f"{number:,} of {len(chosen):,} damages", file=sys.stderr, flush=True)
            for reader, (category, seen) in scene.judged(run, damage).items():
                by_reader[reader][category] += 1
                by_kind[damage.kind][category] += 1
                if category in CATEGORIES[3:] or category == options.show:
                    print(f"{category} {reader}: {damage.kind}, {damage.name}: {seen[:600]}", flush=True)
    print(f"{len(chosen):,} damages\n\n{table(by_reader, 'read by')}\n\n{table(by_kind, 'damage')}")
    return int(any(found[category] for found in by_reader.values() for category in CATEGORIES[3:]))


if __name__ == "__main__":
    sys.exit(main())
