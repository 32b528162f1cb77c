"""A study lists runs: variants x grid x seeds. It is read from a TOML file and checked before any run starts.

name = "sizes"                          # default: the file's name
seeds = 3                               # means 0, 1, 2; may be a list; default: [0]

[base]                                  # settings of all runs, as in a run's config.toml
training.steps = 500

[grid]                                  # lists of values, crossed
world.n_entities = [100, 1000]
tokenization.kind = ["syllable", "bpe"]

[[runs]]                                # variants: settings that change together; crossed with the grid
name = "apart"
seeds = 1                               # for this variant only; default: the study's
mixture = { parallel_fraction = 0.2, unit = "entity" }

[slurm]                                 # only for the engine slurm
partition = "short"

A run's name states its variant, its values in the grid and its seed: `apart,n_entities=100,kind=bpe,seed=0`. The names
of existing runs stay the same when values, variants or seeds are added.
"""

import difflib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mechxl.cli import read_toml
from mechxl.config import RunConfig, flat, parse_config
from mechxl.errors import InputError, quoted, shown

MOST_RUNS = 10_000
LONGEST = 200  # characters of a run's name: file systems allow 255 bytes, and temporary files need longer names
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=,-]*")
_FIELDS = Counter(
    field
    for section in RunConfig.model_fields.values()
    if isinstance(section.annotation, type) and issubclass(section.annotation, BaseModel)
    for field in section.annotation.model_fields
)


@dataclass(frozen=True)
class Planned:
    """One run of a study: its name (also its directory's name), its settings, and its variant."""

    name: str
    config: RunConfig
    variant: str


@dataclass(frozen=True)
class Study:
    """All runs of a study.

    Attributes:
        name: the name of the study and of its directory.
        runs: in the file's order: by variant, then by grid point (the last setting varies fastest), then by seed.
        varied: dotted names of the settings that variants and grid set.
        slurm: the [slurm] table, options of the engine slurm.
    """

    name: str
    runs: tuple[Planned, ...]
    varied: tuple[str, ...]
    slurm: Mapping[str, Any] = field(default_factory=dict)


