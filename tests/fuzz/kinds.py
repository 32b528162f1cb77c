"""The kinds of inputs: what is drawn, what reads it, and what must come out."""

import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from safetensors.torch import load

from mechxl.__main__ import main as mechxl
from mechxl.cli import read_config
from mechxl.config import RunConfig, as_toml_table, changed_settings, flat, parse_config
from mechxl.data.corpus import build_corpus
from mechxl.data.description import describe
from mechxl.files import parse_rows
from mechxl.findings import Finding
from mechxl.instruments.activations.cache import Cache
from mechxl.manifest import Base, Manifest, read_base, seal_of
from mechxl.questions.kept import read_kept
from mechxl.run import Run
from mechxl.schema import check_rows, read_environment, scheduled
from mechxl.sweep.study import read_study
from mechxl.train import print_description
from mechxl.training.loop import train_run
from mechxl.training.state import MOMENTS, Position, State, load_state, save_state
from tests.fuzz.judge import Defect
from tests.fuzz.strategies import allowed, as_json, as_toml, damaged, files, safetensors, settings, studies, toml, words
from tests.model.plain import tiny


@dataclass(frozen=True)
class Kind:
    """One kind of inputs.

    Attributes:
        inputs: what is drawn.
        read: reads an input as mechxl does; raises mechxl's errors, or a Defect.
        share: how often it is drawn, relative to the others.
        folder: what must not change if an input is refused.
        batch: how many are drawn in one process.
    """

    inputs: SearchStrategy[Any]
    read: Callable[[Any], object]
    share: float = 1
    folder: Path | None = None
    batch: int = 500


def hold(holds: bool, what: str) -> None:
    if not holds:
        raise Defect(what)


def kinds(folder: Path) -> dict[str, Kind]:
    """All kinds; their files are in a folder, which is the working directory while inputs are read."""
    run = train_run(tiny(steps=6, checkpoints=3), folder / "made" / "run", quiet=True)
    work = folder / "work"
    work.mkdir()
    return {
        **_of_settings(work),
        **_of_records(run, work),
        **_of_bare_run(run, work),
        "states": _states(work),
        **_of_caches(run, work),
        "command lines": _command_lines(run, folder / "lines"),
    }


def _of_settings(work: Path) -> dict[str, Kind]:
    file = work / "settings.toml"

    def whole(config: RunConfig) -> None:
        hold(parse_config(as_toml_table(config)) == config, "settings differ once they are written and read")
        _ = tomli_w.dumps(as_toml_table(config)).encode(), flat(config), changed_settings(config), config.shares
        steps = config.training.checkpoint_steps()
        hold(steps[0] == 0 and steps[-1] == config.training.steps, "checkpoints without the first or last step")

    def read_file(content: bytes) -> None:
        file.write_bytes(content)
        whole(read_config(file))

    def study(content: bytes) -> None:
        file.write_bytes(content)
        read = read_study(file)
        hold(len({planned.name for planned in read.runs}) == len(read.runs) > 0, "two runs of one name")

    def world(raw: Any) -> None:
        config = parse_config(raw)
        print_description(describe(config, build_corpus(config)))

    def train(raw: Any) -> None:
        config = parse_config(raw | {"training": {**tiny().training.model_dump(), **raw.get("training", {})}})
        try:
            hold(train_run(config, work / "run", quiet=True).complete, "a training that did not end")
        finally:
            shutil.rmtree(work / "run", ignore_errors=True)

    limited = st.fixed_dictionaries({"training": st.just({"steps": 2, "checkpoints": 2, "batch_size": 9})})
    small = st.tuples(allowed(True), limited).map(
        lambda both: (
            both[0]
            | {"training": both[1]["training"] | both[0].get("training", {})}
            | {"world": {"n_entities": 20, "n_unseen": 4} | both[0].get("world", {})}
            | {"model": {"d_model": 16, "d_mlp": 16} | both[0].get("model", {})}
        )
    )
    return {
        "settings": Kind(settings(), lambda raw: whole(parse_config(raw)), 6),
        "TOML": Kind(toml(), read_file, 6),
        "studies": Kind(studies(), study, 5),
        "worlds": Kind(small, world, 1, batch=20),
        "trainings": Kind(small, train, 0.5, batch=10),
    }


