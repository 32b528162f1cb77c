"""What hypothesis draws: values, settings, TOML, studies, command lines, and files that are damaged."""

import copy
import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

import tomli_w
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import BaseModel

from mechxl.config import RunConfig

WHOLE = st.sampled_from([0, 1, -1, 2, 3, 7, 8, 9, 16, 255, 256, 10**3, 10**6, 10**7, 10**11, 2**31, 2**63, 10**30])
FLOATS = st.sampled_from([0.0, -0.0, 0.5, 1.0, 1 - 1e-16, 1e-300, 1e300, 5e-324, math.inf, -math.inf, math.nan, 1e30])
TEXTS = st.sampled_from(
    ["", " ", "x", "1", "auto", "0.5", "läuft", "a\nb", "\u202e", "-1", "a" * 300, "{{7*7}}", "nan"]
)
SIMPLE = st.one_of(WHOLE, FLOATS, TEXTS, st.integers(), st.floats(), st.text(max_size=8), st.booleans())
VALUES = st.one_of(SIMPLE, SIMPLE, st.lists(SIMPLE, max_size=4), st.dictionaries(TEXTS, SIMPLE, max_size=2))
JSON = st.one_of(st.none(), VALUES, st.sampled_from([[[[]]], {"a": {"b": [None]}}, 10**400, -(10**30)]))
SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in RunConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
SMALL = {
    "n_entities": 30,
    "n_relations": 4,
    "n_values": 8,
    "n_unseen": 9,
    "name_syllables": 40,
    "word_syllables": 100,
    "name_length": 4,
    "word_length": 3,
    "vocab_size": 400,
    "n_layers": 2,
    "d_model": 16,
    "n_heads": 4,
    "d_mlp": 16,
    "steps": 2,
    "batch_size": 9,
    "checkpoints": 4,
    "threads": 1,
}  # the largest values of settings whose work grows with them


def _allowed(name: str, kind: Any, metadata: list[Any], small: bool) -> SearchStrategy[Any]:
    """Values of one setting that are in its range."""
    bounds = {end: getattr(item, end) for item in metadata for end in ("ge", "gt", "le") if hasattr(item, end)}
    low, high = bounds.get("ge", bounds.get("gt", 0)), bounds.get("le", 1)
    if int in (kind, *get_args(kind)) and "ge" in bounds:
        most = min(high, SMALL.get(name, high)) if small else high
        near = st.integers(low, min(most, low + 50))
        return st.one_of(near, near, st.integers(low, most), st.just(most))
    if kind is float:
        return st.floats(low, high, exclude_min="gt" in bounds) | st.sampled_from([float(high), 0.5 * high])
    if kind is str:
        return st.just("cpu") if small else st.sampled_from(["auto", "cpu", "cuda:7", "mps", "meta", "x y"])
    if tuple in (getattr(kind, "__origin__", None),):
        return st.lists(st.floats(0, 1), min_size=2, max_size=2) | st.just([0.9, 0.99]) | st.lists(st.floats(0, 1))
    return st.sampled_from(get_args(kind)) if get_args(kind) else VALUES


@functools.cache
def section(name: str, small: bool) -> SearchStrategy[dict[str, Any]]:
    """One or two settings of a section, each in its range."""
    fields = [
        st.tuples(st.just(field), _allowed(field, info.annotation, info.metadata, small))
        for field, info in SECTIONS[name].model_fields.items()
    ]
    return st.lists(st.one_of(fields), min_size=1, max_size=2).map(dict)


@functools.cache
def allowed(small: bool) -> SearchStrategy[dict[str, Any]]:
    """Settings that are in their ranges, but may contradict each other."""
    sections = [st.tuples(st.just(name), section(name, small)) for name in SECTIONS]
    return st.lists(st.one_of(sections), max_size=3).map(dict)


@st.composite
def settings(draw: st.DrawFn) -> Any:
    """Settings of which any may be wrong."""
    return draw(changed(draw(allowed(False)), VALUES))


