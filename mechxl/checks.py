"""Checks of settings that contradict each other. The range of a single setting stands with it in config.py."""

import bisect
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mechxl.counts import exact_count, shared_counts
from mechxl.errors import refuse

if TYPE_CHECKING:
    from mechxl.config import RunConfig

MOST_SENTENCES = 2_000_000  # of all facts in all languages: 2 GB, and a minute to describe
MOST_WORDS = 2_000_000
MOST_NAMES = 2**62  # that an inventory can give, so that a name's number fits in 64 bits
_GENERATED, _REAL = ("generated",), ("csv", "cldr")
BELONGS = {
    **dict.fromkeys((f"world.{name}" for name in ("n_entities", "n_relations", "n_values", "n_unseen")), _GENERATED),
    "world.value_distribution": _GENERATED,
    **dict.fromkeys((f"languages.{part}" for part in ("name_syllables", "name_length")), _GENERATED),
    **dict.fromkeys((f"languages.{part}" for part in ("word_syllables", "word_length")), _GENERATED),
    **dict.fromkeys((f"languages.{part}" for part in ("shared_names", "shared_words", "script")), _GENERATED),
    "languages.word_order": ("generated", "csv"),
    **dict.fromkeys(("languages.codes", "languages.letters"), _REAL),
    "world.file": ("csv",),
    **dict.fromkeys((f"world.{name}" for name in ("digest", "relations", "unseen_share")), _REAL),
}  # settings that not all sources of facts have: those that do
PULL = tuple(f"training.{name}" for name in ("pull", "pull_layer", "pull_pairs", "pull_facts"))
LATE = tuple(f"training.{name}" for name in ("late_step", "late_weight_decay", "late_frozen", "late_facts"))


def hold_together(config: "RunConfig") -> None:
    """Checks a RunConfig across its sections.

    Raises:
        InputError: two settings contradict each other; the sentence names the nearest values that work.
    """
    _check_source(config)
    generated = (_check_size, _check_names, _check_words) if config.world.source == "generated" else ()
    for check in (*generated, _check_shares, _check_choices, _check_interventions):
        check(config)


def idle_settings(config: "RunConfig") -> list[str]:
    """The settings without effect, by dotted name: of other sources, a tokenizer's file, no pull, no late change."""
    names = [name for name, sources in BELONGS.items() if config.world.source not in sources]
    names += [] if config.tokenization.kind == "file" else ["tokenization.file", "tokenization.digest"]
    names += [] if config.training.pull else PULL
    return names + ([] if config.training.late_step else [*LATE])


