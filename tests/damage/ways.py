"""The ways in which a run is damaged: each file, by what happens to files, and by what people edit."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ONE, LAST = "checkpoints/step-000001.safetensors", "checkpoints/step-000006.safetensors"
STATE = "resume.safetensors"


@dataclass(frozen=True)
class Damage:
    """One damage.

    Attributes:
        kind: what was done, as the table has it.
        name: which file, and where.
        do: does it in a run's directory.
        unprivileged: root can read everything; so another user reads.
    """

    kind: str
    name: str
    do: Callable[[Path], object]
    unprivileged: bool = False


def damages(run: Path, other: Path) -> Iterator[Damage]:
    """All damages of a run; `other` is a run with other seeds, in the same state."""
    files = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    chunks = [name for name in files if name.startswith("activations.zarr")]
    few = [name for name in chunks if "/c." in name][::29][:3] + [name for name in chunks if "zarr.json" in name][-2:]
    for name in [name for name in files if name not in chunks] + few:
        yield from _of_any_file(name, other)
    yield from _of_metrics(run)
    yield from _of_settings(run)
    yield from _of_json(run, [name for name in files if name.endswith((".json", "COMPLETE")) and name not in chunks])
    yield from _of_checkpoints(run)
    yield from _of_folders(run, other)
    yield from _of_chunks([name for name in chunks if "/c." in name])


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Rewrites a file by a function of its content."""

    def do(run: Path) -> None:
        (run / name).write_bytes(change((run / name).read_bytes()))

    return do


def replaced(name: str, how: Callable[[Path], object]) -> Callable[[Path], None]:
    """Puts something else in a file's place."""

    def do(run: Path) -> None:
        (run / name).unlink()
        how(run / name)

    return do


def flip(content: bytes, place: float) -> bytes:
    """Flips a bit."""
    at = int(place * (len(content) - 1))
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :] if content else b"\4"


def zero(content: bytes, place: float, length: int = 64) -> bytes:
    """Zeroes a block."""
    at = int(place * max(len(content) - length, 0))
    return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]


def _of_any_file(name: str, other: Path) -> Iterator[Damage]:
    for share in (0.0, 0.3, 0.6, 0.9):
        yield Damage("truncated", f"{name} to {share}", edit(name, lambda c, s=share: c[: int(s * len(c))]))
    yield Damage("truncated", f"{name} by a byte", edit(name, lambda c: c[:-1]))
    for place in (0.0, 0.02, 0.2, 0.5, 0.8, 1.0):
        yield Damage("a bit flipped", f"{name} at {place}", edit(name, partial(flip, place=place)))
    for place in (0.0, 0.5, 1.0):
        yield Damage("a block zeroed", f"{name} at {place}", edit(name, partial(zero, place=place)))
    for garbage in (b"\0" * 9, b"\n{}\n"):
        yield Damage("garbage appended", f"{name} {garbage!r}", edit(name, lambda c, g=garbage: c + g))
    yield Damage("deleted", name, lambda run: (run / name).unlink())
    for what, content in (("text", b"hello\n"), ("null", b"null"), ("deep", b"[" * 100_000)):
        yield Damage("replaced", f"{name} by {what}", edit(name, lambda _, c=content: c))
    if (other / name).is_file():
        yield Damage("another run's file", name, lambda run: shutil.copy(other / name, run / name))
        yield Damage("a link elsewhere", name, replaced(name, lambda path: path.symlink_to(other / name)))
    yield Damage("a directory", name, replaced(name, Path.mkdir))
    yield Damage("a pipe", name, replaced(name, os.mkfifo))
    yield Damage("a circle of links", name, replaced(name, lambda path: path.symlink_to(path.name)))
    yield Damage("/dev/zero", name, replaced(name, lambda path: path.symlink_to("/dev/zero")))
    yield Damage("not readable", name, lambda run: (run / name).chmod(0), unprivileged=True)


