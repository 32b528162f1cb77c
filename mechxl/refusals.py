"""What is refused, and how it is said: one sentence that names the setting, its value, the reason and what works.

The checks here are of settings that hold one by one but not together; a setting's own range stands with it in
config.py.
"""

from typing import Any

import numpy as np


class InputError(Exception):
    """A mistake in what the user gave, said in one sentence: what, where, how to fix. Commands print it and exit 2."""


def hold_together(config: Any) -> None:
    """Checks a RunConfig across its sections.

    Raises:
        InputError: two settings can't both be had.
    """
    for check in (_check_names, _check_words, _check_shares, _check_choices):
        check(config)


def refuse(setting: str, value: object, reason: str, works: str) -> InputError:
    """The sentence for a setting that can't hold: its name, its value, why, and the nearest that works."""
    return InputError(f"{setting} = {value}: {reason}; the nearest that works: {works}")


def exact_count(share: float, total: int) -> int:
    """`share` of `total`, rounded half up: the exact count that a share setting stands for."""
    return int(np.floor(share * total + 0.5))


def shared_counts(share: float, parts: list[int]) -> list[int]:
    """Exact shared count of each part, whose sum is the exact count of the total (rounding is carried along)."""
    ends = [exact_count(share, int(total)) for total in np.cumsum([0, *parts])]
    return [int(n) for n in np.diff(ends)]


def _check_names(config: Any) -> None:
    world, languages = config.world, config.languages
    capacity = languages.name_syllables**languages.name_length
    total = world.n_entities + world.n_unseen
    shared = sum(shared_counts(languages.shared_names, [world.n_entities, world.n_unseen]))
    needed = max(shared, total - shared)
    if needed <= capacity:
        return
    reason = (
        f"with {world.n_unseen} unseen ones they need {needed:,} names of one inventory, and name_syllables "
        f"{languages.name_syllables}, name_length {languages.name_length} give {capacity:,}"
    )
    fits = int(capacity / max(languages.shared_names, 1 - languages.shared_names)) - world.n_unseen - 1
    largest = capacity - world.n_unseen if languages.shared_names in (0.0, 1.0) else fits
    longer = languages.name_length
    while languages.name_syllables > 1 and languages.name_syllables**longer < needed:
        longer += 1
    options = [f"world.n_entities = {largest}"] if largest >= 2 else [f"world.n_unseen = {max(capacity - 2, 0)}"]
    if 1 < longer <= 8 and languages.name_syllables > 1:
        options.append(f"languages.name_length = {longer}")
    raise refuse("world.n_entities", world.n_entities, reason, " or ".join(options))


def _check_words(config: Any) -> None:
    world, languages = config.world, config.languages
    capacity = languages.word_syllables**languages.word_length
    shared = exact_count(languages.shared_words, world.n_relations)
    shared += exact_count(languages.shared_words, world.n_relations * world.n_values)
    total = world.n_relations * (1 + world.n_values)
    needed = max(shared, total - shared)
    if needed <= capacity:
        return
    reason = (
        f"{world.n_relations} relations and their values need {needed:,} words of one inventory, and word_syllables "
        f"{languages.word_syllables}, word_length {languages.word_length} give {capacity:,}"
    )
    options = [f"world.n_values = {n}"] if (n := capacity // world.n_relations - 1) >= 2 else []
    if languages.word_syllables > 1 and languages.word_syllables ** (languages.word_length + 1) >= needed:
        options.append(f"languages.word_length = {languages.word_length + 1}")
    else:
        options.append(f"languages.word_syllables = {int(np.ceil(needed ** (1 / languages.word_length)))}")
    raise refuse("world.n_values", world.n_values, reason, " or ".join(options))


def _check_shares(config: Any) -> None:
    shares, count = config.mixture.language_shares, config.languages.count
    if not shares:
        return
    shown = list(shares)
    equal = [round(1 / count, 4)] * count
    if len(shares) != count:
        raise refuse("mixture.language_shares", shown, f"{len(shares)} shares for {count} languages", "empty (equal)")
    if any(not 0 <= share <= 1 for share in shares):
        clipped = np.clip(np.nan_to_num(shares), 0, 1)
        works = [round(float(s), 4) for s in clipped / clipped.sum()] if clipped.sum() > 0 else equal
        raise refuse("mixture.language_shares", shown, "a share lies between 0 and 1", str(works))
    if abs(sum(shares) - 1) > 1e-6:
        works = [round(share / sum(shares), 4) for share in shares] if sum(shares) > 0 else equal
        raise refuse("mixture.language_shares", shown, f"they sum to {sum(shares):g}, not 1", str(works))


def _check_choices(config: Any) -> None:
    mixture, languages, model, training = config.mixture, config.languages, config.model, config.training
    if mixture.unit == "entity" and mixture.informativeness > 0:
        reason = (
            "an entity's facts have different values, so that their language can't follow the value (unit = entity)"
        )
        works = "mixture.informativeness = 0 or mixture.unit = fact"
        raise refuse("mixture.informativeness", mixture.informativeness, reason, works)
    if languages.cue == "none" and languages.cue_dropout > 0:
        works = "languages.cue_dropout = 0 or languages.cue = tag"
        raise refuse("languages.cue_dropout", languages.cue_dropout, "there is no tag to leave out (cue = none)", works)
    if model.d_model % model.n_heads:
        divisors = [n for n in range(1, model.d_model + 1) if model.d_model % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - model.n_heads))
        reason = f"it does not divide d_model {model.d_model}"
        raise refuse("model.n_heads", model.n_heads, reason, f"model.n_heads = {nearest}")
    if not all(0 <= beta < 1 for beta in training.betas):
        raise refuse("training.betas", list(training.betas), "each lies in [0, 1)", "training.betas = 0.9 0.98")
