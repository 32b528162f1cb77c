"""The table of facts that the settings name: from a file, from CLDR, or kept by a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mechxl.config import RunConfig
from mechxl.data.ready import ready_digest
from mechxl.data.sources.csvfile import file_digest, read_csv
from mechxl.data.sources.letters import in_other_letters
from mechxl.data.sources.table import FactTable
from mechxl.errors import InputError, refuse

NOT_EVERYWHERE = "facts left out: with mixture.unit = entity, every language must have words for a fact"


def source_table(config: RunConfig) -> FactTable:
    """All facts of the source, as far as the settings choose them.

    Raises:
        InputError: the source can't be read, is not the one that the digest is of, or lacks a language or relation.
    """
    world = config.world
    check_digest(config)
    if world.source == "csv":
        table = read_csv(Path(world.file))
    else:
        from mechxl.data.sources.cldr import cldr_table

        table = cldr_table(config.languages.codes)
    return in_other_letters(narrowed(table, config), config.languages.letters, config.seeds.languages)


def narrowed(table: FactTable, config: RunConfig) -> FactTable:
    """The facts of a table that the settings choose: by language, by relation, and by unit."""
    codes, world = config.languages.codes, config.world
    if missing := [code for code in codes if code not in table.languages]:
        raise refuse("languages.codes", list(codes), f"there are no words in {missing[0]}", " ".join(table.languages))
    known = _distinct([fact.relation for fact in table.facts])
    if missing := [name for name in world.relations if name not in known]:
        raise refuse("world.relations", list(world.relations), f"there is no relation {missing[0]}", " ".join(known))
    table = table.chosen(codes, world.relations)
    if config.mixture.unit == "entity":
        table = table.only(np.asarray(table.told.all(axis=1)), NOT_EVERYWHERE)
    return table


def current_digest(config: RunConfig) -> str:
    """The digest of the source of facts as it is now; empty for generated ones."""
    if config.world.source == "csv":
        return file_digest(Path(config.world.file))
    if config.world.source == "cldr":
        from mechxl.data.sources.cldr import cldr_table

        return cldr_table(config.languages.codes).digest
    return ""


def check_digest(config: RunConfig) -> None:
    """Refuses a source that is not the one which the settings were written for."""
    world = config.world
    if world.digest and (found := current_digest(config)) != world.digest:
        what = world.file if world.source == "csv" else "CLDR, as this version of Babel has it,"
        raise InputError(
            f"{what} has changed since these settings were written: its digest is {found[:12]}..., not world.digest = "
            f"{world.digest[:12]}...; restore it, or leave world.digest out to use it as it is"
        )


def with_digests(config: RunConfig) -> RunConfig:
    """The settings with the digests of what they read: the source of facts, the tokenizer's file.

    Raises:
        InputError: one can't be read, or is not the one that a digest in the settings is of.
    """
    world, tokenization = config.world, config.tokenization
    check_digest(config)
    if not world.digest:
        world = world.model_copy(update={"digest": current_digest(config)})
    if tokenization.kind == "file":
        found = ready_digest(Path(tokenization.file))
        if tokenization.digest not in ("", found):
            raise InputError(
                f"{tokenization.file} has changed since these settings were written: its digest is {found[:12]}..., "
                f"not tokenization.digest = {tokenization.digest[:12]}...; restore it, or leave the digest out"
            )
        tokenization = tokenization.model_copy(update={"digest": found})
    return config.model_copy(update={"world": world, "tokenization": tokenization})


def with_digests_of(config: RunConfig, other: RunConfig) -> RunConfig:
    """The settings with the digests of others, which were made from the same facts."""
    world = config.world.model_copy(update={"digest": other.world.digest})
    tokenization = config.tokenization.model_copy(update={"digest": other.tokenization.digest})
    return config.model_copy(update={"world": world, "tokenization": tokenization})


def _distinct(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))