def _of_metrics(run: Path) -> Iterator[Damage]:
    name, rows = "metrics.jsonl", (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)

    def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
        return edit(name, lambda content: b"".join(change(content.splitlines(keepends=True))))

    for at in range(len(rows)):
        yield Damage("metrics: rows", f"cut after {at}", lines(lambda r, at=at: r[:at]))
        yield Damage("metrics: rows", f"{at} deleted", lines(lambda r, at=at: r[:at] + r[at + 1 :]))
        yield Damage("metrics: rows", f"{at} twice", lines(lambda r, at=at: r[: at + 1] + r[at:]))
        yield Damage("metrics: rows", f"{at} torn", lines(lambda r, at=at: [*r[:at], r[at][:40]]))
        for what in (b"5\n", b"null\n", b"{}\n", b"[]\n"):
            yield Damage("metrics: rows", f"{at} {what!r}", lines(lambda r, at=at, w=what: [*r[:at], w, *r[at + 1 :]]))
        for found in [*re.finditer(rb"\d", rows[at])][3::23][:12]:
            digit = b"%d" % ((int(found[0]) + 1) % 10)
            change = lambda r, at=at, f=found, d=digit: [  # noqa: E731
                *r[:at], r[at][: f.start()] + d + r[at][f.end() :], *r[at + 1 :],
            ]  # fmt: skip
            yield Damage("metrics: a digit", f"row {at}, letter {found.start()}", lines(change))
        for change in (
            *({"recall_accuracy": value} for value in (5, -1, None, 0.123, "1", 1e400)),
            *({"step": value} for value in (10**30, -1, None, "1", 1.5)),
            *({"loss": value} for value in (None, float("nan"), "low", 1e300)),
            {"more": 1},
        ):
            done = lambda r, at=at, c=change: [  # noqa: E731
                *r[:at], json.dumps(json.loads(r[at]) | c).encode() + b"\n", *r[at + 1 :],
            ]  # fmt: skip
            yield Damage("metrics: a value", f"row {at}, {change}", lines(done))
    for what, change in {
        "reversed": lambda c: b"".join(reversed(c.splitlines(keepends=True))),
        "CRLF": lambda c: c.replace(b"\n", b"\r\n"),
        "BOM": lambda c: b"\xef\xbb\xbf" + c,
        "UTF-16": lambda c: c.decode().encode("utf-16"),
        "empty lines": lambda c: c.replace(b"\n", b"\n\n"),
        "twice": lambda c: c + c,
    }.items():
        yield Damage("metrics: rows", what, edit(name, change))


def _of_settings(run: Path) -> Iterator[Damage]:
    content = (run / "config.toml").read_text(encoding="utf-8")
    for line in content.splitlines():
        setting, _, value = line.partition(" = ")
        for new in _others(value):
            change = lambda c, old=line, new=f"{setting} = {new}": c.replace(old.encode(), new.encode(), 1)  # noqa: E731
            yield Damage("a setting edited", f"{line} to {new}", edit("config.toml", change))
    for what, change in {
        "CRLF": lambda c: c.replace(b"\n", b"\r\n"),
        "BOM": lambda c: b"\xef\xbb\xbf" + c,
        "a comment": lambda c: c + b"# mine\n",
        "unknown": lambda c: b"speed = 1\n" + c,
        "dots": lambda c: c + b"[a" + b".b" * 20_000 + b"]\n",
        "digits": lambda c: b"x = " + b"9" * 5000 + b"\n" + c,
    }.items():
        yield Damage("a setting edited", what, edit("config.toml", change))


def _others(value: str) -> list[str]:
    """Other values of a setting in TOML."""
    if re.fullmatch(r"\d+", value):
        return [str(int(value) + 1), str(10**30)]
    if re.fullmatch(r"[\d.e-]+", value):
        return [str(float(value) / 2 + 0.003)]
    return ['"x"'] if value.startswith('"') else []