def _of_records(run: Run, work: Path) -> dict[str, Kind]:
    """Rows, which a schema guards, and two files that have a hash."""
    environment, training = run.file("environment.json").read_bytes(), run.config.training
    settings_hash = seal_of(run.file("config.toml").read_bytes()).sha256
    manifest, complete = Manifest.read(run.file("COMPLETE")), run.file("COMPLETE").read_bytes()
    scratch = work / "file"

    def written(content: bytes) -> Path:
        scratch.write_bytes(content)
        return scratch

    def of_rows(content: bytes) -> None:
        found = parse_rows(scratch, content)
        check_rows(scratch, found, scheduled(training))
        table = pd.json_normalize(found)
        if len(found):
            hold(bool(np.isfinite(table[["step", "loss"]].to_numpy(dtype=float)).all()), "a number that is none")
            hold(bool(table["recall_accuracy"].dropna().between(0, 1).all()), "a rate beyond 0 to 1")

    def of_environment(content: bytes) -> None:
        found = read_environment(written(content), settings_hash)
        hold(found == {k: v for k, v in json.loads(environment).items() if k != "sha256"}, "another environment")

    def of_manifest(content: bytes) -> None:
        hold(Manifest.read(written(content)) == manifest, "another manifest")

    def as_lines(rows: Any) -> bytes:
        return b"".join(as_json(row) + b"\n" for row in rows) if isinstance(rows, list) else as_json(rows)

    metrics = [json.loads(line) for line in run.file("metrics.jsonl").read_bytes().splitlines()]
    return {
        "metrics": Kind(files(metrics, as_lines), of_rows, 6),
        "environments": Kind(files(json.loads(environment), as_json), of_environment, 2),
        "manifests": Kind(files(json.loads(complete), as_json), of_manifest, 2),
    }


def _of_bare_run(run: Run, work: Path) -> dict[str, Kind]:
    """The files of a run without a manifest, which only the schema guards."""
    bare = Run(_bare(run, work / "bare"))
    tokenizer, facts = (run.file(name).read_bytes() for name in ("tokenizer.json", "facts.parquet"))

    def parameters(content: bytes) -> None:
        bare.checkpoint(1).write_bytes(content)
        found = bare.model(1)
        hold(all(bool(torch.isfinite(p).all()) for p in found.parameters()), "a parameter that is no number")

    def reads(name: str, attribute: str) -> Callable[[bytes], None]:
        was = bare.file(name).read_bytes()

        def read(content: bytes) -> None:
            bare.file(name).write_bytes(content)
            bare.__dict__.pop(attribute, None)
            try:
                _ = getattr(bare, attribute)
            finally:
                bare.__dict__.pop(attribute, None)
                bare.file(name).write_bytes(was)

        return read

    return {
        "checkpoints": Kind(safetensors(run.read_checkpoint(6)[0]), parameters, 0.5),
        "facts": Kind(damaged(facts), reads("facts.parquet", "facts"), 1),
        "tokenizers": Kind(files(json.loads(tokenizer), as_json), reads("tokenizer.json", "tokenizer"), 1),
        "settings of a run": Kind(files(as_toml_table(run.config), as_toml), reads("config.toml", "config"), 3),
    }


def _bare(run: Run, place: Path) -> Path:
    """The run as it is when training was interrupted and it was copied without its state."""
    shutil.copytree(run.path, place)
    for name in ("COMPLETE", "checkpoints/step-000006.safetensors"):
        (place / name).unlink()
    path = place / "metrics.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    return place


def _states(work: Path) -> Kind:
    vector = torch.arange(40, dtype=torch.float32)
    moments = {"step": torch.tensor(3.0), **{name: vector + at for at, name in enumerate(MOMENTS, 1)}}
    path = work / "resume.safetensors"
    base = Base(files={"config.toml": seal_of(b"x")}, metrics=seal_of(b"y"))
    save_state(path, State(Position(3, 1, 0.5), vector, moments, torch.zeros(2, dtype=torch.float64)), base)
    content = path.read_bytes()
    kept = load(content)

    def read(damage: bytes) -> None:
        path.write_bytes(damage)
        builds_on = read_base(path)
        state = load_state(path, vector, 6)
        hold(builds_on == base, "a state of something else")
        hold(state.position == Position(3, 1, 0.5) and torch.equal(state.parameters, vector), "another state")
        hold(all(torch.equal(state.moments[name], kept[name]) for name in moments), "another optimizer state")

    return Kind(safetensors(content), read, 3)


