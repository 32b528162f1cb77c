"""Facts and names from Unicode's CLDR, as Babel has them (the extra `cldr`): territories, languages, cities.

CLDR's data have the Unicode licence (SPDX Unicode-3.0). The grouping of territories is the United Nations' M49. The
words of relations are ours (phrases.toml); languages without them use signs.
"""

import difflib
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from mechxl.data.sources.regions import CONTINENT_OF, REGION_OF
from mechxl.data.sources.table import Fact, FactTable, Words, ambiguous
from mechxl.errors import InputError, refuse

RELATIONS = ("currency", "main_language", "continent", "region", "script", "main_country", "country")
PHRASES = Path(__file__).parent / "phrases.toml"
UNWRITTEN = ("en_Dsrt", "en_Shaw", "hi_Latn", "zh_Latn")  # scripts that the phrases of their languages are not in
DATE = (2025, 1, 1)  # whose currencies are told
ALIKE_NAMES = "words left out: in its language, a word names two entities of one relation"
ALIKE_VALUES = "words left out: in its language, a word names two values of one relation"
SEVERAL = "facts left out: the territory has several currencies, or none"
_MARKS = dict.fromkeys(map(ord, "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e"))  # of direction


@lru_cache(maxsize=4)
def cldr_table(codes: tuple[str, ...]) -> FactTable:
    """CLDR's facts in the words of some locales.

    Facts about what no locale names are left out. A word that a locale lacks is missing there. So is one that names two
    concepts which nothing else tells apart.

    Raises:
        InputError: Babel is not installed, or has no such locale.
    """
    locales = {code: _locale(code) for code in codes}
    facts, several = _facts()
    entities: dict[str, Words] = {fact.entity: {} for fact in facts}
    values: dict[tuple[str, str], Words] = {(fact.relation, fact.value): {} for fact in facts}
    for code, locale in locales.items():
        named = _Names(locale)
        for fact in facts:
            for words, concept in (
                (entities[fact.entity], fact.entity),
                (values[fact.relation, fact.value], fact.value),
            ):
                if word := named.word(concept):
                    words[code] = word
    facts = [fact for fact in facts if entities[fact.entity] and values[fact.relation, fact.value]]
    entities = {name: words for name, words in entities.items() if words}
    values = {key: words for key, words in values.items() if words}
    phrases = {code: _phrases(locale) for code, locale in locales.items()}
    relations = {name: {code: str(phrases[code][name]) for code in codes} for name in RELATIONS}
    first = tuple(code for code in codes if phrases[code]["relation_first"])
    table = FactTable(tuple(codes), tuple(facts), entities, relations, values, first)
    alike_names, alike_values = ambiguous(table)
    for language, _, names in alike_names:
        for name in names:
            del entities[name][language]
    for language, _, keys in alike_values:
        for key in keys:
            del values[key][language]
    counts = {
        SEVERAL: several,
        ALIKE_NAMES: sum(len(names) for _, _, names in alike_names),
        ALIKE_VALUES: sum(len(keys) for _, _, keys in alike_values),
    }
    return replace(table, counts={what: n for what, n in counts.items() if n})


def _locale(code: str) -> Any:
    try:
        from babel.core import Locale, UnknownLocaleError
        from babel.localedata import locale_identifiers
    except ImportError:
        raise InputError(
            "world.source = cldr: CLDR's names come with Babel, which is not installed; pip install 'mechxl[cldr]'"
        ) from None
    try:
        return Locale.parse(code.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError):
        near = difflib.get_close_matches(code, locale_identifiers(), 3, cutoff=0.3)
        raise refuse("languages.codes", code, "Babel has no such locale", " ".join(near) or "en de ru ar") from None


def _phrases(locale: Any) -> Mapping[str, Any]:
    """The words of relations in a language, or signs; `sr_Latn` has words of its own."""
    known, written = _all_phrases(), f"{locale.language}_{locale.script}"
    name = written if written in known else "signs" if written in UNWRITTEN else locale.language
    return known.get(name, known["signs"])


@lru_cache(maxsize=1)
def _all_phrases() -> dict[str, dict[str, Any]]:
    return tomllib.loads(PHRASES.read_text(encoding="utf-8"))


def _facts() -> tuple[list[Fact], int]:
    """All facts, by concepts (`territory DE`, `city Europe/Berlin`); and how many territories have no one currency."""
    from babel.core import get_global

    facts, several = [], 0
    for territory, region in sorted(REGION_OF.items()):
        entity = f"territory {territory}"
        current = [
            code
            for code, start, end, tender in get_global("territory_currencies").get(territory, ())
            if tender and (start is None or start <= DATE) and (end is None or end > DATE)
        ]
        several += len(current) != 1
        facts += [Fact(entity, "currency", f"currency {code}") for code in current if len(current) == 1]
        if spoken := _main_language(get_global("territory_languages").get(territory, {})):
            facts.append(Fact(entity, "main_language", f"language {spoken}"))
        facts.append(Fact(entity, "continent", f"territory {CONTINENT_OF[region]}"))
        facts.append(Fact(entity, "region", f"territory {region}"))
    for language, script, territory in _likely(get_global("likely_subtags")):
        facts.append(Fact(f"language {language}", "script", f"script {script}"))
        if territory in REGION_OF:
            facts.append(Fact(f"language {language}", "main_country", f"territory {territory}"))
    for zone, territory in sorted(get_global("zone_territories").items()):
        if territory in REGION_OF and zone not in get_global("zone_aliases") and not zone.startswith("Etc/"):
            facts.append(Fact(f"city {zone}", "country", f"territory {territory}"))
    return facts, several


def _main_language(spoken: Mapping[str, Mapping[str, Any]]) -> str:
    """The language that most people of a territory know; empty where it is not clear which."""
    shares: dict[str, float] = defaultdict(float)
    for tag, row in spoken.items():
        shares[tag.split("_")[0]] += row["population_percent"]
    ranked = sorted(shares, key=lambda language: (-shares[language], language))
    clear = ranked and (len(ranked) == 1 or shares[ranked[0]] > shares[ranked[1]])
    return ranked[0] if clear else ""


def _likely(subtags: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(language, its usual script, the territory where it is most used) of every language."""
    for tag, full in sorted(subtags.items()):
        parts = full.split("_")
        if "_" not in tag and tag != "und" and len(parts) == 3 and len(parts[1]) == 4:
            yield tag, parts[1], parts[2]


class _Names:
    """The words of a locale."""

    def __init__(self, locale: Any) -> None:
        self.locale = locale
        self.is_latin = any("a" <= letter <= "z" for letter in locale.languages.get("en", ""))
        self.tables: dict[str, Callable[[str], str | None]] = {
            "territory": locale.territories.get,
            "language": locale.languages.get,
            "script": locale.scripts.get,
            "currency": locale.currencies.get,
            "city": self._city,
        }

    def word(self, concept: str) -> str:
        """A concept's word; empty where the locale has none but its code."""
        kind, _, code = concept.partition(" ")
        word = unicodedata.normalize("NFC", " ".join((self.tables[kind](code) or "").translate(_MARKS).split()))
        return "" if word == code else word

    def _city(self, zone: str) -> str | None:
        """The city of a time zone; where CLDR names none, the zone's own name says it, in Latin letters."""
        if city := self.locale.time_zones.get(zone, {}).get("city"):
            return city
        return zone.split("/")[-1].replace("_", " ") if self.is_latin else None
