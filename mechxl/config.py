"""A run's settings: frozen, strict, and documented under each field. Defaults stand here and nowhere else.

`RunConfig()` is the default run; `RunConfig(world=WorldConfig(n_entities=200), seed=3)` changes it. Commands read the
same settings from TOML files and from `--SECTION.FIELD VALUE`; `parse_config` turns either into a RunConfig or into one
clear sentence (`InputError`).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mechxl.checks import hold_together
from mechxl.errors import InputError

Number = int | float | None


def setting(default: Any, meaning: str, *, low: Number = None, above: Number = None, high: Number = None) -> Any:
    """A documented field: its meaning, and its range both as text (for --help) and as a check.

    Args:
        default: the value where none is given.
        meaning: a phrase that says what the setting is, with its unit.
        low: smallest value allowed.
        above: value that the setting must exceed.
        high: largest value allowed.
    """
    floor = f"at least {low:,}" if low is not None else f"above {above:,}" if above is not None else ""
    ceiling = f"at most {high:,}" if high is not None else ""
    bounds = ", ".join(part for part in (floor, ceiling) if part)
    description = f"{meaning} [{bounds}]" if bounds else meaning
    # A number with a range is taken strictly: true is not 1, and "3" is not 3.
    numeric: dict[str, Any] = {"allow_inf_nan": False, "strict": True} if bounds else {}
    return Field(default, ge=low, gt=above, le=high, description=description, **numeric)


class Section(BaseModel):
    """Base of all settings: immutable, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WorldConfig(Section):
    """world: the facts, apart from any language."""

    n_entities: int = setting(1000, "entities that training tells facts about", low=2, high=10_000_000)
    n_relations: int = setting(4, "relations; every entity has one value in each", low=1, high=1000)
    n_values: int = setting(16, "values of each relation, its own", low=2, high=10_000)
    n_unseen: int = setting(128, "further entities, in no training sentence: asked about, they show the prior", low=0)
    shared_facts: float = setting(1.0, "share of facts with the same value in every language", low=0, high=1)
    value_distribution: Literal["uniform", "zipf"] = setting("uniform", "how values are drawn")
    frequency: Literal["uniform", "zipf"] = setting("uniform", "how often a fact is told")
    zipf_exponent: float = setting(1.0, "s in P(rank) ~ rank^-s, for values and for frequency", low=0, high=10)
    seed: int | None = setting(None, "seed of the facts; None follows --seed", low=0)


class LanguagesConfig(Section):
    """languages: how facts are put into words."""

    count: int = setting(2, "languages, called A, B, ...", low=2, high=8)
    name_syllables: int = setting(36, "syllables that a language's names are built from", low=1)
    name_length: int = setting(2, "syllables in a name", low=1, high=8)
    word_syllables: int = setting(96, "syllables that a language's relation and value words are built from", low=1)
    word_length: int = setting(1, "syllables in a relation or value word", low=1, high=8)
    shared_names: float = setting(1.0, "share of entities with the same name in every language", low=0, high=1)
    shared_words: float = setting(0.0, "share of relation words and of value words that are the same", low=0, high=1)
    word_order: Literal["same", "varied"] = setting(
        "same", "same: entity relation value; varied: every second language says relation entity value"
    )
    script: Literal["shared", "distinct"] = setting(
        "shared", "shared: one alphabet (a-z); distinct: an alphabet of its own for each language"
    )
    cue: Literal["none", "tag"] = setting("none", "tag: each sentence begins with its language's tag word")
    cue_dropout: float = setting(
        0.0, "probability that training leaves the tag out, drawn anew at every draw of a telling", low=0, high=1
    )
    seed: int | None = setting(None, "seed of the lexicon; None follows --seed", low=0)


class MixtureConfig(Section):
    """mixture: which fact is told in which language, and how often."""

    parallel_fraction: float = setting(
        0.5, "share of facts told in every language; the others (mono) are told in one", low=0, high=1
    )
    informativeness: float = setting(
        0.0, "k in P(language | value) = (1 - k) share + k home: 0 none, 1 the most", low=0, high=1
    )
    language_shares: tuple[float, ...] = setting(
        (), "the languages' shares of the mono facts, summing to 1; empty: equal"
    )
    unit: Literal["fact", "entity"] = setting("fact", "entity: an entity's mono facts are all told in one language")
    exposure: Literal["per_telling", "per_fact"] = setting(
        "per_telling", "per_telling: each telling is drawn alike; per_fact: a fact's tellings share one weight"
    )
    seed: int | None = setting(None, "seed of who is told where; None follows --seed", low=0)


