"""README's lines for a notebook run as they stand; test_words.py parses its commands."""

import re
from pathlib import Path

from mechxl.run import Run

README = Path(__file__).parents[2] / "README.md"


def test_the_lines_for_a_notebook_run(trained: Run, answered):
    answered("unification")
    [snippet] = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = snippet.replace('"runs/default"', repr(str(trained.path)))
    found: dict[str, object] = {}
    exec(lines.replace('"runs/parallel_fraction"', repr(str(trained.path.parent))), found)
    assert isinstance(found["run"], Run)
    assert {"model", "h", "outcomes"} <= set(found)
