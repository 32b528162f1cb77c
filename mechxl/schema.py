"""What the files of a run may hold: rows of metrics, in the order of the schedule, and the environment."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from mechxl.config import TrainingConfig
from mechxl.errors import InputError
from mechxl.files import read_json

Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
LogProb = Annotated[float, Field(le=1e-6, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, strict=True)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MaybeFinite = Annotated[float | None, Field(allow_inf_nan=False)]
MaybeRate = Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)]
MaybeLogProb = Annotated[float | None, Field(le=1e-6, allow_inf_nan=False)]
MaybeCount = Annotated[int | None, Field(ge=0)]
MaybeAmount = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]
MaybeText = Annotated[str | None, Field(max_length=10_000)]
Text = Annotated[str, Field(max_length=10_000)]
_STRICT = ConfigDict(extra="forbid", strict=True)


def _rates(metric: str, parts: Sequence[str], needed: bool) -> dict[str, Any]:
    """The fields of one metric: rates, their n, and the rates of its parts; None where nothing was asked."""
    missing: Any = ... if needed else None
    fields: dict[str, Any] = {
        f"{metric}_accuracy": (MaybeRate, missing),
        f"{metric}_value_accuracy": (MaybeRate, missing),
        f"{metric}_n": (Count if needed else MaybeCount, missing),
        f"{metric}_log_prob": (MaybeLogProb, missing),
        f"{metric}_kinds": (dict[str, MaybeRate] if needed else dict[str, MaybeRate] | None, missing),
        f"{metric}_reason": (MaybeText, None),
    }
    for part in parts:
        kind: Any = dict[str, Rate] if needed else dict[str, Rate] | None
        fields[f"{metric}_by_{part}"] = (kind, missing)
    return fields


Row = create_model(
    "Row",
    __config__=_STRICT,
    step=(Count, ...),
    loss=(Finite, ...),
    train_loss=(MaybeFinite, None),
    train_answer_loss=(MaybeFinite, None),
    mono_visits=(MaybeAmount, None),
    parallel_visits=(MaybeAmount, None),
    **_rates("recall", ("group", "language"), True),
    **_rates("transfer", ("pair",), True),
    **_rates("recall_hidden", ("group", "language"), False),
    **_rates("transfer_hidden", ("pair",), False),
)
"""One row of metrics.jsonl."""


class Environment(BaseModel):
    """environment.json, but for its hash."""

    model_config = _STRICT

    versions: dict[Text, Text]
    platform: Text
    commit: MaybeText
    threads: Annotated[int, Field(ge=1)]
    command: list[str]
    n_ctx: Annotated[int, Field(ge=1, le=1_000_000)]
    device: Text
    data_digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    least_loss: Finite
    trained_together: Annotated[int, Field(ge=2)] | None = None
    resumed_at: list[Count] = []
    wall_seconds: MaybeAmount = None


def read_environment(path: Path, settings: str) -> dict[str, Any]:
    """The content of environment.json.

    Args:
        path: the file.
        settings: SHA-256 of the run's config.toml.

    Raises:
        InputError: it can't be read, is not as it was written, or holds something else.
    """
    content = read_json(path)
    problem = "it holds no environment"
    if isinstance(content, dict):
        found = content.pop("sha256", "")
        try:
            Environment.model_validate(content)
            if found == environment_hash(content, settings):
                return content
            problem = "it is not as training wrote it for this config.toml"
        except ValidationError as error:
            problem = _sentence(error)
    raise InputError(f"{path}: can't be read ({problem}); restore it, or train the run again")


def environment_hash(content: Mapping[str, Any], settings: str) -> str:
    """The hash by which environment.json shows that it is as it was written, for a config.toml of this SHA-256.

    COMPLETE does not hold the file's hash: it is the same for equal runs, and environment.json knows the clock.
    """
    return hashlib.sha256(f"{settings} {json.dumps(content, sort_keys=True)}".encode()).hexdigest()


def check_rows(path: Path, rows: Sequence[Mapping[str, Any]], steps: Iterator[int]) -> None:
    """Checks the rows of metrics.jsonl.

    Args:
        path: the file, for messages.
        rows: its rows.
        steps: the steps that rows must have, in order; there may be fewer rows.

    Raises:
        InputError: a row holds something else, or has another step; file and line are named.
    """
    restore = "restore the file, or train the run again"
    for line, row in enumerate(rows, 1):
        try:
            Row.model_validate(row)
        except ValidationError as error:
            raise InputError(f"{path}: line {line}: {_sentence(error)}; {restore}") from None
        expected = next(steps, None)
        if row["step"] != expected:
            due = "no further row" if expected is None else f"step {expected:,}"
            raise InputError(f"{path}: line {line}: has step {_short(row['step'])} where {due} is due; {restore}")
        kinds = [share for share in row["recall_kinds"].values() if share is not None]
        if kinds and not math.isclose(sum(kinds), 1, abs_tol=1e-6):
            raise InputError(f"{path}: line {line}: the kinds of answers sum to {sum(kinds):g}, not to 1; {restore}")
        for metric in ("recall", "transfer"):
            if row[f"{metric}_kinds"].get("right") != row[f"{metric}_accuracy"]:
                raise InputError(f"{path}: line {line}: {metric}_accuracy is not the share of right answers; {restore}")


def scheduled(training: TrainingConfig) -> Iterator[int]:
    """The steps of evaluations, in order."""
    checkpoints, every, step = iter([*training.checkpoint_steps(), training.steps]), training.evaluate_every, 0
    upcoming = next(checkpoints)
    while step <= training.steps:
        yield step
        while upcoming <= step and upcoming < training.steps:
            upcoming = next(checkpoints)
        following = (step // every + 1) * every
        step = min(following, upcoming) if upcoming > step else following
        if step > training.steps:
            return


def _sentence(error: ValidationError) -> str:
    """The first problem that pydantic found: where, what, and the value."""
    item = error.errors()[0]
    where = ".".join(map(str, item["loc"])) or "it"
    return f"{where} = {_short(item['input'])}: {item['msg'][:1].lower()}{item['msg'][1:]}"


def _short(value: object) -> str:
    try:
        text = ascii(value) if not isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return "a value too long to show"
    return text if len(text) <= 60 else f"{text[:57]}..."