def _of_caches(run: Run, work: Path) -> dict[str, Kind]:
    """Findings and activations, which are made again where they are not as they were kept."""
    tables = {"numbers": pd.DataFrame({"p": [1e-9, 1 / 3], "step": [0, 6]})}
    finding = Finding("own", ["One sentence."], tables, {"n": 3}, {"grid": np.arange(6.0).reshape(2, 3)})
    text = finding.to_json("digest", "own")

    place = Run(shutil.copytree(run.path, work / "kept"))
    kept = place.file("findings") / "own.json"
    kept.parent.mkdir()

    def of_finding(content: bytes) -> None:
        kept.write_bytes(content)
        with redirect_stderr(io.StringIO()) as said:
            found = read_kept(place, "own", "digest")
        hold(found is not None or "answered anew" in said.getvalue(), "a finding left out without a word")
        hold(found is None or found.to_json("digest", "own") == text, "another finding")

    cache = Cache(work / "activations.zarr", (2, 5, 3), ("language", "fact", "d"), np.dtype("float32"))
    group, facts, values = f"step-000006-{'a' * 20}", np.arange(5), np.arange(15, dtype=np.float32).reshape(5, 3)
    for language in (0, 1):
        cache.write(group, "hook.role", language, facts, values + 100 * language, facts)
    array = work / "activations.zarr" / group / "hook.role"
    chunk, metadata = array / "c.0.0.0", array / "zarr.json"
    was = chunk.read_bytes(), metadata.read_bytes()

    def of_zarr(contents: tuple[bytes, bytes]) -> None:
        for path, content in zip((chunk, metadata), contents, strict=True):
            path.write_bytes(content)
        out = np.full((5, 3), np.nan, np.float32)
        fresh = Cache(work / "activations.zarr", (2, 5, 3), ("language", "fact", "d"), np.dtype("float32"))
        with redirect_stderr(io.StringIO()):
            fresh.prepare([group])
            fresh.read(group, "hook.role", 0, facts, out)
        hold(bool((np.isnan(out) | (out == values)).all()), "another activation")
        hold(fresh.layout.described(array), "metadata that was not mended")

    arrays = st.tuples(
        st.one_of(st.just(was[0]), damaged(was[0]), st.just((array / "c.1.0.0").read_bytes())),
        files(json.loads(was[1]), as_json),
    )
    sealed = files(json.loads(text), as_json)
    return {"findings": Kind(sealed, of_finding, 4), "zarr arrays": Kind(arrays, of_zarr, 2)}


def _command_lines(run: Run, lines: Path) -> Kind:
    """Command lines in a folder in which there is something of everything."""
    lines.mkdir()
    shutil.copytree(run.path, lines / "whole-run")
    broken = shutil.copytree(run.path, lines / "broken-run")
    (broken / "metrics.jsonl").write_bytes(b"5\n")
    (lines / "empty").mkdir()
    (lines / "notes.txt").write_text("notes")
    (lines / "circle").symlink_to("circle")
    os.mkfifo(lines / "pipe")
    (lines / "settings.toml").write_text("[world]\nn_entities = 20\nn_unseen = 0\n")
    (lines / "study.toml").write_text("seeds = 2\n[world]\nn_entities = 20\n")  # refused: it should say base.world
    names = {path.name: path.name for path in lines.iterdir()}

    def read(argv: list[str]) -> int:
        there = os.getcwd()  # noqa: PTH109
        os.chdir(lines)
        try:
            if argv[0] == "train":  # a training is another kind
                argv = ["train", "--describe", *argv[1:]]
            if argv[0] == "report":  # and so is what questions answer
                argv = [word.replace("whole-run", "broken-run") for word in argv]
            return mechxl(argv)
        finally:
            os.chdir(there)

    return Kind(words(names), read, 0.5, lines)