def read_study(path: str | Path) -> Study:
    """The study that a TOML file describes.

    Raises:
        InputError: the file is missing, is not TOML, or is not a valid study; the message names the file and the run.
    """
    path = Path(path)
    raw = read_toml(path, "a study is a TOML file with [base], [grid] and seeds")
    try:
        return parse_study(raw, path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def parse_study(raw: Mapping[str, Any], name: str = "study") -> Study:
    """The study that nested plain values (a TOML file's) describe; `name` is the default for its name.

    Raises:
        InputError: one sentence that names the run, the setting and its value, the reason and what works.
    """
    _check_keys(raw)
    name = _plain("name", raw.get("name", name))
    base, axes = (_settings(raw.get(key, {}), key) for key in ("base", "grid"))
    for setting, values in axes.items():
        if not (isinstance(values, list) and values):
            raise InputError(f"grid: {setting} = {quoted(values)}: must be a list of values; write [{quoted(values)}]")
    variants = raw.get("runs", [{}])
    if not (isinstance(variants, list) and variants and all(isinstance(item, dict) for item in variants)):
        raise InputError("runs: must be tables, each headed [[runs]]; leave it out if there are no variants")
    runs: list[Planned] = []
    varied: dict[str, None] = {}
    points = math.prod(len(values) for values in axes.values())
    planned = sum(points * len(_seeds(variant.get("seeds", raw.get("seeds", [0])))) for variant in variants)
    if planned > MOST_RUNS:
        raise InputError(f"the study has {planned:,} runs; a study has at most {MOST_RUNS:,}; split it")
    for variant in variants:
        label = _plain("runs: name", variant.get("name")) if "runs" in raw else ""
        own = _settings({key: value for key, value in variant.items() if key not in ("name", "seeds")}, label)
        if both := own.keys() & axes.keys():
            raise InputError(f"{min(both)}: is set in [grid] and in the variant {label}; remove one of them")
        seeds = _seeds(variant.get("seeds", raw.get("seeds", [0])))
        varied |= dict.fromkeys(own)
        for *values, seed in itertools.product(*axes.values(), seeds):
            point = dict(zip(axes, values, strict=True))
            runs.append(_planned(label, base | own, point, seed))
    _check_distinct(runs)
    return Study(name, tuple(runs), tuple(varied | dict.fromkeys(axes)), _slurm(raw.get("slurm", {})))


def _planned(variant: str, settings: dict[str, Any], point: dict[str, Any], seed: int) -> Planned:
    """One run: the settings of [base] and of its variant by dotted name, its point of the grid, and its seed."""
    parts = [variant] if variant else []
    name = ",".join([*parts, *(_label(*item) for item in point.items()), f"seed={seed}"])
    if len(name) > LONGEST:
        raise InputError(f"run {name}: its name is longer than {LONGEST} characters; use [[runs]] with short names")
    raw: dict[str, Any] = {}
    for setting, value in (settings | point).items():
        section, dot, field = setting.partition(".")
        if not dot:
            raw[section] = value
        elif isinstance(inner := raw.setdefault(section, {}), dict):  # if not, parse_config refuses it
            inner[field] = value
    if "seed" in raw:
        raise InputError(
            f"seed = {quoted(raw['seed'])}: seeds belong at the top of a study; write seeds = [0, 1, 2], or 3"
        )
    try:
        return Planned(name, parse_config(raw | {"seed": seed}), variant)
    except InputError as error:
        raise InputError(f"run {name}: {error}") from None


def _label(setting: str, value: Any) -> str:
    """A grid value in a run's name: field=value, or section.field=value where sections share the field's name."""
    section, _, field = setting.rpartition(".")
    items = value if isinstance(value, list) else [value]
    text = "+".join(re.sub(r"[^A-Za-z0-9._-]", "-", shown(item).removesuffix(".0")) for item in items)
    return f"{setting if section and _FIELDS[field] > 1 else field}={text}"


def _settings(table: Any, where: str) -> dict[str, Any]:
    """Nested tables by dotted name; `world.n_entities` may be quoted or not."""
    if not isinstance(table, dict):
        raise InputError(f"{where} = {quoted(table)}: must be a table of settings, [{where}]")
    settings: dict[str, Any] = {}
    for setting, value in _leaves(table):
        if setting in settings:
            raise InputError(f"{where}: {setting} is set twice; remove one")
        settings[setting] = value
    return settings


def _leaves(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _slurm(table: Any) -> Mapping[str, Any]:
    """The [slurm] table, checked."""
    if not isinstance(table, dict):
        raise InputError(f"slurm = {table!r}: must be a table of options, [slurm]")
    if table:
        from mechxl.sweep.engines.slurm import parse_slurm

        parse_slurm(table)
    return table


def _seeds(given: Any) -> Sequence[int]:
    if type(given) is int and given > MOST_RUNS:
        raise InputError(f"seeds = {shown(given)}: a study has at most {MOST_RUNS:,} runs; split it")
    seeds = list(range(given)) if type(given) is int else given
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)):
        raise InputError(
            f"seeds = {quoted(given)}: must be a number of seeds above 0, or a list of them; write seeds = 3"
        )
    return seeds


def _plain(what: str, name: Any) -> str:
    """A name that is safe as a directory's."""
    if not (isinstance(name, str) and _PLAIN.fullmatch(name)):
        given = "is missing" if name is None else f"= {quoted(name)}: can't name a directory"
        raise InputError(f"{what} {given}; use letters, digits and . _ + = , - and begin with a letter or digit")
    return name


def _check_keys(raw: Mapping[str, Any]) -> None:
    known = ("name", "seeds", "base", "grid", "runs", "slurm")
    for key in raw:
        if key in RunConfig.model_fields:
            raise InputError(f"{key}: settings belong in [base], [grid] or [[runs]]; write base.{key}")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            raise InputError(f"{key}: there is no such key; did you mean {' or '.join(near or known)}")


def _check_distinct(runs: list[Planned]) -> None:
    names: set[str] = set()
    settings: dict[tuple[Any, ...], str] = {}
    for run in runs:
        if run.name in names:
            raise InputError(f"run {run.name}: there are two; a value, a seed or a variant's name is given twice")
        names.add(run.name)
        twin = settings.setdefault(tuple(flat(run.config).values()), run.name)
        if twin != run.name:
            raise InputError(f"runs {twin} and {run.name}: have the same settings and seeds; remove one")