class _Plan:
    """Choices from a few bytes, which hypothesis draws at once: single draws take most of the time."""

    def __init__(self, content: bytes) -> None:
        self.content = iter(content)

    def below(self, n: int) -> int:
        """A number below n."""
        many = 1 if n <= 256 else 3
        return sum(next(self.content, 0) << 8 * place for place in range(many)) % max(n, 1)


PLANS = st.binary(min_size=24, max_size=24)


@st.composite
def changed(draw: st.DrawFn, base: Any, values: SearchStrategy[Any] = JSON) -> Any:
    """A nested value in which some parts are replaced, removed, renamed, swapped or a little more or less."""
    result, plan, fresh = copy.deepcopy(base), _Plan(draw(PLANS)), draw(values)
    for _ in range(plan.below(4)):
        place: Any = result
        if not isinstance(place, dict | list) or not place:
            return {"x": fresh} if isinstance(place, dict) else fresh
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[plan.below(len(keys))]
            if not (isinstance(place[key], dict | list) and place[key] and plan.below(4)):
                break
            place = place[key]
        _change(plan, place, key, keys, fresh)
    return result


POOL: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 255, 10**6, 10**11, 2**31, 2**63 - 1, 2**63, 10**30, 10**400, 0.0, -0.0, 0.5, 1 - 1e-16, 5e-324),
    *(1e300, math.inf, -math.inf, math.nan, "", " ", "x", "1", "auto", "läuft", "a\nb", "\u202e", "a" * 300, "\0"),
    *(True, False, None, [], {}, [1], [[1]], {"a": 1}, [None], ["x"], [0.5, 0.5], [0.9, math.nan]),
)


def _change(plan: _Plan, place: Any, key: Any, keys: list[Any], fresh: Any) -> None:
    how = plan.below(7)
    if how < 2:
        place[key] = copy.deepcopy(fresh)
    elif how == 2:
        place[key] = copy.deepcopy(POOL[plan.below(len(POOL))])
    elif how == 3:
        del place[key]
    elif how == 4 and isinstance(place, dict):
        place[("", f"{key}s", "x", "seed", "a.b")[plan.below(5)]] = place.pop(key)
    elif how == 5:
        other = keys[plan.below(len(keys))]
        place[key], place[other] = place[other], place[key]
    elif isinstance(place[key], int | float) and not isinstance(place[key], bool):
        place[key] = place[key] + (1, -1, 1000, 10**6)[plan.below(4)]


