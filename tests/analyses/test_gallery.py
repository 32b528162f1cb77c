"""The gallery: numbers as the results have them, marks where they belong, verdicts that follow from numbers."""

import pytest

from analyses.gallery import (
    CARDS,
    CLAIMS,
    HOLDS,
    IN_PART,
    NOT,
    OPEN,
    Card,
    card_shown,
    claim_shown,
    content,
    ends,
    filled,
)
from analyses.quotes import numbers_of
from analyses.study import with_results

KNOWN = with_results()


def of(study: str) -> dict[str, str]:
    """A study's numbers, without its name."""
    return {key.removeprefix(f"{study}."): text for key, text in numbers_of(study).items()}


def test_marks_lie_where_the_numbers_are():
    numbers = {"x": "−.50", "x.interval": "−.50 [−1.00, .25]", "runs": "3", "y": "1,250"}
    card = Card("s", lambda n: "yes", "It is {x}.", "score", {"one": "x", "two": "y"}, low=-1, high=1)
    shown = card_shown(card, numbers)
    one, two = shown["bars"]
    assert (one["low"], one["at"], one["high"]) == (150, 187.5, 243.8)
    assert two["at"] == 300, "beyond the axis: at its end"
    assert shown["headline"] == "It is −.50."
    assert shown["spoken"] == "one −.50, two 1,250"
    assert ends(numbers, "y") == (1250, 1250, 1250)


@pytest.mark.parametrize(
    ("study", "claim", "numbers", "verdict"),
    [
        ("excess", 1, {"c.alignment.1.p": ".009", "e.score.1.p": ".300"}, IN_PART),
        ("excess", 1, {"c.alignment.1.p": ".300", "e.score.1.p": ".300"}, OPEN),
        ("pulled_together", 2, {"cause": "both", "left.low": ".050"}, IN_PART),
        ("pulled_together", 2, {"cause": "both", "left.low": "−.010"}, HOLDS),
        ("pulled_together", 2, {"cause": "none", "left.low": ".050"}, NOT),
        ("dose_map", 3, {"b.q0.p": ".005", "b.q0": ".700"}, HOLDS),
        ("dose_map", 3, {"b.q0.p": ".005", "b.q0": "−.700"}, NOT),
        ("dose_map", 4, {"a.k1.p": ".060", "a.k1": ".700"}, NOT),
        ("tokenization_timing", 6, {"c.p.holm": ".010", "c.added.p.holm": ".200"}, NOT),
        ("unification_controls", 7, {"all_clear.1.shared_facts_0": "0"}, HOLDS),
        ("unification_controls", 7, {"all_clear.1.shared_facts_0": "6"}, IN_PART),
    ],
)
def test_verdicts_follow_from_the_numbers(study: str, claim: int, numbers: dict[str, str], verdict: str):
    said = CLAIMS[claim - 1]
    assert said.study == study
    assert said.verdict(numbers) == verdict


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.study in KNOWN], ids=lambda claim: claim.study)
def test_claims_name_numbers_that_are_there(claim):
    row = claim_shown(claim, of(claim.study))
    assert "{" not in " ".join(row.values())
    assert all(row.values())


@pytest.mark.parametrize("card", [card for card in CARDS if card.study in KNOWN], ids=lambda card: card.study)
def test_cards_name_numbers_that_are_there(card):
    numbers = of(card.study)
    shown = card_shown(card, numbers)
    assert "{" not in shown["headline"]
    for bar in shown["bars"]:
        assert 150 <= bar["low"] <= bar["at"] <= bar["high"] <= 300


def test_every_claim_of_the_paper_has_a_row_and_its_study_a_card():
    assert len(CLAIMS) == 7
    assert {claim.study for claim in CLAIMS} <= {card.study for card in CARDS}
    assert len(content()["cards"]) == len([card for card in CARDS if card.study in KNOWN])
    assert filled("{a} and {b.c}", {"a": "1", "b.c": "2"}) == "1 and 2"
