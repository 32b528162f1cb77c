"""The answer to a question: numbers with their uncertainty. Figures draw a Finding, and reports lay it out."""

import hashlib
import json
import math
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd

_SEAL = ', "sha256": "'


@dataclass(frozen=True)
class Finding:
    """The answer to a question asked of a run.

    Attributes:
        question: its name.
        summary: sentences, the most important first.
        tables: data frames by name; a row with NaN has a `reason`.
        notes: how the numbers were taken (samples, draws, centring), by name.
        arrays: larger arrays that figures need, such as matrices, by name.

    Example:
        >>> table = pd.DataFrame({"step": [0, 10], "norm": [0.5, 2.0]})
        >>> finding = Finding("norms", ["The norm grows from .50 to 2.00."], {"norms": table})
        >>> finding.tables["norms"].query("step > 0")
    """

    question: str
    summary: list[str]
    tables: dict[str, pd.DataFrame]
    notes: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def check(self) -> None:
        """Raises a TypeError that says which part is not what a finding has."""
        _texts("summary", self.summary)
        for name, part, kind in (
            *(("tables", table, pd.DataFrame) for table in _values("tables", self.tables)),
            *(("arrays", array, np.ndarray) for array in _values("arrays", self.arrays)),
            ("notes", self.notes, dict),
            ("question", self.question, str),
        ):
            if not isinstance(part, kind):
                raise TypeError(f"a finding's {name} has a {type(part).__name__} where a {kind.__name__} belongs")

    def _repr_html_(self) -> str:
        """The summary, and the names and shapes of the tables and arrays."""
        summary = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.summary)
        parts = [
            (f'tables["{name}"]', f"{len(table):,} × {table.shape[1]}: {', '.join(map(str, table.columns))}")
            for name, table in self.tables.items()
        ]
        parts += [(f'arrays["{name}"]', " × ".join(map(str, array.shape))) for name, array in self.arrays.items()]
        parts += [("notes", ", ".join(self.notes))] if self.notes else []
        listed = "".join(f"<li><code>{escape(name)}</code> {escape(text)}</li>" for name, text in parts)
        return f"<div><b>Finding {escape(self.question)}</b>{summary}<ul>{listed}</ul></div>"

    def to_json(self, digest: str, asked: str = "") -> str:
        """The finding as JSON, with a hash of it. NaN becomes null, and a row with null has a reason.

        Numbers of tables and notes are kept as they are, those of arrays to six significant digits.

        Args:
            digest: hash of what the finding was computed from; a report reuses the finding while this is the same.
            asked: the name by which the question was asked; by default the finding's own.

        Raises:
            ValueError: a NaN without a reason.
        """
        tables = {name: _records(name, table) for name, table in self.tables.items()}
        arrays = {name: _nested(array) for name, array in self.arrays.items()}
        content = {
            "question": self.question,
            "asked": asked or self.question,
            "digest": digest,
            "summary": self.summary,
        }
        content |= {"notes": self.notes, "tables": tables, "arrays": arrays}
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        return f'{text[:-1]}{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}"}}'

    @classmethod
    def from_json(cls, text: str, digest: str, asked: str = "") -> "Finding | None":
        """The finding that `to_json` wrote; None if it was computed from something else.

        Raises:
            ValueError: it is not as it was written, or another question's.
        """
        content, found = text[: -len(_SEAL) - 66], text[-len(_SEAL) - 66 :]
        if found != f'{_SEAL}{hashlib.sha256((content + "}").encode()).hexdigest()}"}}':
            raise ValueError("it is not as it was kept")
        kept = json.loads(content + "}")
        if kept["asked"] != (asked or kept["question"]):
            raise ValueError(f"it answers the question {kept['asked']}")
        if kept["digest"] != digest:
            return None
        tables = {name: _frame(records) for name, records in kept["tables"].items()}
        arrays = {name: np.array(nested) for name, nested in kept["arrays"].items()}
        return cls(kept["question"], kept["summary"], tables, kept["notes"], arrays)


@dataclass(frozen=True)
class Estimate:
    """A number with what is needed to read it. A NaN has its reason.

    Attributes:
        value: the measure on the sample.
        low: lower end of the 95 % interval over entities.
        high: upper end of this interval.
        null: mean of the measure if there is nothing to find (entities permuted).
        p: one-sided permutation p-value, (1 + number of null values that reach the value) / (permutations + 1).
        n: number of facts (or items).
        entities: number of entities that these belong to.
        reason: why a number is NaN; empty if none is.

    Raises:
        ValueError: a NaN without a reason.
    """

    value: float
    low: float
    high: float
    null: float
    p: float
    n: int
    entities: int
    reason: str = ""

    def __post_init__(self) -> None:
        missing = [name for name in ("value", "low", "high", "null", "p") if math.isnan(getattr(self, name))]
        if missing and not self.reason:
            raise ValueError(f"an estimate's {', '.join(missing)} is NaN without a reason")

    @classmethod
    def undefined(cls, reason: str, n: int, entities: int) -> "Estimate":
        """An estimate without numbers, and the reason."""
        return cls(math.nan, math.nan, math.nan, math.nan, math.nan, n, entities, reason)


def counted(n: int, noun: str) -> str:
    """A count with its noun: 1 pair, 2 pairs, 1,000 entities."""
    plural = f"{noun[:-1]}ies" if noun.endswith("ty") else f"{noun}s"
    return f"{n:,} {noun if n == 1 else plural}"


def permuted_p(p: float, draws: int) -> str:
    """A p-value of random draws, and whether it is the least possible: p = .005, the least that 199 draws allow."""
    least = 1 / (draws + 1)
    digits = max(3, int(np.ceil(-np.log10(least))))
    told = f"p = {signed(p, digits)}"
    return f"{told}, the least that {draws:,} draws allow" if p <= least * 1.001 else told


def signed(value: float, digits: int = 2) -> str:
    """A number as text with a true minus sign and without a leading zero: −.31, .05, 1.08."""
    text = f"{abs(value):.{digits}f}"
    text = text[1:] if text.startswith("0.") else text
    return "−" + text if value < 0 and float(f"{abs(value):.{digits}f}") else text


def _texts(name: str, texts: object) -> None:
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"a finding's {name} is a list of sentences, not {texts!r:.100}")


def _values(name: str, parts: object) -> list[Any]:
    if not isinstance(parts, dict) or not all(isinstance(key, str) for key in parts):
        raise TypeError(f"a finding's {name} is a dictionary by name, not {parts!r:.100}")
    return list(parts.values())


def _frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: _column(values) for name, values in columns.items()})


def _column(values: list[Any]) -> list[Any]:
    numeric = all(value is None or isinstance(value, int | float) for value in values)
    return [math.nan if value is None else value for value in values] if numeric else values


def _records(name: str, table: pd.DataFrame) -> dict[str, list[Any]]:
    columns = {str(column): [_plain(value) for value in table[column]] for column in table.columns}
    reasons = columns.get("reason", [""] * len(table))
    for column, values in columns.items():
        for value, reason in zip(values, reasons, strict=True):
            if value is None and not reason:
                raise ValueError(f"table {name!r}, column {column!r}: a missing value without a reason")
    return columns


def _plain(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value


def _nested(array: np.ndarray) -> list[Any]:
    if not np.isfinite(array).all():
        raise ValueError("arrays of a finding hold finite numbers only")
    if array.dtype.kind in "iub":
        return array.tolist()
    shortened = [float(f"{number:.6g}") for number in array.ravel().tolist()]
    return np.array(shortened).reshape(array.shape).tolist()
