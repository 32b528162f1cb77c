"""Facts from a CSV file: one row a fact, with the words of its entity, relation and value in each language.

Wide: columns entity, relation, value, and entity_en, value_en, relation_en (and so on) for each language.
Long: columns entity, relation, value, language, entity_word, value_word, relation_word; one row a fact and language.

Without words for relations (no relation_en, no relation_word), the relation's name is its word in every language.
docs/facts.md says what is done with missing words, duplicates, contradictions, and words of two concepts.
"""

import csv
import difflib
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mechxl.data.sources.table import Fact, FactTable, Words, ambiguous
from mechxl.data.tokenization import CONTINUES, SPECIAL
from mechxl.errors import InputError, quoted
from mechxl.files import check_path, read_bytes, reason

LARGEST = 2**26  # bytes of a file
LONGEST_WORD = 200  # letters
CONCEPTS = ("entity", "relation", "value")
LONG = ("language", "entity_word", "relation_word", "value_word")
SPREADSHEET_ERRORS = ("#REF!", "#N/A", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,23}")
_MARKS = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
DUPLICATES = "rows that repeat a fact, told once"
FURTHER_WORDS = "further words of a concept, not used: the first in the file stands"
MISSING = "words missing: the fact is not told or asked in that language"


@dataclass(frozen=True)
class _Cell:
    """A word, and where it stands."""

    text: str
    line: int
    column: str


def file_digest(path: Path) -> str:
    """SHA-256 of a file of facts."""
    return hashlib.sha256(_content(path)).hexdigest()


def read_csv(path: Path) -> FactTable:
    """The facts of a CSV file.

    Raises:
        InputError: the file can't be read, or its facts contradict each other; the sentence names line and column.
    """
    return _Reader(path).table()


def _content(path: Path) -> bytes:
    check_path(path, "world.file")
    try:
        return read_bytes(path, LARGEST)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; world.file is a CSV file of facts") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({reason(error)}); world.file is a CSV file of facts") from None


