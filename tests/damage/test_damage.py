"""A sample of the damages, and what the judge calls wrong; `python -m tests.damage` reads all of them."""

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.damage import judge
from tests.damage.__main__ import Scene
from tests.damage.judge import _forked, alike
from tests.damage.ways import Damage, edit

SAMPLE = 12


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a process that is forked has no others
    with tempfile.TemporaryDirectory() as folder:  # pytest's own can't be entered by another user
        yield Scene.make(Path(folder), ["learning"])
    torch.set_num_threads(threads)


def test_damage_is_right_refused_or_said(scene: Scene):
    everything = scene.damages()
    assert len(everything) >= 773
    assert len({(run, damage.kind, damage.name) for run, damage in everything}) == len(everything)
    named = [
        (run, damage)
        for run, damage in everything
        if (
            (run, damage.kind) in (("whole", "not readable"), ("stopped", "not readable"))
            and damage.name.startswith(("config", "resume"))
        )
        or (run, damage.kind, damage.name.startswith("activations.zarr/zarr.json")) == ("whole", "a pipe", True)
    ]
    assert len(named) == 4
    found = {
        f"{damage.kind}, {damage.name}, {reader}": verdict
        for run, damage in [*everything[7 :: len(everything) // SAMPLE], *named]
        for reader, verdict in scene.judged(run, damage).items()
    }
    assert {name: verdict for name, verdict in found.items() if verdict[0] not in ("right", "refused", "said")} == {}
    assert {"right", "refused"} <= {category for category, _ in found.values()}


def test_what_is_wrong_is_seen(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    nothing = Damage("nothing", "at all", lambda run: None)
    assert {category for category, _ in scene.judged("whole", nothing).values()} == {"right"}
    assert scene.judged("stopped", nothing)["resume"][0] == "right"
    other = dataclasses.replace(
        scene, page=scene.page.replace("20 entities", "21 entities"), notebook=scene.notebook | {"steps": ([0], True)}
    )
    assert other.page != scene.page
    assert {category for category, _ in other.judged("whole", nothing).values()} == {"WRONG"}
    lost = Damage("a finding", "less", edit("findings/learning.json", lambda content: content[:-1]))
    assert {category for category, _ in scene.judged("whole", lost).values()} == {"said"}
    monkeypatch.setattr(judge, "SECONDS", 1)
    assert _forked(lambda: 1 / 0, False)[0] == "TRACEBACK"  # type: ignore[arg-type]
    assert _forked(lambda: time.sleep(9), False)[0] == "HANG"  # type: ignore[arg-type]


def test_numbers_are_alike_within_rounding():
    assert alike("a 0.1234567", "a 0.1234568")
    assert not alike("a 0.123", "a 0.124")
    assert not alike("a 1", "b 1")
