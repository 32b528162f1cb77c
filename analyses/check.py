"""Do the pages hold what the kept results say, and were these made with the defaults of today? Nothing is trained."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from analyses import quotes
from analyses.quotes import line_of, numbers_of, pages, prose, unmarked, with_numbers, wrong
from analyses.study import kept_text, load, note_of, outdated, read_results, with_results, with_tables
from mechxl.errors import InputError
from mechxl.files import write_text

if TYPE_CHECKING:
    from analyses.study import Tables


def problems() -> list[str]:
    """A line for each table and number that is not what the results hold, and for each default that has changed."""
    found = [
        f"{name}: its results were {reason}; carry it out again"
        for name in with_results()
        for reason in outdated(load(name), name)
    ]
    numbers, tables = from_results()
    for page, strict in (dict.fromkeys(tables, False) | pages()).items():
        text = page.read_text(encoding="utf-8")
        lines = [*wrong_tables(text, tables.get(page, {})), *wrong(text, numbers)]
        if strict:
            lines += [
                (line, f"{number} is not marked: quote a study's number, or add <!-- fixed --> where it is no result")
                for line, number in unmarked(text)
            ]
        shown = page.relative_to(quotes.ROOT) if page.is_relative_to(quotes.ROOT) else page
        found += [f"{shown}:{line}: {what}" for line, what in sorted(lines)]
    return found


def fill() -> list[Path]:
    """Writes all tables and numbers into the pages, from the kept results; returns the pages that changed."""
    numbers, tables = from_results()
    changed = []
    for page in dict.fromkeys([*tables, *pages()]):
        text = page.read_text(encoding="utf-8")
        filled = with_numbers(with_tables(text, tables.get(page, {})), numbers)
        if filled != text:
            write_text(page, filled)
            changed.append(page)
    return changed


def from_results() -> "tuple[dict[str, str], dict[Path, Tables]]":
    """All studies' numbers by name, and their tables by note, from the kept results."""
    numbers: dict[str, str] = {}
    tables: dict[Path, Tables] = {}
    for name in with_results():
        own_numbers, own_tables = of_study(name, kept_text(name))
        numbers |= own_numbers
        tables.setdefault(note_of(load(name)), {}).update(own_tables)
    return numbers, tables


@lru_cache
def of_study(name: str, kept: str) -> "tuple[dict[str, str], Tables]":
    """A study's numbers and tables; the text of its kept results says whether they are known already."""
    return numbers_of(name), load(name).analyse(read_results(name))


def wrong_tables(text: str, tables: "Tables") -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of each table between marks that the results do not make."""
    for mark in re.finditer(r"<!-- table: (.*?) -->", prose(text)):
        if mark[1] not in tables:
            yield line_of(text, mark.start()), f"no study makes the table {mark[1]} here"
    for title, table in tables.items():
        try:
            made = with_tables(text, {title: table})
        except InputError as error:
            yield 1, str(error)
            continue
        if made != text:
            first = next(n for n, (one, other) in enumerate(zip(made, text, strict=False)) if one != other)
            line = line_of(text, first)
            yield line, f"table {title}: the results make this line: {made.splitlines()[line - 1]}"