class _Reader:
    """One file: its text, its header, its rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = self._rows(self._text(_content(path)))
        self.header = next(self.rows, (1, []))[1]
        self.is_long = "language" in self.header
        self.languages = self._check_header()

    def error(self, line: int, column: str, what: str) -> InputError:
        """The sentence about a place in the file."""
        return InputError(f"{self.path}: line {line}{f', column {column}' if column else ''}: {what}")

    def _text(self, content: bytes) -> str:
        for mark, encoding in _MARKS.items():
            if content.startswith(mark):
                raise InputError(f"{self.path}: is {encoding}, not UTF-8; save it as UTF-8")
        if not content.strip():
            raise InputError(f"{self.path}: is empty; write a header and one row a fact")
        if b"\0" in content:
            raise self.error(content[: content.index(b"\0")].count(b"\n") + 1, "", "holds a NUL byte; remove it")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise self.error(
                line, "", f"byte {content[error.start]:#04x} is not UTF-8; save the file as UTF-8"
            ) from None
        for place, letter in enumerate(text):
            if (letter < " " and letter not in "\n\r\t") or letter in "\x7f\u2028\u2029\ufeff\ufffd":
                what = "a sign of damaged encoding" if letter == "\ufffd" else "a control character"
                raise self.error(text.count("\n", 0, place) + 1, "", f"holds U+{ord(letter):04X}, {what}; remove it")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _rows(self, text: str) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of every row that is not empty."""
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                what = "a quotation mark is not closed" if "unexpected end" in str(error) else str(error)
                if "expected after" in what:
                    what = "text follows a closing quotation mark"
                raise self.error(line, "", f"{what}; double quotation marks inside a quoted cell") from None
            if any(cell.strip() for cell in cells):
                yield line, cells

    def _check_header(self) -> tuple[str, ...]:
        """The languages, in the order of the header (wide), or none (long)."""
        self.header = [name.strip() for name in self.header]
        if len(self.header) == 1 and any(sign in self.header[0] for sign in ";\t|"):
            raise self.error(1, "", "columns are separated by commas, not by other signs; save the file with commas")
        if "" in self.header:
            raise self.error(1, "", f"column {self.header.index('') + 1} has no name; give it one, or remove it")
        if twice := [name for name in dict.fromkeys(self.header) if self.header.count(name) > 1]:
            raise self.error(1, twice[0], "stands twice in the header; remove one")
        if missing := [name for name in CONCEPTS if name not in self.header]:
            near = difflib.get_close_matches(missing[0], self.header, 1)
            advice = f"rename {near[0]}" if near else "add it"
            raise self.error(1, missing[0], f"this column is missing; {advice}")
        if self.is_long:
            needed, known = ("entity_word", "value_word"), {*CONCEPTS, *LONG, "note"}
            languages = []
        else:
            parts = [name.partition("_") for name in self.header]
            languages = list(dict.fromkeys(code for kind, _, code in parts if kind in CONCEPTS and code))
            needed = [f"{kind}_{code}" for code in languages for kind in ("entity", "value")]
            known = {*CONCEPTS, "note", *needed, *(f"relation_{code}" for code in languages)}
            if not languages:
                raise self.error(1, "", "no language is named; add columns entity_en and value_en, say, for each")
        for code in languages:
            self._check_code(1, f"entity_{code}", code)
        if missing := [name for name in needed if name not in self.header]:
            raise self.error(1, missing[0], "this column is missing; each language needs words of entities and values")
        if unknown := [name for name in self.header if name not in known]:
            raise self.error(1, unknown[0], "there is no such column; remove it, or name it note, which is not read")
        return tuple(languages)

    def _check_code(self, line: int, column: str, code: str) -> None:
        if not _CODE.fullmatch(code):
            raise self.error(line, column, f"{quoted(code)} is no language's code: letters, digits, - and _")

    def table(self) -> FactTable:
        """The facts, checked."""
        facts: dict[tuple[str, str], tuple[Fact, int]] = {}
        rows_of: dict[tuple[Fact, str], int] = {}
        words: dict[str, dict[object, dict[str, _Cell]]] = {kind: {} for kind in CONCEPTS}
        counts = {DUPLICATES: 0, FURTHER_WORDS: 0}
        for line, row in self.rows:
            cells = self._cells(line, row)
            for kind in CONCEPTS:
                if not cells[kind].text:
                    raise self.error(line, kind, "is empty; name the fact's entity, relation and value")
            fact = Fact(*(cells[kind].text for kind in CONCEPTS))
            before, where = facts.setdefault((fact.entity, fact.relation), (fact, line))
            if before != fact:
                what = f"{fact.entity} has another {fact.relation} in line {where}, {quoted(before.value)}; keep one"
                raise self.error(line, "value", what)
            code = cells["language"].text if self.is_long else ""
            counts[DUPLICATES] += (fact, code) in rows_of
            rows_of[fact, code] = line
            for code, own in self._words(line, cells):
                keys = {"entity": fact.entity, "relation": fact.relation, "value": (fact.relation, fact.value)}
                for kind, key in keys.items():
                    concept = words[kind].setdefault(key, {})
                    if own[kind].text:
                        counts[FURTHER_WORDS] += concept.setdefault(code, own[kind]).text != own[kind].text
        if not facts:
            raise InputError(f"{self.path}: holds no fact below its header; write one row a fact")
        return self._checked([fact for fact, _ in facts.values()], words, counts)

    def _cells(self, line: int, row: list[str]) -> dict[str, _Cell]:
        if len(row) != len(self.header):
            what = f"has {len(row)} cells, but the header has {len(self.header)}; quote a cell that holds a comma"
            raise self.error(line, "", what)
        cells = {}
        for column, raw in zip(self.header, row, strict=True):
            text = unicodedata.normalize("NFC", " ".join(raw.split())) if column != "note" else ""
            if "\n" in raw.strip() and text:
                raise self.error(line, column, "a cell holds a line break; is a quotation mark missing?")
            if text.startswith("="):
                raise self.error(
                    line, column, f"{quoted(text)} is a formula, not a word; save the file with its values"
                )
            if text in SPREADSHEET_ERRORS:
                raise self.error(line, column, f"{text} is a spreadsheet's error, not a word; correct it there")
            if len(text) > LONGEST_WORD:
                what = f"a word of {len(text):,} letters is too long; a word has at most {LONGEST_WORD}"
                raise self.error(line, column, what)
            if column not in CONCEPTS and (bad := next((sign for sign in (*SPECIAL, CONTINUES) if sign in text), "")):
                raise self.error(line, column, f"{quoted(text)} holds {bad}, which tokens use; remove it")
            cells[column] = _Cell(text, line, column)
        return cells

    def _words(self, line: int, cells: dict[str, _Cell]) -> Iterator[tuple[str, dict[str, _Cell]]]:
        """(language, the words of entity, relation and value) of a row."""
        if self.is_long:
            code = cells["language"].text
            self._check_code(line, "language", code)
            if code not in self.languages:
                self.languages = (*self.languages, code)
        for code in (cells["language"].text,) if self.is_long else self.languages:
            names = {kind: f"{kind}_word" if self.is_long else f"{kind}_{code}" for kind in CONCEPTS}
            by_name = not any(name.startswith("relation_") for name in self.header)
            yield code, {kind: cells.get(name, cells[kind] if by_name else _NONE) for kind, name in names.items()}

    def _checked(
        self, facts: list[Fact], cells: dict[str, dict[object, dict[str, _Cell]]], counts: dict[str, int]
    ) -> FactTable:
        """The table, unless a word names two concepts that it can't tell apart."""
        if len(self.languages) < 2:
            raise InputError(f"{self.path}: has words in {len(self.languages)} language; facts in two are the least")
        plain: dict[str, dict] = {
            kind: {key: Words({code: cell.text for code, cell in own.items()}) for key, own in concepts.items()}
            for kind, concepts in cells.items()
        }
        table = FactTable(self.languages, tuple(facts), plain["entity"], plain["relation"], plain["value"])
        missing = sum(not word for fact in facts for code in self.languages for word in table.words(fact, code))
        counts = {what: n for what, n in (counts | {MISSING: missing}).items() if n}
        entities, values = ambiguous(table)
        for kind, found in (("entity", entities), ("value", values)):
            for code, word, concepts in found:
                first, second = (cells[kind][concept][code] for concept in concepts[:2])
                one, other = (name if kind == "entity" else name[1] for name in concepts[:2])
                what = f"{quoted(word)} is the word of {other}, and of {one} in line {first.line}: nothing tells them "
                raise self.error(second.line, second.column, what + "apart; change one")
        for code in self.languages:
            seen: dict[str, str] = {}
            for name, own in cells["relation"].items():
                if (cell := own.get(code)) and seen.setdefault(cell.text, str(name)) != name:
                    what = f"{quoted(cell.text)} is the word of two relations, {seen[cell.text]} and {name}; change one"
                    raise self.error(cell.line, cell.column, what)
        return FactTable(self.languages, tuple(facts), plain["entity"], plain["relation"], plain["value"], (), counts)


_NONE = _Cell("", 0, "")
