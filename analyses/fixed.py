"""Was a study fixed before its runs? The commit that a run was trained at must hold the study, and plan that run."""

import ast
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache

from analyses.study import HERE, commits_of, studies, with_results
from mechxl.errors import InputError
from mechxl.sweep.study import parse_study


def unfixed() -> list[str]:
    """A line for each study some of whose runs were trained at a commit that did not plan them.

    Results made before mechxl recorded commits are passed over. So is everything in a folder without git's whole
    history: nothing can be known there.
    """
    if _git("rev-parse", "--is-shallow-repository") != "false":
        return []
    return [line for name in with_results() for line in unplanned(name, commits_of(name))]


def unplanned(name: str, trained: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each commit that did not plan a run which was trained there.

    Args:
        name: of the study.
        trained: the names of runs by the commit that they were trained at.
    """
    lines: list[str] = []
    for commit, runs in trained.items():
        planned = planned_at(name, commit)
        if planned is None:
            lines.append(f"{name}: {len(runs)} runs were trained at {commit}, which has no grid of this study")
        elif missing := sorted(set(runs) - planned):
            lines.append(f"{name}: {len(missing)} runs were trained at {commit}, before it planned them: {missing[0]}")
    return lines


@lru_cache(maxsize=256)
def planned_at(name: str, commit: str) -> frozenset[str] | None:
    """The names of the runs that a study planned at a commit; None if there was no such study."""
    path = studies()[name].relative_to(HERE.parent)
    source = _git("show", f"{commit}:{path}")
    for node in ast.parse(source or "").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "GRID":
            try:
                return frozenset(run.name for run in parse_study(ast.literal_eval(node.value), name).runs)
            except InputError:
                return None
    return None


def _git(*arguments: str) -> str | None:
    """What git says of this repository; None if it fails, or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.removesuffix("\n") if done.returncode == 0 else None
