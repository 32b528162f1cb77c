"""A run's settings: frozen, strict, and documented under each field. All defaults stand here.

`RunConfig()` is the default run; `RunConfig(world=WorldConfig(n_entities=200), seed=3)` changes it. Commands read the
same settings from TOML files and from `--SECTION.FIELD VALUE`. `parse_config` turns either into a RunConfig, or raises
an InputError that says in one sentence what is wrong.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from mechxl.checks import hold_together, idle_settings
from mechxl.errors import InputError, quoted, shown

Number = int | float | None


LARGEST_SEED = 2**63 - 1  # that all random generators take
DIGESTS = ("world.digest", "tokenization.digest")  # of what a run was made from; training writes them down


def setting(default: Any, meaning: str, *, low: Number = None, above: Number = None, high: Number = None) -> Any:
    """A documented field: its meaning, and its range, which --help shows and pydantic checks.

    Args:
        default: the value if none is given.
        meaning: a phrase that says what the setting is, with its unit.
        low: smallest value allowed.
        above: value that the setting must exceed.
        high: largest value allowed.
    """
    floor = f"at least {low:,}" if low is not None else f"above {above:,}" if above is not None else ""
    ceiling = f"at most {high:,}" if high is not None else ""
    bounds = ", ".join(part for part in (floor, ceiling) if part)
    description = f"{meaning} [{bounds}]" if bounds else meaning
    # Numbers with a range are strict: true is not 1, and "3" is not 3.
    numeric: dict[str, Any] = {"allow_inf_nan": False, "strict": True} if bounds else {}
    return Field(default, ge=low, gt=above, le=high, description=description, **numeric)


class Settings(BaseModel):
    """Base class of all settings: immutable; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WorldConfig(Settings):
    """world: the facts, apart from any language, and where they are from."""

    n_entities: int = setting(1000, "entities that occur in training", low=2, high=10_000_000)
    n_relations: int = setting(4, "relations; every entity has one value in each", low=1, high=1000)
    n_values: int = setting(16, "values of each relation, its own", low=2, high=10_000)
    n_unseen: int = setting(
        128,
        "further entities, which occur in no training sentence; answers about them show the model's prior",
        low=0,
        high=10_000_000,
    )
    shared_facts: float = setting(1.0, "share of facts with the same value in every language", low=0, high=1)
    value_distribution: Literal["uniform", "zipf"] = setting("uniform", "how values are drawn")
    frequency: Literal["uniform", "zipf"] = setting("uniform", "how often a fact is told")
    zipf_exponent: float = setting(1.0, "s in P(rank) ~ rank^-s, for values and for frequency", low=0, high=10)
    source: Literal["generated", "csv", "cldr"] = setting(
        "generated",
        "where facts and words are from: generated ones; csv: a file of one's own (world.file); cldr: real names from "
        "Unicode's CLDR, through Babel (pip install 'mechxl[cldr]')",
    )
    file: str = setting("", "csv: the file of facts (python -m mechxl.facts check FILE says what it holds)")
    digest: str = setting(
        "", "csv, cldr: SHA-256 of the file, or of CLDR's facts; training writes it down, and refuses other facts"
    )
    relations: tuple[str, ...] = setting((), "csv, cldr: the relations that are told; empty: all of the source")
    unseen_share: float = setting(
        0.1, "csv, cldr: share of the source's entities that no training sentence names", low=0, high=0.9
    )
    seed: int | None = setting(None, "seed of the facts; None follows --seed", low=0, high=LARGEST_SEED)


