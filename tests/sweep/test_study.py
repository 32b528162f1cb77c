"""Which runs a study has, against itertools by hand; and studies that can't be, each refused in a sentence."""

import itertools
from pathlib import Path

import pytest

from mechxl.config import RunConfig, parse_config
from mechxl.errors import InputError
from mechxl.sweep.__main__ import HELP, main
from mechxl.sweep.study import parse_study, read_study

BAD_INPUT = 2
EXAMPLE = Path(__file__).parents[2] / "analyses" / "parallel_fraction.toml"


def test_variants_grid_and_seeds_are_crossed():
    raw = {
        "seeds": [3, 1],
        "base": {"training": {"steps": 40, "batch_size": 8}, "world": {"n_unseen": 5}},
        "grid": {"world.n_entities": [100, 200], "model": {"d_mlp": [8, 16, 32]}},
        "runs": [
            {"name": "fast", "training": {"learning_rate": 0.1}},
            {"name": "long", "training": {"steps": 90}, "mixture": {"unit": "entity"}, "seeds": 1},
        ],
    }
    expected = {}
    for name, seeds in (("fast", (3, 1)), ("long", (0,))):
        for entities, width, seed in itertools.product((100, 200), (8, 16, 32), seeds):
            training = {"steps": 40, "batch_size": 8, "learning_rate": 0.1}
            if name == "long":
                training = {"steps": 90, "batch_size": 8}
            settings = {
                "seed": seed,
                "training": training,
                "world": {"n_unseen": 5, "n_entities": entities},
                "model": {"d_mlp": width},
                "mixture": {"unit": "entity" if name == "long" else "fact"},
            }
            expected[f"{name},n_entities={entities},d_mlp={width},seed={seed}"] = parse_config(settings)
    study = parse_study(raw, "both")
    assert {run.name: run.config for run in study.runs} == expected
    assert [run.name for run in study.runs] == list(expected)
    assert [run.variant for run in study.runs] == ["fast"] * 12 + ["long"] * 6
    assert study.name == "both"
    varied = ("training.learning_rate", "training.steps", "mixture.unit", "world.n_entities", "model.d_mlp")
    assert study.varied == varied


def test_the_least_study_is_the_default_run():
    (run,) = parse_study({}).runs
    assert (run.name, run.config, run.variant) == ("seed=0", RunConfig(), "")
    assert [run.config.seed for run in parse_study({"seeds": 3}).runs] == [0, 1, 2]


def test_names_stay_when_values_are_added():
    few = parse_study({"grid": {"training.betas": [[0.9, 0.98]], "mixture": {"parallel_fraction": [0.5]}}})
    more = {"training.betas": [[0.8, 0.9], [0.9, 0.98]], "mixture": {"parallel_fraction": [0, 0.5, 1.0]}}
    names = [run.name for run in parse_study({"seeds": 2, "grid": more}).runs]
    assert [run.name for run in few.runs] == ["betas=0.9+0.98,parallel_fraction=0.5,seed=0"]
    assert few.runs[0].name in names
    assert "betas=0.8+0.9,parallel_fraction=1,seed=1" in names
    assert len(set(names)) == 12


def test_names_tell_apart_fields_that_sections_share():
    study = parse_study({"grid": {"world.seed": [5], "languages.seed": [6], "training.device": ["cuda:0"]}})
    assert study.runs[0].name == "world.seed=5,languages.seed=6,device=cuda-0,seed=0"