def _of_json(run: Path, names: list[str]) -> Iterator[Damage]:
    for name in names:
        content: dict[str, Any] = json.loads((run / name).read_bytes())

        def changed(key: str, value: Any, name: str = name) -> Callable[[Path], None]:
            def change(before: bytes) -> bytes:
                kept = json.loads(before)
                if value is KeyError:
                    del kept[key]
                else:
                    kept[key] = value
                return json.dumps(kept).encode()

            return edit(name, change)

        for key in content:
            for value in (KeyError, None, 5) if "findings" in name else (KeyError, None, {}, 5, [], "x", float("nan")):
                told = "gone" if value is KeyError else repr(value)
                yield Damage("JSON: a value", f"{name} {key}: {told}", changed(key, value))
        numbers = [*re.finditer(rb"(?<=[\[ ])\d+\.\d+", (run / name).read_bytes())]
        for found in numbers[:: max(len(numbers) // 6, 1)][:6]:
            half = repr(float(found[0]) / 2 + 0.001).encode()
            halved = lambda c, f=found, h=half: c[: f.start()] + h + c[f.end() :]  # noqa: E731
            yield Damage("JSON: a number", f"{name} at {found.start()}", edit(name, halved))


def _of_checkpoints(run: Path) -> Iterator[Damage]:
    folder = "checkpoints"
    for name in ("step-24.safetensors", "step--1.safetensors", "step-000001 (copy).safetensors", "step-backup"):
        yield Damage("files beside checkpoints", name, lambda run, n=name: shutil.copy(run / ONE, run / folder / n))
    for step in ("000003", "000002", "000012", "1000000"):
        to = f"{folder}/step-{step}.safetensors"
        yield Damage("files beside checkpoints", to, lambda run, to=to: shutil.copy(run / ONE, run / to))
        yield Damage("a checkpoint renamed", to, lambda run, to=to: (run / ONE).rename(run / to))
    names = sorted(f"{folder}/{path.name}" for path in (run / folder).iterdir())
    for one in names:
        for other in names:
            if one != other:
                yield Damage(
                    "a checkpoint copied over another",
                    f"{one} {other}",
                    lambda run, a=one, b=other: shutil.copy(run / a, run / b),
                )
        for value in ("nan", "inf", "1e30", "0.5", "int8", "shape", "name"):
            yield Damage("a parameter", f"{one} {value}", partial(_parameter, name=one, what=value))


def _parameter(run: Path, name: str, what: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    saved = load_file(run / name)
    if what == "int8":
        saved = {key: value.to(torch.int8) for key, value in saved.items()}
    elif what == "shape":
        saved["unembed.b_U"] = saved["unembed.b_U"][:-1].clone()
    elif what == "name":
        saved["unembed.bias"] = saved.pop("unembed.b_U")
    else:
        saved["unembed.b_U"][0] = float(what)
    save_file(saved, run / name)


def _of_folders(run: Path, other: Path) -> Iterator[Damage]:
    for name in sorted(path.name for path in run.iterdir() if path.is_dir()):
        yield Damage("a folder", f"{name} deleted", lambda run, n=name: shutil.rmtree(run / n))
        yield Damage("a folder", f"{name} emptied", lambda run, n=name: [shutil.rmtree(run / n), (run / n).mkdir()])
        yield Damage("a folder", f"{name} a file", lambda run, n=name: [shutil.rmtree(run / n), (run / n).touch()])
        yield Damage("a folder", f"{name} a pipe", lambda run, n=name: [shutil.rmtree(run / n), os.mkfifo(run / n)])
        elsewhere = lambda run, n=name: [shutil.rmtree(run / n), (run / n).symlink_to(other / n)]  # noqa: E731
        yield Damage("a folder", f"{name} another run's, by a link", elsewhere)
        swapped = lambda run, n=name: [shutil.rmtree(run / n), shutil.copytree(other / n, run / n)]  # noqa: E731
        if (other / name).is_dir():
            yield Damage("a folder", f"{name} another run's", swapped)
        yield Damage("a folder", f"{name} not readable", lambda run, n=name: (run / n).chmod(0), unprivileged=True)


def _of_chunks(chunks: list[str]) -> Iterator[Damage]:
    def swap(run: Path, a: str, b: str) -> None:
        one, two = (run / a).read_bytes(), (run / b).read_bytes()
        (run / a).write_bytes(two)
        (run / b).write_bytes(one)

    for at in range(0, len(chunks), max(len(chunks) // 5, 1)):
        for further in (1, 2, 5, len(chunks) // 3, len(chunks) // 2):
            a, b = chunks[at], chunks[(at + further) % len(chunks)]
            if a != b:
                yield Damage("activations swapped", f"{a} {b}", partial(swap, a=a, b=b))
