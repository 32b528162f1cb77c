"""A study is committed before its runs: a small repository with a study that comes, and grows, after some runs."""

import subprocess
from pathlib import Path

import pytest

from analyses import fixed

GRID = (
    '"""Is it so?"""\n\nGRID = {{"seeds": {seeds}, '
    '"runs": [{{"name": "one"}}, {{"name": "two", "model.n_layers": 1}}]}}\n'
)


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Hashes of three commits: before the study, with one seed, with two."""

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, check=True, text=True
        )
        return done.stdout.strip()

    study = tmp_path / "analyses" / "claims" / "small.py"
    study.parent.mkdir(parents=True)
    git("init", "-q")
    found: dict[str, str] = {}
    for name, content in {"before": "", "one": GRID.format(seeds=1), "two": GRID.format(seeds=2)}.items():
        study.write_text(content) if content else (tmp_path / "README").write_text("nothing yet")
        git("add", "-A")
        git("commit", "-q", "-m", name)
        found[name] = git("rev-parse", "HEAD")[:12]
    monkeypatch.setattr(fixed, "HERE", tmp_path / "analyses")
    monkeypatch.setattr(fixed, "studies", lambda: {"small": study})
    fixed.planned_at.cache_clear()
    return found


def test_runs_that_were_planned_when_they_were_trained(commits: dict[str, str]):
    first, both = ["one,seed=0", "two,seed=0"], ["one,seed=1", "two,seed=0"]
    assert fixed.unplanned("small", {commits["one"]: first, commits["two"]: both}) == []


@pytest.mark.parametrize(
    ("when", "runs", "said"),
    [
        ("before", ["one,seed=0"], "has no grid of this study"),
        ("one", ["one,seed=0", "one,seed=1"], "1 runs were trained at {}, before it planned them: one,seed=1"),
        ("one", ["three,seed=0"], "before it planned them: three,seed=0"),
    ],
)
def test_runs_that_were_trained_before_they_were_planned(
    commits: dict[str, str], when: str, runs: list[str], said: str
):
    (line,) = fixed.unplanned("small", {commits[when]: runs})
    assert said.format(commits[when]) in line


def test_a_commit_that_git_does_not_know(commits: dict[str, str]):
    (line,) = fixed.unplanned("small", {"0123456789ab": ["one,seed=0"]})
    assert "0123456789ab, which has no grid" in line


def test_all_runs_of_the_check_are_looked_at(commits: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fixed, "with_results", lambda: ["small"])
    monkeypatch.setattr(fixed, "commits_of", lambda name: {commits["before"]: ["one,seed=0"]})
    assert len(fixed.unfixed()) == 1