class LanguagesConfig(Settings):
    """languages: how facts are put into words."""

    count: int = setting(2, "number of languages, called A, B, ...; with codes, it follows from them", low=2, high=8)
    codes: tuple[str, ...] = setting(
        (), "csv, cldr: the languages, as the file names them, or as locales (en de ru ar)"
    )
    letters: Literal["own", "apart", "first"] = setting(
        "own",
        "csv, cldr: the letters of the languages after the first; own: as the source has them; apart: each exchanged, "
        "by seed, for one that no word has; first: for one of the first language's",
    )
    name_syllables: int = setting(36, "syllables in a language's inventory for names", low=1, high=1_000_000)
    name_length: int = setting(2, "syllables in a name", low=1, high=8)
    word_syllables: int = setting(
        96, "syllables in a language's inventory for relation and value words", low=1, high=1_000_000
    )
    word_length: int = setting(1, "syllables in a relation or value word", low=1, high=8)
    shared_names: float = setting(1.0, "share of entities with the same name in every language", low=0, high=1)
    shared_words: float = setting(
        0.0, "share of relation words and of value words that are the same in every language", low=0, high=1
    )
    word_order: Literal["same", "varied"] = setting(
        "same", "same: all say entity relation value; varied: every second language says relation entity value"
    )
    script: Literal["shared", "distinct"] = setting(
        "shared", "shared: one alphabet (a-z); distinct: an alphabet of its own for each language"
    )
    cue: Literal["none", "tag"] = setting("none", "tag: each sentence begins with its language's tag word")
    cue_dropout: float = setting(
        0.0, "probability that training leaves the tag out, each time that it draws a sentence", low=0, high=1
    )
    seed: int | None = setting(None, "seed of the lexicon; None follows --seed", low=0, high=LARGEST_SEED)

    @model_validator(mode="before")
    @classmethod
    def _count_codes(cls, raw: Any) -> Any:
        """Codes say how many languages there are; the default count does not contradict them."""
        codes = raw.get("codes", ()) if isinstance(raw, dict) else ()
        if isinstance(codes, list | tuple) and len(codes) > 2 and raw.get("count", 2) == 2:
            return raw | {"count": len(codes)}
        return raw


class MixtureConfig(Settings):
    """mixture: which facts are told in which language, and how often."""

    parallel_fraction: float = setting(
        0.5, "share of facts told in every language (parallel); each other fact (mono) is told in one", low=0, high=1
    )
    informativeness: float = setting(
        0.0,
        "how much a mono fact's language says about its value: k in P(language | value) = (1 - k) share + k home",
        low=0,
        high=1,
    )
    language_shares: tuple[float, ...] = setting(
        (), "the languages' shares of the mono facts, summing to 1; empty: equal"
    )
    unit: Literal["fact", "entity"] = setting("fact", "entity: an entity's mono facts are all told in one language")
    exposure: Literal["per_telling", "per_fact"] = setting(
        "per_telling",
        "per_telling: each of a fact's tellings is drawn as often as a mono fact's; per_fact: they share that weight",
    )
    seed: int | None = setting(
        None, "seed of which fact is told in which language; None follows --seed", low=0, high=LARGEST_SEED
    )


class TokenizationConfig(Settings):
    """tokenization: how words are cut into tokens."""

    kind: Literal["word", "syllable", "character", "byte", "bpe", "byte_bpe", "file"] = setting(
        "syllable",
        "what a token is; byte_bpe: BPE over bytes; file: as a ready tokenizer cuts words (tokenization.file)",
    )
    vocab_size: int = setting(
        200, "size of the vocabulary, 3 special tokens included (bpe and byte_bpe only)", low=4, high=1_000_000
    )
    file: str = setting("", "a Hugging Face tokenizer.json on this machine (file only)")
    digest: str = setting("", "SHA-256 of that file; training writes it down, and refuses another file")


class ModelConfig(Settings):
    """model: the size and the parts of the HookedTransformer."""

    n_layers: int = setting(2, "number of blocks", low=1, high=64)
    d_model: int = setting(64, "width of the residual stream", low=1, high=100_000)
    n_heads: int = setting(2, "attention heads in each block; must divide d_model", low=1, high=100_000)
    d_mlp: int = setting(256, "width of the MLP", low=1, high=1_000_000)
    act_fn: Literal["gelu", "relu"] = setting("gelu", "activation of the MLP")
    normalization: Literal["LN", "RMS"] = setting("LN", "LayerNorm or RMSNorm")
    init_std: float = setting(
        0.02,
        "standard deviation of the initial weights (HookedTransformer's default is .8 / sqrt(d_model))",
        above=0,
        high=10,
    )


