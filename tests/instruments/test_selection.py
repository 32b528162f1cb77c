"""What can be asked for, and how what can't is refused."""

import shutil

import numpy as np
import pytest

from mechxl import activations
from mechxl.errors import InputError
from mechxl.run import Run
from tests.instruments.runs import small_run

STEPS = [0, 1, 2, 4]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    training = {"steps": 4, "checkpoints": 5, "batch_size": 16, "warmup_steps": 1, "evaluate_every": 4}
    return small_run(tmp_path_factory.mktemp("runs") / "run", training=training)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("all", STEPS),
        (2, [2]),
        (-1, [4]),
        ([4, 0], [4, 0]),
        (np.array([1, -2]), [1, 2]),
        (slice(1, 2), [1, 2]),
        (slice(None, 3), [0, 1, 2]),
        (slice(-2, None), [2, 4]),
        (slice(None, None, 2), [0, 2]),
    ],
)
def test_steps(run, steps, expected):
    assert run.steps == STEPS
    assert activations(run, steps=steps)["checkpoint"].values.tolist() == expected


@pytest.mark.parametrize("split", ["mono", "parallel", "unseen"])
def test_splits_relations_and_samples(run, split):
    table = run.facts[run.facts["group"] == split]
    assert activations(run, facts=split)["fact"].values.tolist() == table.index.tolist()
    some = table.index[table["relation"] == 1].tolist()
    assert activations(run, facts=split, relation=1)["fact"].values.tolist() == some
    sample = activations(run, facts=split, relation=[1], n=2, seed=3)["fact"].values.tolist()
    assert sample == sorted(sample)
    assert len(set(sample)) == 2
    assert set(sample) <= set(some)
    assert activations(run, facts=split, relation=[1], n=2, seed=3)["fact"].values.tolist() == sample


def test_samples_differ_by_seed_and_masks_are_indices(run):
    assert len({tuple(activations(run, n=8, seed=seed)["fact"].values) for seed in range(5)}) == 5
    assert activations(run, facts=np.arange(30) % 7 == 0)["fact"].values.tolist() == [0, 7, 14, 21, 28]
    assert activations(run)["fact"].values.tolist() == list(range(30))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"hook": "resid_pots"}, "hook = resid_pots: there is no such hook; did you mean: resid_post"),
        ({"hook": "blocks.2.hook_resid_pre"}, r"blocks.2.hook_resid_pre: there is no such hook; did you mean: blocks"),
        ({"hook": "???"}, r"there are: hook_resid_pre, .*hook_embed, .*ln_final.hook_scale"),
        ({"hook": "normalized"}, "may be ln1.hook_normalized or ln2.hook_normalized; name one of them"),
        ({"hook": "attn.hook_result"}, "does not run this hook with the settings of this model"),
        ({"hook": "blocks.0.hook_mlp_in"}, "does not run this hook with the settings of this model"),
        ({"hook": ["z", "resid_post"]}, "is head_index 2 x d_head 32 and .* is d_model 64; ask for them one by one"),
        ({"hook": []}, "names no hook"),
        ({"layers": 3}, "layers = 3: resid_post has the layers 0, 1, 2"),
        ({"hook": "mlp_out", "layers": [0]}, "layers = 0: mlp_out has the layers 1, 2"),
        ({"hook": "hook_embed", "layers": 1}, "is one hook already"),
        ({"layers": []}, "names no layer"),
        ({"steps": 3}, "step 3 is not saved; there are 0, 1, 2, 4"),
        ({"steps": [0, -5]}, "step -5 is not saved; there are 0, 1, 2, 4"),
        ({"steps": "last"}, "steps = last: must be all, a step, several or a slice; there are 0, 1, 2, 4"),
        ({"steps": 1.5}, "steps = 1.5: must be all"),
        ({"steps": slice(5, 9)}, "names no saved step; there are 0, 1, 2, 4"),
        ({"steps": slice("a", None)}, "a slice takes step numbers"),
        ({"steps": []}, "names no saved step"),
        ({"facts": "told"}, "facts = told: there is no such split; there are all, mono, parallel, unseen, or indices"),
        ({"facts": [0, 30]}, "facts = 30: there are 0 to 29"),
        ({"facts": [-1]}, "facts = -1: there are 0 to 29"),
        ({"facts": [0.5]}, "must be a split, a list of indices, or 30 truth values"),
        ({"facts": []}, "this run has no such facts"),
        ({"relation": 2}, "relation = 2: there are 0 to 1"),
        ({"facts": [0], "relation": 1}, "none of these facts has it"),
        ({"facts": "unseen", "n": 7}, "n = 7: between 1 and 6 of these facts can be sampled"),
        ({"n": 0}, "n = 0"),
        ({"role": "verb"}, "role = verb: there is no such role in this run; there are name_first, name_last"),
        ({"role": "cue"}, r"role = cue: these languages have no tag \(languages.cue = none\); there are name_first"),
        ({"role": ["answer_1", "answer_2"]}, "role = answer_2: there is no such role"),
        ({"facts": "unseen", "role": "answer_1"}, "none of these facts has it: unseen entities"),
        ({"role": []}, "names no role"),
        ({"batch_size": 0}, "batch_size = 0: must be at least 1"),
    ],
)
def test_refusals_name_what_is_wrong_and_what_there_is(run, asked, reason):
    with pytest.raises(InputError, match=reason):
        activations(run, **asked)
    assert not (run.path / "activations.zarr").exists()


def test_splits_without_facts_and_a_hidden_tag(tmp_path):
    run = small_run(tmp_path / "run", mixture={"parallel_fraction": 0.0}, languages={"count": 3, "cue": "tag"})
    with pytest.raises(InputError, match="facts = parallel: this run has no such facts"):
        activations(run, facts="parallel")
    assert activations(run, steps=-1, role="cue").values.shape == (1, 3, 3, 30, 1, 64)
    with pytest.raises(InputError, match="role = cue: the tag is hidden; there are name_first"):
        activations(run, role="cue", tag=False)


def test_a_checkpoint_that_cannot_be_read_is_named_when_it_is_looked_at(run, tmp_path):
    copy = Run(shutil.copytree(run.path, tmp_path / "run"))
    copy.checkpoint(2).write_bytes(b"garbage")
    lazy = activations(copy)
    assert np.isfinite(lazy.sel(checkpoint=4).values).all()
    with pytest.raises(InputError, match=r"step-000002.safetensors: is not as training left it"):
        lazy.load()
    copy.checkpoint(4).unlink()
    with pytest.raises(InputError, match=r"step-000004.safetensors: can't be read \(No such file"):
        lazy.sel(checkpoint=4).load()