BAD = {
    "no TOML": ("[base", "is not valid TOML"),
    "unknown key": ("[gird]\nworld.n_entities = [1]", "gird: there is no such key; did you mean grid"),
    "a section outside": ("[world]\nn_entities = 5", "world: settings belong in [base]"),
    "unknown setting": ("base.world.n_entites = 5", "world.n_entites: there is no such setting; did you mean"),
    "unknown setting in the grid": (
        '[grid]\n"world.n_entites" = [5]',
        "run n_entites=5,seed=0: world.n_entites: there is no such setting; did you mean world.n_entities",
    ),
    "a section in the grid": ("[grid]\nworld = [3]", "world = 3: must be a section"),
    "no section in base": ("base.world = 3\ngrid.world.n_entities = [5]", "world = 3: must be a section"),
    "the last value is bad": (
        "[grid]\nworld.n_entities = [100, 1]",
        "run n_entities=1,seed=0: world.n_entities = 1: must be at least 2",
    ),
    "wrong type": ("[grid]\nworld.n_entities = ['many']", "world.n_entities = 'many': must be a whole number"),
    "two settings together": (
        "[base]\nmodel.d_model = 64\n[grid]\nmodel.n_heads = [2, 3]",
        "run n_heads=3,seed=0: model.n_heads = 3: it must divide d_model, which is 64",
    ),
    "no list": ("[grid]\nworld.n_entities = 5", "grid: world.n_entities = 5: must be a list of values; write [5]"),
    "an empty list": ("[grid]\nworld.n_entities = []", "grid: world.n_entities = []: must be a list"),
    "a value twice": ("[grid]\nmixture.parallel_fraction = [0, 0.0]", "run parallel_fraction=0,seed=0: there are two"),
    "a setting twice": ('grid.model.d_mlp = [8]\ngrid."model.d_mlp" = [9]', "model.d_mlp is set twice"),
    "one run under two names": (
        "[grid]\nworld.seed = [1]\nlanguages.seed = [1]\nmixture.seed = [1]\ntraining.init_seed = [1]\n"
        "training.order_seed = [1]\n[[runs]]\nname = 'a'\n[[runs]]\nname = 'b'",
        "runs a,world.seed=1,languages.seed=1,mixture.seed=1,init_seed=1,order_seed=1,seed=0 and b,",
    ),
    "seeds: none": ("seeds = 0", "seeds = 0: must be a number of seeds above 0"),
    "seeds: negative": ("seeds = [-1]", "seeds = [-1]"),
    "seeds: no numbers": ("seeds = [true]", "seeds = [True]"),
    "seeds: twice": ("seeds = [1, 1]", "run seed=1: there are two"),
    "a seed in base": ("base.seed = 1", "seed = 1: seeds belong at the top of a study"),
    "a seed in the grid": ("grid.seed = [1, 2]", "seed = 1: seeds belong at the top of a study"),
    "no name": ("[[runs]]\nworld.n_entities = 5", "runs: name is missing"),
    "a name that leads away": ("[[runs]]\nname = '../away'", "runs: name = '../away': can't name a directory"),
    "a study's name": ("name = 'a/b'", "name = 'a/b': can't name a directory"),
    "a variant twice": ("[[runs]]\nname = 'a'\n[[runs]]\nname = 'a'", "run a,seed=0: there are two"),
    "runs is one table": ("[runs]\nname = 'a'", "runs: must be tables, each headed [[runs]]"),
    "in variant and grid": (
        "[grid]\nmodel.d_mlp = [8]\n[[runs]]\nname = 'a'\nmodel.d_mlp = 9",
        "model.d_mlp: is set in [grid] and in the variant a",
    ),
    "a name too long": ("[[runs]]\nname = '" + "a" * 200 + "'", "its name is longer than 200 characters"),
    "base is a value": ("base = 3", "base = 3: must be a table"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_study_that_cannot_be_is_refused_before_anything_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    text, sentence = BAD[case]
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(text)
    assert main(["study.toml"]) == BAD_INPUT
    out, err = capsys.readouterr()
    assert err.startswith("mechxl: study.toml: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.toml"], "none.toml: there is no such file"),
        (["good.toml", "--workers", "0"], "--workers 0: must be at least 1"),
        (["good.toml", "--wrokers", "2"], "--wrokers"),
        (["good.toml", "--out", "file"], "file: can't be written"),
        (["good.toml", "--out", "run"], "run: is the directory of one run, and a study needs"),
    ],
)
def test_other_bad_input(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("good.toml").write_text("")
    Path("file").write_text("")
    Path("run").mkdir()
    Path("run", "config.toml").write_text("")
    assert main(arguments) == BAD_INPUT
    out, err = capsys.readouterr()
    assert sentence in err
    assert "Traceback" not in err
    assert out == ""
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.toml", "file", "good.toml", "run"]


def test_the_example_in_the_help_is_a_study(tmp_path: Path):
    """And so is the one that is committed."""
    lines = [line[4:] for line in HELP.splitlines() if line.startswith("    ")]
    (tmp_path / "example.toml").write_text("\n".join(lines))
    study = read_study(tmp_path / "example.toml")
    assert study.name == "sizes"
    names = [run.name for run in study.runs]
    assert len(names) == 2 * 2 * (3 + 1)
    assert "apart,n_entities=100,kind=bpe,seed=0" in names
    assert "apart,n_entities=100,kind=bpe,seed=0" in HELP
    assert read_study(EXAMPLE).name == "parallel_fraction"


def test_a_study_raises_its_sentence_in_a_notebook():
    with pytest.raises(InputError, match=r"^seeds = 'x': must be a number"):
        parse_study({"seeds": "x"})