class TrainingConfig(Settings):
    """training: how the model learns, and what is saved."""

    steps: int = setting(3000, "optimizer steps", low=1, high=1_000_000_000)
    batch_size: int = setting(512, "sentences in each step, drawn with replacement", low=1, high=10_000_000)
    learning_rate: float = setting(2e-3, "AdamW's learning rate after warm-up", above=0, high=10)
    betas: tuple[float, float] = setting((0.9, 0.99), "AdamW's betas, each in [0, 1)")
    weight_decay: float = setting(0.1, "AdamW's decoupled weight decay, on all parameters", low=0, high=10)
    warmup_steps: int = setting(100, "steps of linear warm-up", low=0, high=1_000_000_000)
    schedule: Literal["constant", "cosine", "wsd"] = setting(
        "cosine",
        "learning rate after warm-up; cosine falls to 0; wsd (warm-up, stable, decay) is constant and then falls "
        "linearly to 0",
    )
    decay_share: float = setting(0.2, "share of the steps, at the end, in which wsd falls", above=0, high=1)
    objective: Literal["answer", "all"] = setting(
        "answer", "answer: loss on the answer's tokens; all: loss on every token"
    )
    pull: float = setting(
        0.0,
        "weight of an added loss on representations: above 0 it pulls a fact's vectors in the languages together, "
        "below 0 it pushes them apart; 0: no such loss (docs/unification.md)",
        low=-1000,
        high=1000,
    )
    pull_layer: int = setting(
        1,
        "layer of the residual stream on which pull acts, at the prompt's last token (l: after l blocks)",
        low=1,
        high=64,
    )
    pull_pairs: Literal["same", "permuted"] = setting(
        "same",
        "same: pull joins a fact's own vectors; permuted (control): those of two entities, always the same two",
    )
    pull_facts: Literal["all", "mono", "parallel"] = setting("all", "the facts that pull acts on")
    late_step: int = setting(
        0, "updates after which the late_ settings hold (on the CPU only); 0: never", low=0, high=1_000_000_000
    )
    late_weight_decay: float | None = setting(None, "weight decay from late_step on; None: as before", low=0, high=10)
    late_frozen: Literal["none", "embeddings", "attention", "mlp"] = setting(
        "none",
        "parameters that stay as they are from late_step on: embeddings of tokens and positions, or attention or MLP "
        "of every block, with the norm before it",
    )
    late_facts: Literal["all", "mono"] = setting("all", "mono: from late_step on only mono facts are told")
    checkpoints: int = setting(
        30,
        "checkpoints, step 0 and the last included: half are spaced geometrically up to steps/10, half linearly",
        low=2,
        high=100_000,
    )
    evaluate_every: int = setting(
        50,
        "steps between evaluations (every checkpoint is evaluated too); this gap limits the precision of onsets: to "
        "know one within 10 % at step S, evaluate every S / 5",
        low=1,
        high=1_000_000_000,
    )
    evaluate_items: int = setting(
        8192,
        "questions in each evaluation, the same seeded sample each time, stratified by group; 0: all; the last step "
        "always asks all",
        low=0,
        high=1_000_000_000,
    )
    device: str = setting("auto", "torch device: auto, cpu, cuda, cuda:1, mps ...")
    precision: Literal["float32", "float64", "tf32", "bf16"] = setting(
        "float32",
        "floating point type of the parameters; tf32 and bf16 (GPU only): float32 parameters, but factors of matrix "
        "products in training are rounded",
    )
    threads: int = setting(
        0, "torch threads; 0 leaves the number as it is, and so respects OMP_NUM_THREADS", low=0, high=1024
    )
    init_seed: int | None = setting(None, "seed of the initial weights; None follows --seed", low=0, high=LARGEST_SEED)
    order_seed: int | None = setting(
        None, "seed of the order of batches; None follows --seed", low=0, high=LARGEST_SEED
    )

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
    """The five seeds of a run: each is its own setting if that is given, and the run's `seed` if not."""

    world: int
    languages: int
    mixture: int
    init: int
    order: int


