"""The questions that a report asks, in its order. A question of one's own is declared in the same way (question.py)."""

from collections.abc import Mapping
from types import ModuleType

from mechxl.questions import language_identity, learning, patching, phases, unification

QUESTIONS: Mapping[str, ModuleType] = {
    "learning": learning,
    "unification": unification,
    "language_identity": language_identity,
    "patching": patching,
    "phases": phases,  # last: it reads what the others found
}
