"""The trained null of a run: what may be one, how it is found, and which findings depend on it."""

import shutil
from dataclasses import replace

import pytest

from mechxl.check import accept
from mechxl.config import RunConfig, parse_config
from mechxl.errors import InputError
from mechxl.null import null_config, null_place, why_no_null
from mechxl.questions.find import find_question
from mechxl.questions.kept import finding_digest
from mechxl.report.__main__ import main
from mechxl.run import Run
from tests.instruments.runs import SETTINGS, small_run
from tests.runs import unfinished

NULL = {"world": SETTINGS["world"] | {"shared_facts": 0.0}}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A run with its null beside it."""
    folder = tmp_path_factory.mktemp("pair")
    small_run(folder / "run-null", **NULL)
    return small_run(folder / "run")


@pytest.fixture
def folder(pair, tmp_path):
    """A copy of both."""
    for name in ("run", "run-null"):
        shutil.copytree(pair.path.parent / name, tmp_path / name, ignore=shutil.ignore_patterns("findings"))
    return tmp_path


def test_a_null_differs_in_shared_facts_alone():
    config = parse_config({"seed": 3, "mixture": {"parallel_fraction": 0.2}})
    null = null_config(config)
    assert null.world.shared_facts == 0
    assert null.seeds == config.seeds
    assert null.model_copy(update={"world": config.world}) == config
    assert why_no_null(config, null, complete=True) == ""


@pytest.mark.parametrize(
    ("other", "complete", "said"),
    [
        ({"world": {"shared_facts": 0.5}}, True, "world.shared_facts is 0.5 there and must be 0"),
        ({"world": {"shared_facts": 0}, "seed": 1}, True, "world.seed is 0 in the run and 1 there"),
        ({"world": {"shared_facts": 0}, "training": {"steps": 10}}, True, "training.steps is 3000 in the run and 10"),
        ({"world": {"shared_facts": 0}}, False, "its training has not ended"),
    ],
)
def test_what_is_no_null_says_why(other, complete, said):
    assert said in why_no_null(RunConfig(), parse_config(other), complete)


def test_a_null_has_none_itself():
    null = null_config(RunConfig())
    assert "it is a null itself" in why_no_null(null, null, complete=True)
    with pytest.raises(InputError, match="leave --with-null out"):
        null_config(null)


def test_it_is_found_beside_or_given(pair, folder):
    run = Run(folder / "run")
    assert run.null is not None
    assert run.null.path == null_place(run.path) == folder / "run-null"
    assert run.null.null is None
    assert "it is a null itself" in run.null.why_no_null
    unfinished(folder / "run-null", 1)
    assert Run(run.path).null is None
    assert Run(run.path).why_no_null == "run-null, which lies beside it, is not one: its training has not ended"
    given = Run(run.path, null=null_place(pair.path))
    assert given.null is not None
    assert given.why_no_null == ""
    with pytest.raises(InputError, match=r"is no trained null of .*: its training has not ended"):
        Run(run.path, null=folder / "run-null")
    shutil.rmtree(folder / "run-null")
    assert Run(run.path).why_no_null == "no run run-null lies beside it"


def test_findings_that_read_the_null_and_only_these_depend_on_it(folder):
    def digests():
        run = Run(folder / "run")
        return {name: finding_digest(run, find_question(name), thorough=False) for name in names}

    names = ("learning", "unification", "language_identity", "patching", "phases")
    with_null = digests()
    checkpoint = Run(folder / "run-null").checkpoint(4)
    checkpoint.write_bytes(checkpoint.read_bytes() + b" ")
    accept(folder / "run-null")
    exchanged = digests()
    shutil.rmtree(folder / "run-null")
    without = digests()
    for one, other in ((with_null, exchanged), (with_null, without), (exchanged, without)):
        assert {name for name in names if one[name] != other[name]} == {"unification", "phases"}
    phases = find_question("phases")
    apart = replace(phases, reads_null=False)
    assert finding_digest(Run(folder / "run"), apart, thorough=False) != without["phases"]


def test_the_report_refuses_what_is_no_null_and_a_null_of_several(pair, capsys):
    path = str(pair.path)
    assert main([path, "--null", path]) == 2
    assert "a null differs from its run in world.shared_facts alone" in capsys.readouterr().err
    assert main([path, f"{path}-null", "--null", path]) == 2
    assert "--null is for one run" in capsys.readouterr().err
