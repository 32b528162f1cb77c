"""What notebooks show of a run and a finding: numbers that are right, text that stays text, no script."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mechxl.config import LanguagesConfig, RunConfig, TrainingConfig, parse_config
from mechxl.display import run_html
from mechxl.findings import Finding
from mechxl.run import Run
from tests.runs import copied

NASTY = "<script>alert(1)</script>&\"'"


class Seen(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def shown(thing: Run | Finding) -> Seen:
    html = thing._repr_html_()
    assert len(html) < 3000
    seen = Seen(html)
    assert not {"script", "style", "link", "img", "iframe"} & set(seen.tags)
    return seen


def test_a_run_shows_its_state_settings_facts_and_last_rates(trained: Run):
    text, last = shown(trained).text, trained.metrics.iloc[-1]
    assert "Run trained" in text
    assert "complete, 120 steps" in text
    groups = trained.facts["group"].value_counts()
    for name in ("parallel", "mono", "unseen"):
        assert f"{groups[name]} {name} (" in text
    assert "6, steps 0 to 120" in text
    for name, label in (
        ("loss", "loss (nats an answer)"),
        ("recall_accuracy", "recall"),
        ("transfer_accuracy", "tran"),
    ):
        assert f"{last[name]:.3f}" in text
        assert label in text
    for name, value in (("world.n_entities", 60), ("world.n_unseen", 24), ("training.steps", 120)):
        assert f"{name} = {value}" in text
    for at_default in ("world.n_relations", "seed", "languages.count", "language_shares"):
        assert at_default not in text


def test_a_run_under_way_says_at_which_step(trained: Run, tmp_path: Path):
    run = copied(trained, tmp_path / "run")
    run.file("COMPLETE").unlink()
    rows = run.file("metrics.jsonl").read_text().splitlines(keepends=True)
    run.file("metrics.jsonl").write_text("".join(rows[:4]) + '{"step": 48, "lo')
    for step in (48, 84, 120):
        run.checkpoint(step).unlink()
    text = shown(Run(run.path)).text
    assert "at step 40 of 120" in text
    assert "complete" not in text
    assert f"at step 40{'loss'}" in text
    assert f"{json.loads(rows[3])['recall_accuracy']:.3f}" in text


def test_a_run_that_has_just_begun_or_is_damaged_is_shown_too(trained: Run, tmp_path: Path):
    path = tmp_path / f"run{NASTY.replace('/', '')}"
    path.mkdir()
    shutil.copy(trained.file("config.toml"), path)
    text = shown(Run(path)).text
    assert path.name in text
    assert "at step 0 of 120" in text
    assert "none yet" in text
    (path / "config.toml").write_text(f'[world]\n"{NASTY.replace(chr(34), "")}" = 1\n')
    text = shown(Run(path)).text
    assert "can't be read" in text
    assert "<script>alert(1)</script>" in text


def test_seeds_and_shares_that_follow_are_not_told():
    text = run_html(Path("x"), RunConfig(seed=3, languages=LanguagesConfig(count=3)), True, [], {}, {}, "")
    settings = Seen(text).text
    assert "seed = 3, languages.count = 3" in settings
    assert "_seed" not in settings
    assert "world.seed" not in settings
    assert "shares" not in settings
    own = parse_config({"seed": 3, "training": {"init_seed": 4}, "mixture": {"language_shares": [0.2, 0.8]}})
    settings = Seen(run_html(Path("x"), own, True, [], {}, {}, "")).text
    assert "training.init_seed = 4" in settings
    assert "mixture.language_shares = (0.2, 0.8)" in settings
    assert "world.seed" not in settings


def test_a_rate_that_is_not_there_has_its_reason():
    row = {"step": 1200, "loss": 1.25, "recall_accuracy": 0.5, "transfer_accuracy": None, "transfer_reason": NASTY}
    config = RunConfig(training=TrainingConfig(steps=1500))
    text = Seen(run_html(Path("x"), config, False, [0], {NASTY: 4}, row, "")).text
    assert f"at step 1,200loss (nats an answer) 1.250, recall 0.500, transfer - ({NASTY})" in text
    assert f"4 {NASTY}" in text


@pytest.mark.parametrize("name", ["norms", NASTY])
def test_a_finding_shows_its_summary_and_what_it_holds(name: str):
    table = pd.DataFrame({"step": range(1234), name: 0.5})
    arrays = {"board": np.zeros((2, 3, 4))}
    finding = Finding(name, [f"First: {name}.", "Second."], {name: table}, {"draws": 5, name: 1}, arrays)
    seen = shown(finding)
    for text in (f"Finding {name}", f"First: {name}.", "Second.", f'tables["{name}"] 1,234 × 2: step, {name}'):
        assert text in seen.text
    assert 'arrays["board"] 2 × 3 × 4' in seen.text
    assert f"notes draws, {name}" in seen.text
    assert seen.tags.count("p") == 2
    assert seen.tags.count("li") == 3


def test_an_empty_finding_is_shown():
    assert "Finding x" in shown(Finding("x", [], {})).text
