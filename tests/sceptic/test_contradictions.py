"""The rules that read odd runs find what is planted, and nothing where nothing is wrong."""

import pandas as pd
import pytest

from mechxl.findings import Finding
from tests.sceptic.contradictions import problems


def findings(verdict="unified", layers=(1,), sign=1, outcome="rises", rate=0.9, low=0.5):
    onsets = pd.DataFrame({"quantity": ["recall"], "unit": ["accuracy"], "outcome": [outcome]})
    lags = pd.DataFrame({"first": ["recall"], "second": ["unification, layer 1"], "sign": [sign]})
    row = {
        "kind": "recall",
        "group": "all",
        "step": 9,
        "accuracy": rate,
        "low": rate - 0.05,
        "high": rate + 0.05,
        "n": 9,
    }
    curve = {"step": 9, "direction": "both", "group": "parallel", "unification": 1.0, "unification_low": low}
    notes = {"verdict": {"name": verdict, "layers": list(layers)} if verdict else None}
    guesses = pd.DataFrame({"kind": ["recall"], "accuracy": [0.1]})
    return {
        "phases": Finding("phases", [], {"onsets": onsets, "lags": lags}, notes),
        "learning": Finding("learning", [], {"rates": pd.DataFrame([row]), "no_fact": guesses}),
        "patching": Finding("patching", [], {"curve": pd.DataFrame([curve])}),
    }


def test_what_agrees_has_no_problem():
    assert problems(findings(), ["Recall is .90 [.85, .95] (n = 1 pair, p = .005)."]) == []


@pytest.mark.parametrize(
    ("planted", "problem"),
    [
        ({"layers": ()}, "no layer's excess is above 0"),
        ({"verdict": None}, "no layer's excess is above 0"),
        ({"outcome": "no rise"}, "the time line has no rise"),
        ({"rate": 0.01}, "below the best guess"),
        ({"verdict": "not unified"}, "though causal unification is above chance"),
    ],
)
def test_a_planted_contradiction_is_found(planted, problem):
    found = problems(findings(**planted), [])
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize("text", ["reads nan bits", "None of it", "n = 1 pairs", "two  spaces", "{value}"])
def test_words_that_say_nothing_are_found(text):
    assert len(problems({}, [text])) == 1