PIECES = (
    *(b"\0", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xff", b"[", b"]", b"{", b"}", b'"', b"'''", b".", b"=", b",", b":"),
    *(b"1", b"9" * 40, b"9" * 5000, b"0x" + b"f" * 4000, b"nan", b"inf", b"1e999", b"null", b"true", b"[" * 300),
    *(b"a." * 99, b"a = 1\n", b"[[runs]]\n", b"[grid]\n", b"seed = 1\n", b"\xed\xa0\x80", bytes(64), b"1979-05-27"),
)


def _damaged(base: bytes, plan: _Plan, fresh: bytes) -> bytes:
    content = bytearray(base)
    for _ in range(1 + plan.below(3)):
        how, at, length = plan.below(9), plan.below(max(len(content), 257)), (1, 1, 2, 8, 64, 1000)[plan.below(6)]
        at = min(at, max(len(content) - 1, 0))
        piece = bytes(content[at : at + length])
        if how == 0 and content:
            content[at] ^= 1 << plan.below(8)
        elif how == 1 and content:
            content[at] = plan.below(256)
        elif how == 2:
            del content[at:]
        elif how == 3:
            del content[at : at + length]
        elif how == 4:
            content[at:at] = piece
        elif how == 5:
            content[at : at + length] = bytes(len(piece))
        elif how == 6:
            content[at:at] = fresh
        else:
            end = at if how == 7 else len(content)
            content[end:end] = PIECES[plan.below(len(PIECES))]
    return bytes(content)


def damaged(base: bytes) -> SearchStrategy[bytes]:
    """Content with some places flipped, cut, removed, repeated, zeroed or filled with something else."""
    return st.builds(lambda plan, fresh: _damaged(base, _Plan(plan), fresh), PLANS, st.binary(max_size=9))


def as_toml(values: Any) -> bytes:
    """Values as TOML, where that can hold them."""
    try:
        return tomli_w.dumps(values).encode(errors="surrogatepass")
    except (TypeError, ValueError, AttributeError):
        return str(values).encode(errors="surrogatepass")


def as_json(values: Any) -> bytes:
    return json.dumps(values).encode()


@st.composite
def files(draw: st.DrawFn, base: Any, write: Callable[[Any], bytes], values: SearchStrategy[Any] = JSON) -> bytes:
    """A file of nested values, in which values or bytes are wrong."""
    content = write(draw(changed(base, values))) if draw(st.booleans()) else write(base)
    return draw(damaged(content)) if draw(st.booleans()) else content


@st.composite
def toml(draw: st.DrawFn) -> bytes:
    """A file of settings."""
    return draw(files(draw(allowed(False)), as_toml, VALUES))


@st.composite
def studies(draw: st.DrawFn) -> bytes:
    """A study's file."""
    study: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["sizes", "a,b=1", "x" * 199]),
                "seeds": st.one_of(st.integers(0, 9), WHOLE, st.lists(st.integers(0, 9), max_size=4)),
                "base": allowed(False),
            },
        )
    )
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(sorted(SECTIONS)), max_size=2, unique=True))
        study["grid"] = {
            name: {field: [value, draw(SIMPLE)][: draw(st.integers(1, 2))] for field, value in fields.items()}
            for name in names
            for fields in [draw(section(name, False))]
        }
    if draw(st.booleans()):
        variants = draw(st.lists(allowed(False), max_size=3))
        study["runs"] = [{"name": f"v{number}", **variant} for number, variant in enumerate(variants)]
    return draw(files(study, as_toml, VALUES))


@st.composite
def safetensors(draw: st.DrawFn, base: bytes) -> bytes:
    """A file of tensors whose header, its length or its tensors are wrong."""
    if draw(st.booleans()):
        return draw(damaged(base))
    length = int.from_bytes(base[:8], "little")
    header = draw(files(json.loads(base[8 : 8 + length]), as_json))
    told = draw(st.one_of(*[st.just(len(header))] * 3, WHOLE.filter(lambda n: 0 <= n < 2**64)))
    return told.to_bytes(8, "little") + header + base[8 + length :]


def words(names: Mapping[str, str]) -> SearchStrategy[list[str]]:
    """Command lines in a folder that has files of these names, by kind."""
    paths = st.sampled_from(
        [*names.values(), "none", "", ".", "..", "a\0b", "x" * 300, "ä" * 150, "no/such/folder/x.html", "\udcff", "-"]
    )
    flags = st.sampled_from(
        [
            *(
                "--describe",
                "--quiet",
                "--resume",
                "--overwrite",
                "--with-null",
                "--accept",
                "--thorough",
                "--help",
                "--",
            ),
            *(
                "--version",
                "-h",
                "--out",
                "--null",
                "--config",
                "--only",
                "--plotly",
                "--workers",
                "--engine",
                "--seed",
            ),
        ]
    )
    fields = st.sampled_from(
        [f"--{name}.{field.replace('_', '-')}" for name, model in SECTIONS.items() for field in model.model_fields]
    )
    values = st.one_of(SIMPLE.map(str), st.sampled_from(["beside", "inline", "local", "learning", "9" * 5000, "1e400"]))
    more = st.lists(st.one_of(flags, flags, fields, values, values, paths), max_size=4)
    option = st.tuples(st.sampled_from(["--out", "--config", "--null", "--only"]), paths).map(list)
    setting = st.tuples(fields, values).map(list)
    rest = st.lists(st.one_of(option, setting), max_size=2).map(lambda parts: [word for part in parts for word in part])
    return st.tuples(
        st.sampled_from(["check", "report", "check", "report", "sweep", "train", "trian", ""]),
        st.lists(paths, max_size=2),
        st.one_of(more, rest, rest),
    ).map(lambda parts: [parts[0], *parts[1], *parts[2]])
