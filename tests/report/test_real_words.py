"""The page of facts from a file: languages with names of their own, words of any direction."""

from pathlib import Path

from mechxl.config import parse_config
from mechxl.facts import EXAMPLE
from mechxl.questions.ask import ask
from mechxl.questions.learning.panels import figures
from mechxl.report.page import write_report
from mechxl.training.loop import train_run


def test_a_page_has_named_languages_and_isolated_words(tmp_path: Path):
    raw = {
        "world": {"source": "csv", "file": str(EXAMPLE)},
        "languages": {"codes": ["en", "ar"]},
        "tokenization": {"kind": "word"},
        "model": {"d_model": 16, "d_mlp": 32},
        "training": {"steps": 4, "warmup_steps": 1, "checkpoints": 2, "evaluate_every": 2, "batch_size": 16},
    }
    run = train_run(parse_config(raw), tmp_path / "run", quiet=True)
    text = write_report(run, tmp_path / "page.html", only=["learning"]).read_text(encoding="utf-8")
    assert "<bdi>البرازيل</bdi> <bdi>" in text
    rates = figures(ask(run, "learning"))[1].figure
    names = {trace["name"] for trace in rates.to_dict()["data"] if "name" in trace}
    assert {"in en", "in ar", "told→asked en→ar", "told→asked ar→en"} <= names