class TokenizationConfig(Section):
    """tokenization: how words are cut into tokens."""

    kind: Literal["word", "syllable", "character", "byte", "bpe"] = setting("syllable", "what a token is")
    vocab_size: int = setting(200, "tokens of the BPE vocabulary, the 3 special ones included (bpe only)", low=4)


class ModelConfig(Section):
    """model: the HookedTransformer."""

    n_layers: int = setting(2, "blocks", low=1, high=64)
    d_model: int = setting(64, "width of the residual stream", low=1)
    n_heads: int = setting(2, "attention heads a block; must divide d_model", low=1)
    d_mlp: int = setting(256, "width of the MLP", low=1)
    act_fn: Literal["gelu", "relu"] = setting("gelu", "activation of the MLP")
    normalization: Literal["LN", "RMS"] = setting("LN", "LayerNorm or RMSNorm")
    init_std: float = setting(
        0.02, "standard deviation of initial weights (HookedTransformer's own is .8 / sqrt(d_model))", above=0, high=10
    )


class TrainingConfig(Section):
    """training: how the model learns, and what is kept."""

    steps: int = setting(3000, "optimizer steps", low=1)
    batch_size: int = setting(512, "sentences a step, drawn with replacement", low=1)
    learning_rate: float = setting(2e-3, "AdamW's learning rate after warm-up", above=0, high=10)
    betas: tuple[float, float] = setting((0.9, 0.98), "AdamW's betas, each in [0, 1)")
    weight_decay: float = setting(0.1, "AdamW's decoupled weight decay, on all parameters", low=0, high=10)
    warmup_steps: int = setting(100, "steps of linear warm-up", low=0)
    schedule: Literal["constant", "cosine"] = setting("constant", "learning rate after warm-up; cosine ends at 0")
    objective: Literal["answer", "all"] = setting("answer", "answer: loss on the answer's tokens; all: on every token")
    checkpoints: int = setting(
        30, "checkpoints kept, step 0 and the last included: half geometric to steps/10, half linear", low=2
    )
    evaluate_every: int = setting(
        50,
        "steps between evaluations (and at every checkpoint); an onset is never told more precisely than this gap: for "
        "10 % either way at step S, evaluate every S / 5",
        low=1,
    )
    evaluate_items: int = setting(
        8192, "questions asked at an evaluation, a fixed seeded sample by group; 0: all; the last step asks all", low=0
    )
    device: str = setting("auto", "torch device: auto, cpu, cuda, cuda:1, mps ...")
    precision: Literal["float32", "float64"] = setting("float32", "floating point type of the parameters")
    threads: int = setting(0, "torch threads; 0 leaves them alone (OMP_NUM_THREADS is honoured)", low=0)
    init_seed: int | None = setting(None, "seed of the initial weights; None follows --seed", low=0)
    order_seed: int | None = setting(None, "seed of the order of batches; None follows --seed", low=0)

    def checkpoint_steps(self) -> list[int]:
        """Steps of the checkpoints: 0, half of the rest geometric from 1 to steps/10, the others linear to steps."""
        rest = self.checkpoints - 1
        early = rest // 2
        knee = self.steps / 10
        geometric = np.geomspace(1, max(knee, 1), early)
        linear = np.linspace(knee, self.steps, rest - early + 1)[1:]
        return sorted({0, *(round(float(x)) for x in geometric), *(round(float(x)) for x in linear)})


@dataclass(frozen=True)
class Seeds:
    """The five seeds of a run, each its own or else the run's `seed`."""

    world: int
    languages: int
    mixture: int
    init: int
    order: int


