"""The lean forward and the losses are those of the hooked model."""

import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.hook_points import HookPoint

from mechxl.model.forward import Positions, lean_logits
from mechxl.model.sharing import Shared, shared
from mechxl.model.weights import pack, weights_of
from mechxl.training.batches import Batch, Batches
from mechxl.training.loop import batch_losses
from mechxl.training.products import quick_products
from tests.model.plain import small_corpus, small_model

MODELS = {
    "n_layers": st.integers(1, 3),
    "n_heads": st.sampled_from([1, 2, 4]),
    "act_fn": st.sampled_from(["gelu", "relu"]),
    "normalization": st.sampled_from(["LN", "RMS"]),
}
FEW = settings(max_examples=80, deadline=None)
CORPUS = small_corpus()
PADDING = 0


def random_tokens(generator: torch.Generator, lengths: list[int]) -> Tensor:
    """Rows of the given lengths, right-padded."""
    tokens = torch.randint(3, CORPUS.tokenizer.get_vocab_size(), (len(lengths), max(lengths)), generator=generator)
    for row, length in enumerate(lengths):
        tokens[row, length:] = PADDING
    return tokens


def hooked_at(model: HookedTransformer, tokens: Tensor, positions: Positions) -> Tensor:
    logits = model(tokens)
    if isinstance(positions, slice):
        return logits[:, positions]
    return logits[torch.arange(len(tokens))[:, None], positions]


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the second's largest entry where that is above 1."""
    return float((one - other).detach().abs().max() / max(1.0, float(other.detach().abs().max())))


def assume_off_the_kink(model: HookedTransformer, tokens: Tensor) -> None:
    """Passes over a draw where rounding may change a gradient for good: a ReLU's input next to 0, on either side."""
    if model.cfg.act_fn == "relu":
        _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith("mlp.hook_pre"))
        assume(all(float(value.abs().min()) > 3e-6 for value in cache.values()))


