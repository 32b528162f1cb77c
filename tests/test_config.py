"""Settings: what is refused, and with which advice; seeds, checkpoints, differences and TOML."""

import ast
import copy
import tomllib
from itertools import pairwise
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from mechxl.config import RunConfig, TrainingConfig, as_toml_table, changed_settings, differences, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.errors import InputError

WORKS = "the nearest that works: "


def refusal(raw: dict[str, Any]) -> str:
    with pytest.raises(InputError) as error:
        build_corpus(parse_config(raw))
    return str(error.value)


def value_of(text: str) -> Any:
    """The value that an advice spells: a number, a list, numbers in a row, a choice, or empty."""
    if text.startswith("empty"):
        return []
    if " " in text and "[" not in text:
        return [float(part) for part in text.split(" ")]
    return ast.literal_eval(text) if text[0] in "[-.0123456789" else text


def advised(raw: dict[str, Any], message: str) -> list[dict[str, Any]]:
    """The settings with each of the alternatives that the message offers."""
    refused = message.split(" = ", 1)[0]
    fixed = []
    for option in message.split(WORKS, 1)[1].split(" or "):
        name, _, text = option.rpartition(" = ")
        section, field = (name or refused).split(".")
        changed = copy.deepcopy(raw)
        changed.setdefault(section, {})[field] = value_of(text)
        fixed.append(changed)
    return fixed


TOO_MANY = [
    # more entities than names: all names shared, none, some; without room for the unseen ones
    ({"world": {"n_entities": 1200}}, "world.n_entities = 1200"),
    ({"world": {"n_entities": 1290}, "languages": {"shared_names": 0.0}}, "world.n_entities = 1290"),
    ({"world": {"n_entities": 2000}, "languages": {"shared_names": 0.3}}, "world.n_entities = 2000"),
    ({"world": {"n_entities": 3000}, "languages": {"shared_names": 0.5}}, "world.n_entities = 3000"),
    ({"world": {"n_entities": 1297, "n_unseen": 0}}, "world.n_entities = 1297"),
    ({"world": {"n_entities": 1000, "n_unseen": 1296}}, "world."),
    ({"world": {"n_entities": 1000}, "languages": {"name_length": 1}}, "world."),
    ({"world": {"n_entities": 30, "n_unseen": 0}, "languages": {"name_syllables": 1, "name_length": 8}}, "world."),
    # more values than words
    ({"world": {"n_values": 24}}, "world.n_values = 24"),
    ({"world": {"n_values": 40}, "languages": {"shared_words": 1.0}}, "world.n_values = 40"),
    ({"world": {"n_values": 60}, "languages": {"shared_words": 0.5}}, "world.n_values = 60"),
    ({"world": {"n_values": 600}, "languages": {"word_syllables": 6}}, "world.n_values = 600"),
    (
        {"world": {"n_values": 100, "n_relations": 3}, "languages": {"word_syllables": 2, "word_length": 8}},
        "world.n_values = 100",
    ),
    ({"world": {"n_values": 3}, "languages": {"word_syllables": 2, "word_length": 3}}, "world.n_values = 3"),
    ({"world": {"n_values": 300}, "languages": {"word_syllables": 2, "word_length": 8}}, "world.n_values = 300"),
]
REFUSED = [
    *TOO_MANY,
    ({"languages": {"shared_names": 1.5}}, "languages.shared_names = 1.5"),
    ({"world": {"shared_facts": 1.01}}, "world.shared_facts = 1.01"),
    ({"mixture": {"parallel_fraction": -0.1}}, "mixture.parallel_fraction = -0.1"),
    ({"mixture": {"language_shares": [0.2, 0.3, 0.5]}}, "mixture.language_shares = [0.2, 0.3, 0.5]"),
    ({"mixture": {"language_shares": [0.5, 0.6]}}, "mixture.language_shares = [0.5, 0.6]"),
    ({"mixture": {"language_shares": [0.0, 0.0]}}, "mixture.language_shares = [0.0, 0.0]"),
    ({"mixture": {"language_shares": [1.5, -0.5]}}, "mixture.language_shares = [1.5, -0.5]"),
    ({"mixture": {"language_shares": [0.5, float("nan")]}}, "mixture.language_shares = [0.5, nan]"),
    (
        {"languages": {"count": 3}, "mixture": {"language_shares": [1, 1, 1]}},
        "mixture.language_shares = [1.0, 1.0, 1.0]",
    ),
    (
        {"languages": {"count": 3}, "mixture": {"language_shares": [2, 2, 0]}},
        "mixture.language_shares = [2.0, 2.0, 0.0]",
    ),
    ({"mixture": {"unit": "entity", "informativeness": 0.5}}, "mixture.informativeness = 0.5"),
    ({"languages": {"cue_dropout": 0.5}}, "languages.cue_dropout = 0.5"),
    ({"tokenization": {"kind": "bpe", "vocab_size": 20}}, "tokenization.vocab_size = 20"),
    ({"tokenization": {"kind": "bpe", "vocab_size": 9000}}, "tokenization.vocab_size = 9000"),
    ({"model": {"n_heads": 5}}, "model.n_heads = 5"),
    ({"model": {"n_heads": 100}}, "model.n_heads = 100"),
    ({"training": {"betas": [0.9, 1.0]}}, "training.betas = [0.9, 1.0]"),
    ({"training": {"pull": 1, "pull_layer": 3}}, "training.pull_layer = 3"),
    ({"training": {"pull": 1, "pull_layer": 0}}, "training.pull_layer = 0"),
    ({"training": {"late_step": 3000, "late_facts": "mono"}}, "training.late_step = 3000"),
    ({"training": {"late_step": 30}}, "training.late_step = 30"),
    ({"training": {"late_frozen": "mlp"}}, "training.late_frozen = 'mlp'"),
    (
        {"training": {"late_step": 30, "late_facts": "mono"}, "mixture": {"parallel_fraction": 1.0}},
        "training.late_facts = mono",
    ),
    ({"training": {"pull_pairs": "permuted"}}, "training.pull_pairs = 'permuted'"),
    ({"world": {"n_entities": 1}}, "world.n_entities = 1"),
    ({"languages": {"count": 9}}, "languages.count = 9"),
    ({"languages": {"count": 1}}, "languages.count = 1"),
    ({"training": {"checkpoints": 1}}, "training.checkpoints = 1"),
    ({"training": {"init_seed": -3}}, "training.init_seed = -3"),
]