class RunConfig(Section):
    """All settings of a run.

    Example:
        >>> from mechxl.config import TrainingConfig, WorldConfig
        >>> config = RunConfig(seed=3, world=WorldConfig(n_entities=200), training=TrainingConfig(steps=600))
        >>> config.world.n_relations, config.seeds.world
    """

    seed: int = setting(0, "sets the five seeds below that are not given themselves", low=0)
    world: WorldConfig = WorldConfig()
    languages: LanguagesConfig = LanguagesConfig()
    mixture: MixtureConfig = MixtureConfig()
    tokenization: TokenizationConfig = TokenizationConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def seeds(self) -> Seeds:
        """The five seeds with `seed` filled in where none was given."""
        own = (
            self.world.seed,
            self.languages.seed,
            self.mixture.seed,
            self.training.init_seed,
            self.training.order_seed,
        )
        return Seeds(*(self.seed if seed is None else seed for seed in own))

    @property
    def shares(self) -> tuple[float, ...]:
        """The languages' shares of the mono facts, filled in where none were given."""
        count = self.languages.count
        return self.mixture.language_shares or (1 / count,) * count

    @model_validator(mode="after")
    def _hold_together(self) -> "RunConfig":
        hold_together(self)
        return self


def parse_config(raw: Mapping[str, Any]) -> RunConfig:
    """A RunConfig from nested plain values (a TOML file's, a command line's).

    Raises:
        InputError: one sentence naming the setting, its value, the reason and the nearest that works.
    """
    try:
        return RunConfig.model_validate(dict(raw))
    except ValidationError as error:
        raise InputError("; ".join(_sentence(item) for item in error.errors())) from None


def _sentence(item: Any) -> str:
    """pydantic's account of one bad setting as `section.field = value: reason; the nearest that works`."""
    path = [part for part in item["loc"] if isinstance(part, str)]
    name, kind, context = ".".join(path), item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        model: Any = RunConfig
        for part in path[:-1]:
            model = model.model_fields[part].annotation
        near = difflib.get_close_matches(path[-1], model.model_fields, n=1, cutoff=0.5)
        known = ".".join([*path[:-1], near[0]]) if near else ", ".join(model.model_fields)
        return f"{name}: there is no such setting; {'did you mean ' + known if near else 'there are: ' + known}"
    bounds = {"greater_than_equal": "ge", "less_than_equal": "le", "greater_than": "gt"}
    if kind in bounds:
        bound = context[bounds[kind]]
        reason = {
            "ge": f"must be at least {bound:g}",
            "le": f"must be at most {bound:g}",
            "gt": f"must be above {bound:g}",
        }
        works = f"; the nearest that works: {bound:g}" if kind != "greater_than" else ""
        return f"{name} = {item['input']}: {reason[bounds[kind]]}{works}"
    reasons = {
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "int_type": "must be a whole number",
        "float_parsing": "must be a number",
        "float_type": "must be a number",
        "finite_number": "must be a finite number",
        "string_type": "must be text",
        "tuple_type": "must be a list",
        "missing": "must be two numbers",
        "too_long": "must be two numbers",
        "model_type": f"must be a section of settings, [{name}]",
    }
    reason = f"must be one of {context['expected']}" if kind == "literal_error" else reasons.get(kind, item["msg"])
    return f"{name} = {item['input']!r}: {reason}"


def differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Settings in which two runs differ, seeds filled in: `{"world.n_entities": (1000, 200)}`."""
    first, second = flat(one), flat(other)
    return {name: (first[name], second[name]) for name in first if first[name] != second[name]}


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """Settings that are not at their default; seeds and shares that follow from others are not told again."""
    own = differences(RunConfig(seed=config.seed), config)
    if not config.mixture.language_shares:  # equal ones, whose number follows from that of the languages
        own.pop("mixture.language_shares", None)
    return ({"seed": config.seed} if config.seed else {}) | {name: value for name, (_, value) in own.items()}


def flat(config: RunConfig) -> dict[str, Any]:
    """All settings by dotted name, the five seeds (which `seed` stands for) and the shares filled in."""
    values = {
        f"{section}.{field}": value
        for section, fields in config.model_dump().items()
        if isinstance(fields, dict)
        for field, value in fields.items()
    }
    seeds = config.seeds
    return values | {
        "world.seed": seeds.world,
        "languages.seed": seeds.languages,
        "mixture.seed": seeds.mixture,
        "mixture.language_shares": config.shares,
        "training.init_seed": seeds.init,
        "training.order_seed": seeds.order,
    }


def as_toml_table(config: RunConfig) -> dict[str, Any]:
    """The settings as nested plain values; seeds that were not given are left out, and follow `seed` when read back."""
    return config.model_dump(mode="json", exclude_none=True)