class RunConfig(Settings):
    """All settings of a run.

    Example:
        >>> from mechxl.config import TrainingConfig, WorldConfig
        >>> config = RunConfig(seed=3, world=WorldConfig(n_entities=200), training=TrainingConfig(steps=600))
        >>> config.world.n_relations, config.seeds.world
    """

    seed: int = setting(0, "the value of each of the five seeds below that is not given", low=0, high=LARGEST_SEED)
    world: WorldConfig = WorldConfig()
    languages: LanguagesConfig = LanguagesConfig()
    mixture: MixtureConfig = MixtureConfig()
    tokenization: TokenizationConfig = TokenizationConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def seeds(self) -> Seeds:
        """The five seeds; `seed` stands in for those that were not given."""
        given = (
            self.world.seed,
            self.languages.seed,
            self.mixture.seed,
            self.training.init_seed,
            self.training.order_seed,
        )
        return Seeds(*(self.seed if seed is None else seed for seed in given))

    @property
    def shares(self) -> tuple[float, ...]:
        """The languages' shares of the mono facts; equal ones if none were given."""
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


def _sentence(item: ErrorDetails) -> str:
    """pydantic's account of one bad setting as `section.field = value: reason; the nearest that works`."""
    path = [part for part in item["loc"] if isinstance(part, str)]
    name, kind, context = ".".join(path), item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{name}: there is no such setting; {_known_settings(path)}"
    bounds = {"greater_than_equal": "ge", "less_than_equal": "le", "greater_than": "gt"}
    if kind in bounds:
        bound = context[bounds[kind]]
        reason = {
            "ge": f"must be at least {bound:g}",
            "le": f"must be at most {bound:g}",
            "gt": f"must be above {bound:g}",
        }
        works = f"; the nearest that works: {bound:g}" if kind != "greater_than" else ""
        return f"{name} = {shown(item['input'])}: {reason[bounds[kind]]}{works}"
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
    return f"{name} = {quoted(item['input'])}: {reason}"


def _known_settings(path: list[str]) -> str:
    """What to write instead of an unknown setting: the one with the most similar name, or all that its section has."""
    settings: BaseModel = RunConfig()
    for part in path[:-1]:
        settings = getattr(settings, part)
    known = list(type(settings).model_fields)
    if similar := difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5):
        return f"did you mean {'.'.join([*path[:-1], similar[0]])}"
    return f"there are: {', '.join(known)}"


def differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The settings in which two runs differ, with both values: `{"world.n_entities": (1000, 200)}`.

    A digest that is not written down yet differs from none.
    """
    first, second = flat(one), flat(other)
    both = {name: (first[name], second[name]) for name in first if first[name] != second[name]}
    return {name: values for name, values in both.items() if name not in DIGESTS or all(values)}


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that are not at their default, without seeds and shares that follow from other settings."""
    changed = differences(RunConfig(seed=config.seed), config)
    if not config.mixture.language_shares:  # equal ones, which follow from the number of languages
        changed.pop("mixture.language_shares", None)
    return ({"seed": config.seed} if config.seed else {}) | {name: value for name, (_, value) in changed.items()}


def flat(config: RunConfig) -> dict[str, Any]:
    """All settings by dotted name; the five seeds stand in place of `seed`, and equal shares are written out."""
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
    """The settings as nested plain values.

    Seeds that were not given are left out: they follow `seed` when read. So are settings of other sources of facts.
    """
    table = config.model_dump(mode="json", exclude_none=True)
    for name in idle_settings(config):
        section, field = name.split(".")
        table[section].pop(field, None)  # None is left out before
    return table