@pytest.mark.parametrize(("raw", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_a_refusal_names_setting_and_value_and_its_advice_is_accepted(raw: dict, said: str):
    message = refusal(raw)
    assert message.startswith(said)
    assert "\n" not in message
    assert WORKS in message
    for changed in advised(raw, message):
        build_corpus(parse_config(changed))


@pytest.mark.parametrize(("n_heads", "nearest"), [(5, 4), (7, 8), (100, 64), (33, 32)])
def test_the_advised_number_of_heads_is_the_nearest_divisor(n_heads: int, nearest: int):
    assert refusal({"model": {"n_heads": n_heads}}).endswith(f"{WORKS}model.n_heads = {nearest}")


def next_towards(raw: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any] | None:
    """The advice, one less far from what was refused; None where it changes no whole number."""
    for section, fields in changed.items():
        for field, value in fields.items():
            before = raw.get(section, {}).get(field, getattr(getattr(RunConfig(), section), field))
            if value != before and isinstance(value, int):
                back = copy.deepcopy(changed)
                back[section][field] = value + (1 if before > value else -1)
                return back
    return None


@pytest.mark.parametrize(("raw", "said"), TOO_MANY)
def test_nothing_nearer_than_the_advice_works(raw: dict, said: str):
    for changed in advised(raw, refusal(raw)):
        nearer = next_towards(raw, changed)
        assert nearer is not None
        with pytest.raises(InputError):
            build_corpus(parse_config(nearer))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"world": {"n_entity": 5}}, "world.n_entity: there is no such setting; did you mean world.n_entities"),
        ({"wrld": {}}, "wrld: there is no such setting; did you mean world"),
        ({"world": {"zzz": 5}}, "world.zzz: there is no such setting; there are: n_entities,"),
        ({"world": {"n_entities": "many"}}, "world.n_entities = 'many': must be a whole number"),
        ({"world": {"n_entities": 10.5}}, "world.n_entities = 10.5: must be a whole number"),
        ({"world": {"n_entities": []}}, "world.n_entities = []: must be a whole number"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate = 'fast': must be a number"),
        ({"world": {"frequency": "often"}}, "world.frequency = 'often': must be one of 'uniform' or 'zipf'"),
        ({"training": {"device": 3}}, "training.device = 3: must be text"),
        ({"mixture": {"language_shares": 0.5}}, "mixture.language_shares = 0.5: must be a list"),
        ({"world": 3}, "world = 3: must be a section of settings, [world]"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate = nan: must be a finite number"),
        ({"training": {"learning_rate": float("inf")}}, "training.learning_rate = inf: must be a finite number"),
        ({"mixture": {"informativeness": float("nan")}}, "mixture.informativeness = nan: must be a finite number"),
        ({"training": {"betas": [float("nan"), 0.9]}}, "training.betas = [nan, 0.9]: each beta must lie in [0, 1)"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate = 0: must be above 0"),
        ({"model": {"init_std": -1.0}}, "model.init_std = -1.0: must be above 0"),
    ],
)
def test_what_is_no_setting_or_no_value_is_said_in_a_sentence(raw: dict, said: str):
    assert refusal(raw).startswith(said)


def test_every_mistake_is_said():
    message = refusal({"world": {"n_entities": 1, "n_relations": "x"}, "model": {"n_layers": 0}})
    assert [part.split(" = ")[0] for part in message.split("; ") if " = " in part] == [
        "world.n_entities",
        "world.n_relations",
        "model.n_layers",
    ]


def test_settings_can_not_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().world.n_entities = 5


def test_default_checkpoints():
    early = {round(300 ** (i / 13)) for i in range(14)}
    late = [300 + 180 * i for i in range(1, 16)]
    assert TrainingConfig().checkpoint_steps() == [0, *sorted(early), *late]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 100_000), st.integers(2, 200))
