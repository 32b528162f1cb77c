"""A second implementation is one only if it shares no code with the first."""

import ast
from pathlib import Path

READS_A_RUN = {"mechxl", "mechxl.run"}
SECOND = ["answering", "conftest", "information", "language", "patching", "reading", "rising", "similarity", "turned"]
TESTS = [
    "answering",
    "independence",
    "language",
    "metamorphic",
    "rising",
    "sceptic_excess",
    "sceptic_patching",
    "similarity",
]
NAMES = {"Run", "RunConfig", "ask", "patch", "train_run"}  # to train, read and ask


def test_of_mechxl_these_files_import_only_what_reads_a_run():
    here = Path(__file__).parent
    files = [here / f"{name}.py" for name in (*SECOND, *(f"test_{name}" for name in TESTS))]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("mechxl") for alias in node.names), (file.name, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                if module.split(".")[0] == "mechxl":
                    assert module in READS_A_RUN, (file.name, node.lineno)
                    assert {alias.name for alias in node.names} <= NAMES, (file.name, node.lineno)
                elif module.startswith("tests."):
                    assert module.startswith(("tests.sceptic", "tests.runs")), (file.name, node.lineno)