def gradients(model: HookedTransformer, scalar: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    scalar.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@dataclass(frozen=True)
class Asked:
    """What the lean forward is given."""

    tokens: Tensor
    positions: Positions
    common: Shared | None


def with_kinds(common: Shared, tokens: Tensor, generator: torch.Generator) -> Shared:
    """Kinds in any order, and some that no row has."""

    def pairs(rows: Tensor) -> list[list[tuple[int, int]]]:
        return [[(int(token), place) for place, token in enumerate(row)] for row in rows]

    every = sorted({pair for row in [*pairs(tokens), *pairs(common.tokens)] for pair in row} | {(3, 0), (4, 1)})
    every = [every[at] for at in torch.randperm(len(every), generator=generator).tolist()]
    begun, kind = (
        torch.tensor([[every.index(pair) for pair in row] for row in pairs(rows)], dtype=torch.long).view(rows.shape)
        for rows in (common.tokens, tokens)
    )
    return Shared(common.tokens, common.of, torch.tensor(every).T, begun, kind)


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Rows of several lengths, asked at a slice or at some positions in each; beginnings up to the first of these.

    Beginnings are any that the rows have: also the same one twice, and one that no row has.
    """
    lengths = draw(st.lists(st.integers(2, 9), min_size=1, max_size=4))
    if draw(st.booleans()):
        first = draw(st.integers(0, max(lengths) - 1))
        positions = slice(first, draw(st.integers(first + 1, max(lengths))))
    else:
        n = draw(st.integers(1, 3))
        latest = draw(st.booleans())  # so that long beginnings are possible
        rows = [
            draw(st.lists(st.integers(length - 2 if latest else 0, length - 1), min_size=n, max_size=n))
            for length in lengths
        ]
        positions, first = torch.tensor(rows), min(map(min, rows))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    length = draw(st.integers(0, first))
    begun = random_tokens(generator, [length] * draw(st.integers(1, 4)))
    of = torch.tensor(draw(st.lists(st.integers(0, len(begun) - 1), min_size=len(lengths), max_size=len(lengths))))
    tokens = random_tokens(generator, lengths)
    tokens[:, :length] = begun[of]
    common = Shared(begun, of) if length or draw(st.booleans()) else None
    if common and draw(st.booleans()):
        common = with_kinds(common, tokens, generator)
    return Asked(tokens, positions, common)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@FEW
@given(st.fixed_dictionaries(MODELS), asked(), st.integers(0, 10**6))
def test_logits_and_gradients_are_the_hooked_ones(precision, tolerance, shape, question, seed):
    model = small_model(CORPUS, seed, precision, **shape)
    assume_off_the_kink(model, question.tokens)
    lean = lean_logits(model, question.tokens, question.positions, question.common)
    hooked = hooked_at(model, question.tokens, question.positions)
    assert lean.shape == hooked.shape
    assert gap(lean, hooked) < tolerance

    weight = torch.randn(hooked.shape, generator=torch.Generator().manual_seed(seed)).to(hooked.dtype)
    expected, found = (gradients(model, (weight * logits).sum()) for logits in (hooked, lean))
    assert found.keys() == expected.keys() == dict(model.named_parameters()).keys()
    # that of b_K is 0, and found as what rounding leaves of larger terms
    largest = max(1.0, *(float(gradient.abs().max()) for gradient in expected.values()))
    for name, gradient in expected.items():
        assert float((found[name] - gradient).abs().max()) < tolerance * largest, name


def test_padding_and_later_tokens_change_nothing():
    model = small_model(CORPUS, n_layers=2)
    tokens = random_tokens(torch.Generator().manual_seed(1), [9])
    changed = tokens.clone()
    changed[:, 5:] = PADDING
    at = torch.tensor([[0, 4]])
    torch.testing.assert_close(
        lean_logits(model, tokens, at), lean_logits(model, changed[:, :6], at), rtol=0, atol=1e-12
    )


OTHER: dict[str, Any] = {
    "n_layers": 2,
    "d_model": 12,
    "n_ctx": 10,
    "d_head": 4,
    "n_heads": 2,
    "d_mlp": 20,
    "d_vocab": 30,
    "act_fn": "gelu",
    "normalization_type": "LN",
    "dtype": torch.float64,
    "device": "cpu",
}


def other_model(**fields: Any) -> HookedTransformer:
    """A model that mechxl's own settings need not be able to describe; all its parameters take part."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HookedTransformer(HookedTransformerConfig(**OTHER | fields))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def some_question() -> Asked:
    """Six rows with two beginnings of two tokens, each asked at two positions."""
    tokens = torch.randint(3, 30, (6, 8), generator=torch.Generator().manual_seed(2))
    tokens[:, :2] = torch.tensor([[1, 5], [1, 6]])[torch.arange(6) % 2]
    at = torch.tensor([[2, 4], [3, 7], [5, 2], [2, 2], [7, 6], [4, 5]])
    common = shared(tokens, 2, 8)
    assert common.tokens.shape == (2, 2)
    return Asked(tokens, at, common)


FOREIGN: dict[str, dict[str, Any]] = {  # by the field that is named
    "act_fn": {"act_fn": "silu"},
    "attention_dir": {"attention_dir": "bidirectional"},
    "attn_only": {"attn_only": True},
    "attn_scale": {"attn_scale": 1.5},
    "attn_scores_soft_cap": {"attn_scores_soft_cap": 0.5},
    "final_rms": {"final_rms": True, "normalization_type": "RMS"},
    "gated_mlp": {"gated_mlp": True},
    "n_key_value_heads": {"n_key_value_heads": 1},
    "normalization_type": {"normalization_type": None},
    "num_experts": {"num_experts": 2, "experts_per_token": 1, "dtype": torch.float32},
    "original_architecture": {"original_architecture": "Olmo2ForCausalLM", "n_heads": 3},
    "output_logits_soft_cap": {"output_logits_soft_cap": 0.5},
    "parallel_attn_mlp": {"parallel_attn_mlp": True},
    "positional_embedding_type": {"positional_embedding_type": "rotary"},
    "post_embedding_ln": {"post_embedding_ln": True},
    "scale_attn_by_inverse_layer_idx": {"scale_attn_by_inverse_layer_idx": True},
    "use_attn_scale": {"use_attn_scale": False},
    "use_attention_sinks": {"use_attention_sinks": True},
    "use_local_attn": {"use_local_attn": True, "window_size": 2, "attn_types": ["local", "global"]},
    "use_normalization_before_and_after": {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
    "use_qk_norm": {"use_qk_norm": True},
}
ALSO_FOREIGN: list[tuple[str, dict[str, Any]]] = [
    ("normalization_type", {"normalization_type": "LNPre"}),
    ("normalization_type", {"normalization_type": "RMSPre"}),
    ("act_fn", {"act_fn": "gelu_new"}),
    ("positional_embedding_type", {"positional_embedding_type": "shortformer"}),
]


@pytest.mark.parametrize(("field", "fields"), [*FOREIGN.items(), *ALSO_FOREIGN])
def test_a_model_of_another_kind_gives_its_own_logits_and_says_what_is_foreign(field, fields):
    model, question = other_model(**fields), some_question()
    for positions in (question.positions, slice(3, 6)):
        with pytest.warns(UserWarning, match=rf"\b{field} = ") as said:
            found = lean_logits(model, question.tokens, positions, question.common)
        assert len(said) == 1
        assert gap(found, hooked_at(model, question.tokens, positions)) < 1e-6


def test_what_is_foreign_is_said_once():
    model, question = other_model(gated_mlp=True), some_question()
    with warnings.catch_warnings(record=True) as said:
        warnings.resetwarnings()  # Python's default
        for _ in range(3):
            lean_logits(model, question.tokens, question.positions)
    assert [warning.category for warning in said] == [UserWarning]


# which activations there are hooks for
SWITCHES = ["set_use_attn_result", "set_use_split_qkv_input", "set_use_attn_in", "set_use_hook_mlp_in"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"eps": 0.5},
        {"eps": 0.5, "normalization_type": "RMS"},
        {"d_vocab_out": 7},
        {"d_head": 5, "n_heads": 3},
        {"d_head": 5, "attn_scale": 5**0.5},
        {"initializer_range": 0.7, "init_mode": "xavier_uniform", "model_name": "mine", "default_prepend_bos": False},
    ],
    ids=str,
)
def test_a_model_of_the_same_kind_is_computed_without_its_hooks(fields, monkeypatch):
    model, question = other_model(**fields), some_question()
    given = question.tokens, question.positions
    for switch in SWITCHES:
        getattr(model, switch)(True)
        hooked = hooked_at(model, *given)
        with monkeypatch.context() as patch:
            patch.setattr(HookedTransformer, "forward", None)
            found = lean_logits(model, *given, question.common)
        assert gap(found, hooked) < 1e-12
        getattr(model, switch)(False)