def _check_source(config: "RunConfig") -> None:
    """Refuses settings that belong to another source of facts, and a source that lacks what it needs."""
    source = config.world.source
    for name in idle_settings(config):
        section, field = name.split(".")
        settings = getattr(config, section)
        default = type(settings).model_fields[field].default
        if (value := getattr(settings, field)) != default:
            shown = list(value) if isinstance(value, tuple) else repr(value) if isinstance(value, str) else value
            if name in PULL or name in LATE:
                switch, on = ("pull", 1) if name in PULL else ("late_step", config.training.steps // 2)
                reason = f"with training.{switch} = 0 it has no effect"
                works = f"training.{switch} = {on}"
                raise refuse(name, shown, reason, works if default is None else f"{name} = {default} or {works}")
            choice = "world.source" if name in BELONGS else "tokenization.kind"
            found = source if name in BELONGS else config.tokenization.kind
            owners = BELONGS.get(name, ("file",))
            reason = f"with {choice} = {found} it has no effect; it belongs to {' and '.join(owners)}"
            raise refuse(name, shown, reason, f"leave it out, or {choice} = {owners[0]}")
    if config.tokenization.kind == "file" and not config.tokenization.file:
        raise refuse(
            "tokenization.file", "''", "with tokenization.kind = file a file is needed", "a tokenizer.json's path"
        )
    if source == "generated":
        return
    codes = config.languages.codes
    if source == "csv" and not config.world.file:
        raise refuse("world.file", "''", "with world.source = csv a file of facts is needed", "a CSV file's path")
    if not codes:
        listed = "python -m mechxl.facts check FILE lists the file's" if source == "csv" else "en de ru ar, say"
        raise refuse("languages.codes", "[]", f"with world.source = {source} the languages are named", listed)
    if len(codes) == 1:
        raise refuse("languages.codes", list(codes), "one language has nothing to share", "two or more")
    if len(set(codes)) < len(codes):
        raise refuse("languages.codes", list(codes), "a language is named twice", str(list(dict.fromkeys(codes))))
    if config.languages.count != len(codes):
        reason = f"languages.codes names {len(codes)} languages"
        raise refuse("languages.count", config.languages.count, reason, f"languages.count = {len(codes)}")


def _check_size(config: "RunConfig") -> None:
    """Refuses a world that would fill the memory, and inventories whose names have no number."""
    world, languages = config.world, config.languages
    entities, relations, count = world.n_entities + world.n_unseen, world.n_relations, languages.count
    if (sentences := entities * relations * count) > MOST_SENTENCES:
        larger = "n_entities" if world.n_entities >= world.n_unseen else "n_unseen"
        works = MOST_SENTENCES // (relations * count) - min(world.n_entities, world.n_unseen)
        reason = (
            f"{entities:,} entities, the unseen ones included, {relations:,} relations and {count} languages give "
            f"{sentences:,} sentences, and a run has at most {MOST_SENTENCES:,}"
        )
        smaller = f"world.{larger} = {works}" if works >= 2 else "fewer entities or relations"
        raise refuse(f"world.{larger}", getattr(world, larger), reason, smaller)
    if (words := relations * world.n_values * count) > MOST_WORDS:
        reason = (
            f"{relations:,} relations in {count} languages need {words:,} words for them, and a run has at most "
            f"{MOST_WORDS:,}"
        )
        raise refuse("world.n_values", world.n_values, reason, f"world.n_values = {MOST_WORDS // (relations * count)}")
    for kind in ("name", "word"):
        syllables, length = getattr(languages, f"{kind}_syllables"), getattr(languages, f"{kind}_length")
        if syllables**length > MOST_NAMES:
            longest = max(n for n in range(1, length) if syllables**n <= MOST_NAMES)
            reason = f"{syllables:,} syllables give more than 2^62 words of this length, too many to number"
            raise refuse(f"languages.{kind}_length", length, reason, f"languages.{kind}_length = {longest}")


def _check_names(config: "RunConfig") -> None:
    world, languages = config.world, config.languages
    syllables, length = languages.name_syllables, languages.name_length

    def needed(n_entities: int) -> int:
        shared = sum(shared_counts(languages.shared_names, [n_entities, world.n_unseen]))
        return max(shared, n_entities + world.n_unseen - shared)

    names = needed(world.n_entities)
    if names <= syllables**length:
        return
    reason = (
        f"together with {world.n_unseen} unseen entities they need {names:,} names of one inventory, but "
        f"name_syllables {syllables} and name_length {length} give {syllables**length:,}"
    )
    options = _most("world.n_entities", world.n_entities, lambda n: needed(n) <= syllables**length)
    if not options and syllables**length >= world.n_entities:
        options = [f"world.n_unseen = {syllables**length - world.n_entities}"]
    options += _larger_inventory("languages.name", syllables, length, names)
    raise refuse("world.n_entities", world.n_entities, reason, " or ".join(options))


def _check_words(config: "RunConfig") -> None:
    world, languages = config.world, config.languages
    syllables, length = languages.word_syllables, languages.word_length

    def needed(n_values: int) -> int:
        parts = [world.n_relations, world.n_relations * n_values]
        shared = sum(exact_count(languages.shared_words, part) for part in parts)
        return max(shared, sum(parts) - shared)

    words = needed(world.n_values)
    if words <= syllables**length:
        return
    reason = (
        f"{world.n_relations} relations and their values need {words:,} words of one inventory, but word_syllables "
        f"{syllables} and word_length {length} give {syllables**length:,}"
    )
    options = _most("world.n_values", world.n_values, lambda n: needed(n) <= syllables**length)
    options += _larger_inventory("languages.word", syllables, length, words)
    raise refuse("world.n_values", world.n_values, reason, " or ".join(options))


def _most(name: str, value: int, fits: Callable[[int], bool]) -> list[str]:
    """The setting with the largest number below `value` that fits, at least 2; nothing if 2 does not fit either.

    If a number fits, all smaller ones fit too.
    """
    largest = bisect.bisect_left(range(value), True, lo=2, key=lambda n: not fits(n)) - 1
    return [f"{name} = {largest}"] if largest >= 2 else []


def _larger_inventory(name: str, syllables: int, length: int, words: int) -> list[str]:
    """The shortest words, or else the smallest inventory, that give so many words."""
    if lengths := [n for n in range(length, 9) if syllables**n >= words]:
        return [f"{name}_length = {lengths[0]}"]
    first = max(2, int(words ** (1 / length)) - 1)
    return [f"{name}_syllables = {next(n for n in itertools.count(first) if n**length >= words)}"]


def _check_shares(config: "RunConfig") -> None:
    shares, count = config.mixture.language_shares, config.languages.count
    if not shares:
        return
    shown = list(shares)
    equal = _rounded((1.0,) * count)
    if len(shares) != count:
        raise refuse("mixture.language_shares", shown, f"{len(shares)} shares for {count} languages", "empty (equal)")
    if any(not 0 <= share <= 1 for share in shares):
        clipped = np.clip(np.nan_to_num(shares), 0, 1)
        works = _rounded(clipped.tolist()) if clipped.sum() > 0 else equal
        raise refuse("mixture.language_shares", shown, "a share must lie between 0 and 1", str(works))
    if abs(sum(shares) - 1) > 1e-6:
        works = _rounded(shares) if sum(shares) > 0 else equal
        raise refuse("mixture.language_shares", shown, f"the shares sum to {sum(shares):g}, not to 1", str(works))


def _rounded(weights: Sequence[float]) -> list[float]:
    """Shares in proportion to the weights, in ten-thousandths; the largest is adjusted so that they sum to 1."""
    parts = [round(10_000 * weight / sum(weights)) for weight in weights]
    parts[parts.index(max(parts))] += 10_000 - sum(parts)
    return [part / 10_000 for part in parts]


def _check_choices(config: "RunConfig") -> None:
    mixture, languages, model, training = config.mixture, config.languages, config.model, config.training
    if mixture.unit == "entity" and mixture.informativeness > 0:
        reason = "with unit = entity, all facts of an entity share a language, so it can't depend on their values"
        works = "mixture.informativeness = 0 or mixture.unit = fact"
        raise refuse("mixture.informativeness", mixture.informativeness, reason, works)
    if languages.cue == "none" and languages.cue_dropout > 0:
        works = "languages.cue_dropout = 0 or languages.cue = tag"
        raise refuse(
            "languages.cue_dropout", languages.cue_dropout, "with cue = none there is no tag to leave out", works
        )
    if model.d_model % model.n_heads:
        divisors = [n for n in range(1, model.d_model + 1) if model.d_model % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - model.n_heads))
        reason = f"it must divide d_model, which is {model.d_model}"
        raise refuse("model.n_heads", model.n_heads, reason, f"model.n_heads = {nearest}")
    if not all(0 <= beta < 1 for beta in training.betas):
        nearest = " ".join(f"{min(max(np.nan_to_num(beta), 0.0), 0.999):g}" for beta in training.betas)
        raise refuse(
            "training.betas", list(training.betas), "each beta must lie in [0, 1)", f"training.betas = {nearest}"
        )


def _check_interventions(config: "RunConfig") -> None:
    """Refuses a pull at a layer that is not there, and late changes that come after the end or change nothing."""
    model, training = config.model, config.training
    if training.pull and training.pull_layer > model.n_layers:
        reason = f"the model has {model.n_layers} layers after the embeddings"
        works = f"training.pull_layer = {model.n_layers}"
        raise refuse("training.pull_layer", training.pull_layer, reason, works)
    if not training.late_step:
        return
    if training.late_step >= training.steps:
        reason = f"the last of {training.steps:,} steps is over then"
        raise refuse("training.late_step", training.late_step, reason, f"training.late_step = {training.steps // 2}")
    if (training.late_weight_decay, training.late_frozen, training.late_facts) == (None, "none", "all"):
        reason = "late_weight_decay, late_frozen and late_facts change nothing"
        raise refuse("training.late_step", training.late_step, reason, "training.late_step = 0")
    if training.late_facts == "mono" and config.mixture.parallel_fraction == 1:
        works = "mixture.parallel_fraction = 0.5"
        raise refuse("training.late_facts", "mono", "with mixture.parallel_fraction = 1 no fact is mono", works)