def test_checkpoints_begin_at_0_and_end_at_the_last_step(steps: int, checkpoints: int):
    found = TrainingConfig(steps=steps, checkpoints=checkpoints).checkpoint_steps()
    assert (found[0], found[-1]) == (0, steps)
    assert found == sorted(set(found))
    assert len(found) <= checkpoints
    assert all(isinstance(step, int) for step in found)
    if steps >= 20 * checkpoints:
        linear = found[-(checkpoints // 2) :]
        gaps = {b - a for a, b in pairwise(linear)}
        assert max(gaps, default=0) - min(gaps, default=0) <= 1


def test_seed_fills_the_seeds_that_are_not_given():
    raw = {"seed": 7, "languages": {"seed": 0}, "training": {"order_seed": 3}}
    seeds = parse_config(raw).seeds
    assert (seeds.world, seeds.languages, seeds.mixture, seeds.init, seeds.order) == (7, 0, 7, 7, 3)


def test_shares_are_filled_in():
    assert parse_config({"languages": {"count": 4}}).shares == (0.25,) * 4
    assert parse_config({"mixture": {"language_shares": [0.75, 0.25]}}).shares == (0.75, 0.25)


def test_changed_settings_are_those_that_do_not_follow_from_others():
    assert changed_settings(RunConfig()) == {}
    assert changed_settings(RunConfig(seed=3)) == {"seed": 3}  # and not the five that follow it
    assert changed_settings(parse_config({"languages": {"count": 3}})) == {
        "languages.count": 3
    }  # and not the equal shares
    shares = parse_config({"mixture": {"language_shares": [0.25, 0.75]}, "world": {"seed": 7}})
    assert changed_settings(shares) == {"mixture.language_shares": (0.25, 0.75), "world.seed": 7}


def test_differences():
    one = parse_config({"seed": 1, "world": {"n_entities": 200}})
    assert differences(one, one) == {}
    same = {
        "world": {"n_entities": 200, "seed": 1},
        "languages": {"seed": 1},
        "mixture": {"seed": 1, "language_shares": [0.5, 0.5]},
    }
    assert differences(one, parse_config(same | {"training": {"init_seed": 1, "order_seed": 1}})) == {}
    other = parse_config({"seed": 1, "world": {"n_entities": 100, "seed": 2}, "languages": {"count": 3}})
    assert differences(one, other) == {
        "world.n_entities": (200, 100),
        "world.seed": (1, 2),
        "languages.count": (2, 3),
        "mixture.language_shares": ((0.5, 0.5), (1 / 3, 1 / 3, 1 / 3)),
    }


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"seed": 5, "world": {"seed": 0, "shared_facts": 0.1}, "training": {"betas": [0.8, 0.95], "init_seed": 2}},
        {"languages": {"count": 3, "cue": "tag"}, "mixture": {"language_shares": [0.1, 0.2, 0.7]}},
    ],
)
def test_toml_round_trip(raw: dict):
    config = parse_config(raw)
    text = tomli_w.dumps(as_toml_table(config))
    again = parse_config(tomllib.loads(text))
    assert again == config
    assert again.seeds == config.seeds