def moved(tensor: Tensor, *, hook: HookPoint) -> Tensor:
    """Not along the ones, nor by a factor, which LayerNorm would undo."""
    return tensor + torch.linspace(-1, 2, tensor.shape[-1], dtype=tensor.dtype) ** 2


@pytest.mark.parametrize(
    "name",
    [
        "hook_embed",
        "blocks.0.hook_resid_pre",
        "blocks.0.attn.hook_z",
        "blocks.1.mlp.hook_post",
        "ln_final.hook_normalized",
    ],
)
def test_hooks_take_part_while_they_are_attached(name):
    model, question = other_model(), some_question()
    given = question.tokens, question.positions

    def lean() -> Tensor:
        return lean_logits(model, *given, question.common)

    plain = hooked_at(model, *given)
    model.add_hook(name, moved)
    hooked = hooked_at(model, *given)
    assert gap(hooked, plain) > 1e-3
    assert gap(lean(), hooked) < 1e-12
    model.reset_hooks()
    assert gap(lean(), plain) < 1e-12
    with model.hooks(fwd_hooks=[(name, moved)]):
        assert gap(lean(), hooked) < 1e-12
    assert gap(lean(), plain) < 1e-12
    model.add_perma_hook(name, moved)
    model.reset_hooks()
    assert gap(lean(), hooked) < 1e-12
    model.reset_hooks(including_permanent=True)
    assert gap(lean(), plain) < 1e-12


