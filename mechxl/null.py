"""The trained null of a run: the same settings, but every language has facts of its own (`world.shared_facts 0`).

Nothing can rightly unify there, so that unification is what a run has more than its null. The null of RUN is RUN-null.
"""

from pathlib import Path

from mechxl.config import RunConfig, differences
from mechxl.errors import InputError

SUFFIX = "-null"
SETTING = "world.shared_facts"


def null_place(place: Path) -> Path:
    """Where the null of a run lies: beside it, by its name."""
    whole = place if place.name not in ("", "..") else place.resolve()
    return whole.with_name(whole.name + SUFFIX)


def null_config(config: RunConfig) -> RunConfig:
    """The settings of a run's null.

    Raises:
        InputError: the run shares no fact already.
    """
    if is_null(config):
        raise InputError(f"{SETTING} = 0: the run is a null itself, and has none; leave --with-null out")
    return config.model_copy(update={"world": config.world.model_copy(update={"shared_facts": 0.0})})


def is_null(config: RunConfig) -> bool:
    """Whether no fact is shared, so that nothing can rightly unify."""
    return config.world.shared_facts == 0


def why_no_null(config: RunConfig, null: RunConfig, complete: bool) -> str:
    """Why a run is no null of another; empty if it is one.

    Args:
        config: the settings of the run that it shall be the null of.
        null: its own settings.
        complete: whether its training has ended.
    """
    if is_null(config):
        return f"the run shares no fact ({SETTING} = 0): it is a null itself, and has none"
    differ = {name: both for name, both in differences(config, null).items() if name != SETTING}
    listed = ", ".join(f"{name} is {own} in the run and {other} there" for name, (own, other) in differ.items())
    if not is_null(null):
        listed = ", ".join(filter(None, [f"{SETTING} is {null.world.shared_facts:g} there and must be 0", listed]))
    if listed:
        return f"a null differs from its run in {SETTING} alone, but {listed}"
    return "" if complete else "its training has not ended"


def how_to_get(run: Path) -> str:
    """The command that trains a run's null beside it."""
    return f"python -m mechxl.train --out {run} --resume --with-null"
