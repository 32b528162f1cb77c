"""The story of planted findings, for each outcome; and the terms that explain themselves."""

import numpy as np
import pandas as pd
import pytest

from mechxl.findings import Finding
from mechxl.report.glossary import with_terms
from mechxl.report.story import GUESSED, amount, own_claim, story_of

FLOOR = 0.1


def planted(
    *, recall=1.0, transfer=0.8, verdict="unified", strands=(True, True, True), languages=2, rests=True, loss=0.01,
    no_transfer="", steps=(400.0,), order=1,
) -> dict[str, Finding]:  # fmt: skip
    """Findings as the questions learning and phases give them, with the outcome given."""
    missing = np.nan if no_transfer else None
    rates = [
        {"step": 900, "kind": kind, "group": "all", "n": 100, "entities": 50, "accuracy": value, "low": value - 0.04,
         "high": min(1.0, value + 0.04), "reason": reason}
        for kind, value, reason in (("recall", recall, ""), ("transfer", missing or transfer, no_transfer))
    ]  # fmt: skip
    moves = {"recall": recall, "transfer": transfer, "loss": loss}
    rest = {"rests": rests, "reason": "" if rests else "the loss moves"} | {
        name: {"mean": value, "low": value - 0.05, "high": value + 0.05} for name, value in moves.items()
    }
    learning = Finding(
        "learning",
        ["Recall is 1.0 [.9, 1.0].", "The run rests."],
        {
            "rates": pd.DataFrame(rates),
            "curves": pd.DataFrame({"step": [900], "loss": [loss]}),
            "no_fact": pd.DataFrame({"kind": ["recall", "transfer"], "accuracy": [FLOOR, FLOOR]}),
            "no_knowledge": pd.DataFrame({"given": ["nothing", "R"], "loss": [4.0, 2.5]}),
        },
        {"rest": rest, "languages": list("ABCDEFGH"[:languages])},
    )
    unification = "unification, layer 2"
    outcome = "no rise" if not steps else "rises" if len(steps) == 1 else "rises twice"
    first, second = (*steps, np.nan, np.nan)[:2]
    onset = {
        "quantity": unification,
        "unit": "excess of S - X",
        "outcome": outcome,
        "step": first,
        "second_step": second,
    }
    names = ("the excess of S − X", "retrieval", "causal unification")
    found = {
        "name": verdict,
        "strands": [{"name": name, "found": side} for name, side in zip(names, strands, strict=True)],
    }
    phases = Finding(
        "phases",
        ["Unified: .5 [.4, .6]."],
        {
            "onsets": pd.DataFrame([onset]),
            "lags": pd.DataFrame([{"first": "recall", "second": unification, "value": 0.5, "sign": order}]),
        },
        {"headline": 2, "verdict": found if verdict else None},
    )
    return {"learning": learning, "phases": phases}


def told(finished=True, **outcome):
    story = story_of(planted(**outcome), finished)
    assert story is not None
    return story


@pytest.mark.parametrize(
    ("outcome", "headline"),
    [
        ({}, "The languages share their facts: most facts told in one are answered in the other."),
        ({"languages": 8}, "The languages share their facts: most facts told in one are answered in another."),
        (
            {"transfer": 0.3},
            "The languages share their facts, yet only some facts told in one are answered in the other.",
        ),
        (
            {"verdict": "not unified", "strands": (False,) * 3, "transfer": 0.1},
            "The languages keep their facts apart: a fact told in one is not answered in the other.",
        ),
        (
            {"verdict": "not unified", "strands": (False,) * 3},
            "The languages keep their facts apart, yet most facts told in one are answered in the other.",
        ),
        (
            {"verdict": "partly unified", "strands": (True, False, None), "transfer": 0.3},
            "The languages share their facts in part, and only some facts told in one are answered in the other.",
        ),
        ({"recall": 0.11, "transfer": 0.1}, "The model learned no facts."),
        ({"recall": 0.11, "transfer": 0.1, "rests": False}, "The model learned no facts, and training did not settle."),
        (
            {"recall": 0.11, "transfer": 0.1, "rests": False, "loss": 5.0},
            "Training diverged: the model ends worse than one that knows nothing.",
        ),
        (
            {"recall": 0.11, "transfer": 0.1, "rests": False, "loss": np.nan},
            "Training diverged: the model ends worse than one that knows nothing.",
        ),
        (
            {"no_transfer": "no transfer items: no fact is mono"},
            "The languages share their facts; whether a fact told in one is answered in the other can't be asked here.",
        ),
        (
            {"verdict": ""},
            "The model recalls its facts; whether the languages share them can't be told; most facts told in one are "
            "answered in the other.",
        ),
    ],
)  # fmt: skip
def test_a_headline_for_each_outcome(outcome, headline):
    assert told(**outcome).headline == headline


def test_the_sentences_agree_with_the_headline():
    learned, met, evidence = told(steps=(173.0, 482.0)).sentences
    assert learned.startswith("The model recalls all of what it was told, and answers most facts")
    assert met == "The languages met in two rises, around steps 173 and 482, after recall."
    assert evidence.startswith("The evidence for unification: ")
    assert evidence.count(";") == 2
    apart = told(verdict="not unified", strands=(False, False, None), transfer=0.1).sentences
    assert "no better than by a guess" in apart[0]
    assert "did not meet" in apart[1]
    assert "evidence for unification" not in apart[2]
    assert "Not known: causal unification." in apart[2]
    nothing = told(recall=0.1, transfer=0.1).sentences
    assert nothing[0] == "The model recalls no more than the best guess without facts."
    assert nothing[2].endswith("No fact is recalled, so this says nothing about knowledge.")
    assert "can't be dated" in told(steps=()).sentences[1]
    assert "not at rest" in told(rests=False).sentences[0]
    assert "no fact is mono" in told(no_transfer="no transfer items: no fact is mono").sentences[0]
    assert "can't be told" in told(verdict="").sentences[1]
    assert told(finished=False).sentences[0].startswith("So far the model")


def test_no_digits_but_steps_stand_in_the_way_and_the_numbers_are_the_questions_own():
    story = told()
    assert not any(sign.isdigit() for sign in story.headline + story.sentences[0] + story.sentences[2])
    assert story.numbers == ("Recall is 1.0 [.9, 1.0].", "The run rests.", "Unified: .5 [.4, .6].")
    assert story_of({"learning": planted()["learning"]}, True) is None


def test_a_share_counts_where_its_interval_is_above_guessing():
    assert amount(0.9999, 0.99, FLOOR) == "all"
    assert amount(0.97, 0.96, FLOOR) == "nearly all"
    assert amount(0.6, 0.5, FLOOR) == "most"
    assert amount(0.3, 0.2, FLOOR) == "some"
    assert amount(0.15, FLOOR, FLOOR) == GUESSED
    assert amount(np.nan, np.nan, FLOOR) == GUESSED


def test_a_claim_is_a_sentence_without_its_numbers():
    found = Finding("patching", ["Swapping a fact in works (1.0 [.9, 1.1]; 20 pairs). More."], {})
    assert own_claim("patching", found) == "Swapping a fact in works."
    assert own_claim("my.question", found) == ""


def test_terms_are_marked_once_and_the_rest_is_escaped():
    text = str(with_terms("S − X of <b>mono</b> facts; S again; monochrome, causal unification"))
    assert text.count("<button") == 4
    assert "&lt;b&gt;" in text
    assert ">mono</button>chrome" not in text
    assert 'aria-describedby="term-causal-unification"' in text