def test_backward_hooks_see_the_gradients():
    model, question = other_model(), some_question()
    seen = []
    with model.hooks(bwd_hooks=[("blocks.0.hook_resid_post", lambda gradient, hook: seen.append(gradient.clone()))]):
        for logits in (
            lean_logits(model, question.tokens, question.positions, question.common),
            hooked_at(model, question.tokens, question.positions),
        ):
            logits.square().sum().backward()
    assert len(seen) == 2
    assert gap(seen[0], seen[1]) < 1e-12


# answers of one token at one place; of several; and prompts and answers of many lengths
CORPORA = {
    "syllable": {},
    "character": {"tokenization": {"kind": "character"}, "languages": {"word_length": 2}},
    "hidden tags": {"languages": {"cue": "tag", "cue_dropout": 0.5}},
    "bpe": {"tokenization": {"kind": "bpe", "vocab_size": 90}, "languages": {"word_length": 2}},
}


def plain_losses(model: HookedTransformer, batch: Batch) -> tuple[float, float]:
    """Summed over the targets of a sentence, averaged over sentences; and the same of answers alone."""
    log_p = model(batch.tokens).log_softmax(-1)
    width = batch.tokens.shape[1]
    total = answers = 0.0
    for row in range(len(batch.tokens)):
        positions = range(width)[batch.positions] if isinstance(batch.positions, slice) else batch.positions[row]
        for column, position in enumerate(positions):
            target = int(batch.targets[row, column])
            if target != PADDING:
                loss = -log_p[row, int(position), target].item()
                total += loss
                answers += loss if batch.is_answer[row, column] else 0.0
    return total / len(batch.tokens), answers / len(batch.tokens)


@pytest.mark.parametrize("objective", ["answer", "all"])
@pytest.mark.parametrize("name", CORPORA)
def test_losses_are_a_loop_over_the_hooked_log_probabilities(name, objective):
    corpus = small_corpus(**CORPORA[name])
    model = small_model(corpus)
    batch = Batches(corpus, objective, 32, 0, "cpu")[3]
    total, answers = batch_losses(weights_of(model), batch)
    assert (total.item(), answers.item()) == pytest.approx(plain_losses(model, batch), rel=1e-12)
    if objective == "answer":
        assert total.item() == pytest.approx(answers.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "objective", "length"),
    [("syllable", "answer", 2), ("syllable", "all", 0), ("character", "answer", 4)],
)
def test_training_under_the_lean_forward_follows_the_hooked_one(name, objective, length):
    """Also where oneDNN multiplies."""
    corpus = small_corpus(**CORPORA[name])
    batches = Batches(corpus, objective, 64, 0, "cpu")
    assert batches[0].common.tokens.shape[1] == length

    def curve(hooked: bool) -> Tensor:
        model = small_model(corpus, 0, "float32", n_layers=2, init_std=0.02)
        packed = None if hooked else pack(model)
        parameters = [packed.vector] if packed else model.parameters()
        optimizer = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.1)
        losses = []
        for step in range(200):
            batch = batches[step]
            optimizer.zero_grad(set_to_none=packed is None)
            if packed is None:
                logits = hooked_at(model, batch.tokens, batch.positions)
                chosen = batch.targets.flatten() != PADDING
                loss = F.cross_entropy(logits.flatten(0, 1)[chosen], batch.targets.flatten()[chosen], reduction="sum")
                loss = loss / 64
            else:
                loss, _ = batch_losses(packed.weights, batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return torch.tensor(losses)

    expected, found = curve(hooked=True), curve(hooked=False)
    with quick_products():
        quick = curve(hooked=False)
    assert float((found - expected).abs().max()) < 1e-3
    assert float((quick - expected).abs().max()) < 1e-3
    assert expected[-1] < 0.5 * expected[0]
