"""The facts of a run as its facts.parquet keeps them: back to a table, so that no source is needed to open a run."""

from collections.abc import Hashable

import pandas as pd

from mechxl.data.sources.table import Fact, FactTable, Origin, Words

NAMES = ("entity_name", "relation_name", "value_name")


def kept_names(languages: tuple[str, ...]) -> list[str]:
    """The columns that facts.parquet has for facts that mechxl did not make up."""
    return [*NAMES, *(f"own_{name}_{code}" for code in languages for name in ("entity", "relation", "value"))]


def kept_columns(origin: Origin) -> dict[str, list[str | None]]:
    """The source's names, and each fact's own words, by column."""
    table, facts = origin.table, origin.facts
    columns: dict[str, list[str | None]] = {
        "entity_name": [fact.entity for fact in facts],
        "relation_name": [fact.relation for fact in facts],
        "value_name": [fact.value for fact in facts],
    }
    for code in table.languages:
        words = [table.words(fact, code) for fact in facts]
        for place, name in enumerate(("entity", "relation", "value")):
            columns[f"own_{name}_{code}"] = [row[place] or None for row in words]
    return columns


def kept_attributes(table: FactTable) -> dict[Hashable | None, object]:
    """What facts.parquet keeps of the table beside rows."""
    return {"relation_first": list(table.relation_first), "counts": table.counts}


def kept_table(facts: pd.DataFrame, languages: tuple[str, ...]) -> FactTable:
    """The table of facts in a run's facts.parquet."""
    rows = [Fact(*map(str, row)) for row in facts[list(NAMES)].itertuples(index=False)]
    entities: dict[str, Words] = {fact.entity: {} for fact in rows}
    relations: dict[str, Words] = {fact.relation: {} for fact in rows}
    values: dict[tuple[str, str], Words] = {(fact.relation, fact.value): {} for fact in rows}
    first, counts = facts.attrs.get("relation_first", []), facts.attrs.get("counts", {})
    for code in languages:
        words = facts[[f"own_{name}_{code}" for name in ("entity", "relation", "value")]]
        for fact, own in zip(rows, words.itertuples(index=False), strict=True):
            tables = entities[fact.entity], relations[fact.relation], values[fact.relation, fact.value]
            for concept, word in zip(tables, own, strict=True):
                if isinstance(word, str):
                    concept[code] = word
    return FactTable(languages, tuple(rows), entities, relations, values, tuple(first), counts)
