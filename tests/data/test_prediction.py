"""Predictions: the law by hand, its domain, and what is said of it."""

import math

import pytest

from mechxl.config import parse_config
from mechxl.data.corpus import build_corpus
from mechxl.data.description import describe
from mechxl.data.guesses import no_fact_accuracies
from mechxl.data.information import informativeness
from mechxl.data.prediction import LAWS, predict, why_no_prediction
from mechxl.data.transfer import transfer_items

HIDDEN = {
    "world": {"n_entities": 200},
    "languages": {"cue": "tag", "shared_words": 1.0, "cue_dropout": 0.1},
    "mixture": {"parallel_fraction": 0.0, "informativeness": 0.75},
    "model": {"d_model": 32, "d_mlp": 128},
    "training": {"batch_size": 256, "steps": 1000},
    "seed": 7,
}


def test_the_law_of_hidden_tags_by_hand():
    config = parse_config(HIDDEN)
    corpus = build_corpus(config)
    found = predict(config, corpus)
    assert found is not None
    assert found.law.study == "dose_map"
    bits = informativeness(corpus, 0, mono_only=True).bits
    guess = no_fact_accuracies(corpus, transfer_items(corpus)).by_asked
    x = 5.0567 + 13.946 * math.log(0.1 + 0.80013) - 5.9073 * bits**0.51365
    by_hand = guess + (1 - guess) / (1 + math.exp(-x))
    assert found.value == pytest.approx(by_hand)
    assert found.value - found.low == pytest.approx(0.3066 * math.sqrt(by_hand * (1 - by_hand)))
    assert found.low < 0.43 < 0.48 < found.high  # the study's mean over seeds is .46 [.43, .48]
    rows = describe(config, corpus).tables["Predicted before training"]
    assert rows[0].value == found.value
    assert f"{found.low:.3f} to {found.high:.3f}" in rows[0].note


@pytest.mark.parametrize(
    ("section", "field", "value", "says"),
    [
        ("world", "n_entities", 300, "world.n_entities = 300, and the study had 200"),
        ("languages", "cue_dropout", 0.6, "languages.cue_dropout = 0.6, and the study went from 0 to 0.5"),
        ("training", "steps", 2000, "training.steps = 2,000, and the study had 1,000"),
    ],
)
def test_outside_of_the_domain_nothing_is_predicted(section: str, field: str, value: float, says: str):
    config = parse_config(HIDDEN | {section: HIDDEN[section] | {field: value}})
    assert predict(config, build_corpus(config)) is None
    assert says in why_no_prediction(config)


def test_what_is_saved_and_which_seeds_are_drawn_does_not_matter():
    for law in LAWS:
        same = {**law.settings, "seed": 3, "training": {**law.settings["training"], "checkpoints": 5, "threads": 2}}
        assert law.outside(parse_config(same)) == ""
