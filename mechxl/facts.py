"""Says what a CSV file of facts holds, and writes the example file.

python -m mechxl.facts check FILE
python -m mechxl.facts example > facts.csv
python -m mechxl.facts cldr CODE CODE ... > facts.csv
"""

import csv
import io
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mechxl.cli import DONE, command
from mechxl.errors import InputError

if TYPE_CHECKING:
    from mechxl.data.sources.table import FactTable

EXAMPLE = Path(__file__).parent / "data" / "sources" / "example.csv"
USAGE = """usage: python -m mechxl.facts check FILE   says what a CSV file of facts holds
       python -m mechxl.facts example      prints an example: 60 facts in four languages
       python -m mechxl.facts cldr CODE CODE ...  prints CLDR's facts in the words of some locales"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return command(_facts, argv)


def _facts(argv: Sequence[str]) -> int:
    match list(argv):
        case ["check", file]:
            from mechxl.data.sources.csvfile import read_csv

            print("\n".join(summary(file, read_csv(Path(file)))))
        case ["example"]:
            print(EXAMPLE.read_text(encoding="utf-8"), end="")
        case ["cldr", *codes] if len(codes) > 1:
            from mechxl.data.sources.cldr import cldr_table

            table = io.StringIO()
            write(cldr_table(tuple(codes)).chosen(codes, ()), table)
            print(table.getvalue(), end="")
        case ["-h"] | ["--help"]:
            print(USAGE)
        case _:
            raise InputError(f"{' '.join(argv)!r} is no request; ask: check FILE, example, or cldr CODE CODE ...")
    return DONE


def write(table: "FactTable", file: io.TextIOBase) -> None:
    """Writes a table of facts as a wide CSV file."""
    writer = csv.writer(file, lineterminator="\n")
    kinds = ("entity", "relation", "value")
    writer.writerow([*kinds, *(f"{kind}_{code}" for code in table.languages for kind in kinds)])
    for fact in table.facts:
        words = (word for code in table.languages for word in table.words(fact, code))
        writer.writerow([fact.entity, fact.relation, fact.value, *words])


def summary(file: str, table: "FactTable") -> list[str]:
    """What a table of facts holds, in lines: facts, entities, values, words by language, and how to train on it."""
    of_relation = Counter(fact.relation for fact in table.facts)
    values = Counter(relation for relation, _ in table.values)
    lines = [
        f"{file}: {len(table.facts):,} facts about {len(table.entities):,} entities in {len(table.languages)} languages"
    ]
    lines += [f"  {name}: {n:,} facts, {values[name]:,} values" for name, n in of_relation.items()]
    told = table.told
    for place, code in enumerate(table.languages):
        longest = max((word for fact in table.facts for word in table.words(fact, code)), key=len)
        lines.append(f"  {code}: {told[:, place].sum():,} facts with all their words; the longest word is {longest!r}")
    alike = sum(len({words.get(code) for code in table.languages}) == 1 for words in table.entities.values())
    lines.append(f"  names that are the same in every language: {alike:,} of {len(table.entities):,}")
    lines += [f"  {n:,} {what}" for what, n in table.counts.items()]
    codes = " ".join(table.languages[:8])
    lines.append(
        f"train on it: python -m mechxl.train --world.source csv --world.file {file} --languages.codes {codes} "
        "--tokenization.kind character"
    )
    return lines


if __name__ == "__main__":
    sys.exit(main())
