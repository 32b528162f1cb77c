"""The model in the page: its logits and patches against TransformerLens's own, and its panel as a reader meets it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
import numpy as np
import pytest
import torch
from torch import Tensor
from transformer_lens import HookedTransformer

import mechxl.report
from mechxl.config import RunConfig, parse_config
from mechxl.data.corpus import Corpus, build_corpus, corpus_of
from mechxl.data.languages import generate_lexicon
from mechxl.data.world import generate_world
from mechxl.model.answers import Questions, answer_log_probs
from mechxl.model.hooked import build_model
from mechxl.model.parameters import initial_parameters
from mechxl.report.layout import page_scripts
from mechxl.report.model.coded import BOUND as CODED_BOUND
from mechxl.report.model.kept import NO_MODEL, Shown
from mechxl.report.model.pack import model_of, packed, story_steps
from mechxl.training.record import longest_sentence
from tests.report.test_page_in_browser import complaints

BOUND = 2e-2
PROMPTS, PATCHES = 200, 25
WORLD = {"n_entities": 60, "n_relations": 3, "n_values": 5, "n_unseen": 4}
SMALL = {"d_model": 32, "d_mlp": 64}
ARCHITECTURES = {
    "two layers, syllables": {},
    "one layer, RMS, relu, characters, a tag": {
        "model": {**SMALL, "n_layers": 1, "n_heads": 4, "normalization": "RMS", "act_fn": "relu"},
        "tokenization": {"kind": "character"},
        "languages": {"word_length": 2, "cue": "tag"},
    },
    "three layers, byte pairs, varied order": {
        "model": {**SMALL, "n_layers": 3},
        "tokenization": {"kind": "bpe", "vocab_size": 90},
        "languages": {"word_length": 2, "word_order": "varied"},
    },
    "RMS, bytes of distinct scripts": {
        "model": {**SMALL, "normalization": "RMS"},
        "tokenization": {"kind": "byte"},
        "languages": {"script": "distinct"},
    },
    "one head, relu, words, three languages": {
        "model": {**SMALL, "n_heads": 1, "act_fn": "relu"},
        "tokenization": {"kind": "word"},
        "languages": {"count": 3},
    },
}
COMPONENTS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pattern")


@dataclass(frozen=True)
class Case:
    """A corpus, the model of its last checkpoint in TransformerLens, and what the page gets."""

    corpus: Corpus
    model: HookedTransformer
    shown: Shown


def case(corpus: Corpus, config: RunConfig) -> Case:
    """Two checkpoints with weights as large as those of trained models; nothing is at its initial 0 or 1."""
    tokenizer, n_ctx = corpus.tokenizer, longest_sentence(corpus)
    rng, checkpoints = torch.Generator().manual_seed(3), {}
    parameters = initial_parameters(config.model, tokenizer.get_vocab_size(), n_ctx, seed=1)
    for step in (0, 100):
        parameters = {name: x + 0.15 * torch.randn(x.shape, generator=rng) for name, x in parameters.items()}
        checkpoints[step] = parameters
    model = build_model(config.model, tokenizer, n_ctx, seed=0)
    model.load_state_dict(checkpoints[100], strict=False)
    return Case(corpus, model, packed(corpus, config.model, n_ctx, checkpoints))


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    made = {}
    for name, settings in ARCHITECTURES.items():
        config = parse_config({"world": WORLD, **settings})
        made[name] = case(build_corpus(config), config)
    return made


def prompts_of(corpus: Corpus, n: int) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    rng = np.random.default_rng(7)
    fact, language = rng.choice(np.flatnonzero(corpus.world.seen), n), rng.integers(corpus.world.n_languages, size=n)
    return fact, language, [[t for t in row if t >= 0] for row in corpus.sequences(fact, language).prompts().tolist()]


@torch.no_grad()
def hooked_logits(model: HookedTransformer, prompts: list[list[int]], hooks=()) -> Tensor:
    """After each prompt, of the hooked forward."""
    width = max(map(len, prompts))
    tokens = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in prompts])
    last = torch.tensor([len(prompt) - 1 for prompt in prompts])
    return model.run_with_hooks(tokens, fwd_hooks=list(hooks))[torch.arange(len(prompts)), last]


def hook_name(component: str, block: int) -> str:
    inside = "attn." if component in ("q", "k", "v", "z", "pattern") else ""
    return f"blocks.{block}.{inside}hook_{component}"


def drawn_patches(model: HookedTransformer, prompts: list[list[int]]) -> list[dict]:
    """Random donors, receivers and places; every component is among them."""
    rng, patches = np.random.default_rng(11), []
    while len(patches) < PATCHES:
        donor, receiver = rng.choice(len(prompts), 2, replace=False).tolist()
        component = COMPONENTS[len(patches) % len(COMPONENTS)]
        if component == "pattern" and len(prompts[donor]) != len(prompts[receiver]):
            continue
        head = int(rng.integers(-1, model.cfg.n_heads)) if "attn.hook" in hook_name(component, 0) else -1
        same = component == "pattern"
        position = int(rng.integers(1, len(prompts[receiver])))
        patches.append(
            {
                "from": donor,
                "to": receiver,
                "component": component,
                "block": int(rng.integers(model.cfg.n_layers)),
                "head": None if head < 0 else head,
                "receiver": position,
                "donor": position if same else int(rng.integers(1, len(prompts[donor]))),
            }
        )
    return patches


def hooked_patch(model: HookedTransformer, prompts: list[list[int]], patch: dict) -> Tensor:
    name = hook_name(patch["component"], patch["block"])
    _, cache = model.run_with_cache(torch.tensor([prompts[patch["from"]]]), names_filter=name)
    heads = slice(None) if patch["head"] is None else slice(patch["head"], patch["head"] + 1)

    def put(content: Tensor, hook: object) -> Tensor:
        if patch["component"] == "pattern":
            content[:, heads, patch["receiver"]] = cache[name][:, heads, patch["donor"]]
        elif content.ndim == 4:
            content[:, patch["receiver"], heads] = cache[name][:, patch["donor"], heads]
        else:
            content[:, patch["receiver"]] = cache[name][:, patch["donor"]]
        return content

    return hooked_logits(model, [prompts[patch["to"]]], [(name, put)])[0]


IN_THE_PAGE = """async ([about, text, words, prompts, patches, rights]) => {
    const model = (await mechxlModel.decode(about, text)).at(-1), cut = mechxlModel.tokenizerOf(about.tokenizer);
    const ran = prompts.map((prompt) => mechxlModel.run(model, prompt)), ends = about.ends ? [about.tokenizer.eos] : [];
    const answers = about.values.flat(2).map((word) => [word, [...cut(word), ...ends]]);
    const trie = mechxlModel.trieOf(new Map(answers));
    const right = (one, at) => mechxlModel.answers(model, one, trie, new Set([rights[at]]), 1e-3).words.get(rights[at]);
    const patched = (place) => mechxlModel.patched(model, ran[place.to], ran[place.from], place).logits;
    return {
        pieces: words.map(cut), unknown: cut("\\u2603"), right: ran.map(right),
        logits: ran.map((one) => [...one.logits]), patched: patches.map((place) => [...patched(place)]),
    };
}"""


def test_logits_patches_answers_and_tokens_are_those_of_the_model(cases, chromium):
    tab = chromium.new_page()
    tab.add_script_tag(content=(Path(mechxl.report.__file__).parent / "model" / "model.js").read_text())
    for name, (corpus, model, shown) in ((n, (c.corpus, c.model, c.shown)) for n, c in cases.items()):
        fact, language, prompts = prompts_of(corpus, PROMPTS)
        relation, value = corpus.world.relation[fact], corpus.world.value[fact, language]
        right = corpus.lexicon.value_words[relation, value, language]
        words, patches = corpus.lexicon.words.tolist(), drawn_patches(model, prompts)
        given = [json.loads(json.dumps(shown["description"])), shown["weights"], words, prompts, patches]
        page = tab.evaluate(IN_THE_PAGE, [*given, corpus.lexicon.words[right].tolist()])

        assert page["pieces"] == [[t for t in row if t >= 0] for row in corpus.word_tokens.tolist()], name
        assert page["unknown"] is None, name
        logits, wanted = torch.tensor(page["logits"]), hooked_logits(model, prompts)
        assert wanted.std() > 1, name  # or the bound would be easy
        assert float((logits - wanted).abs().max()) < BOUND, name
        (best, second), firsts = wanted.topk(2).values.T, wanted.argmax(-1)
        assert torch.equal(logits.argmax(-1)[best - second > BOUND], firsts[best - second > BOUND]), name
        by_hook = torch.stack([hooked_patch(model, prompts, patch) for patch in patches])
        assert float((torch.tensor(page["patched"]) - by_hook).abs().max()) < BOUND, name
        moved = by_hook - wanted[[patch["to"] for patch in patches]]
        assert float(moved.abs().max()) > 10 * BOUND, name
        log_p = answer_log_probs(model, Questions.of(corpus, fact, language), right[:, None])[:, 0]
        longest = int((corpus.word_tokens[right] >= 0).sum(1).max()) + 1
        assert np.allclose(np.log(page["right"]), log_p, rtol=0, atol=2 * BOUND * longest), name
    tab.close()


def test_checkpoints_are_spread_over_the_story():
    """A curve that rises between the 10th and the 15th of 20 checkpoints: half of the choice lies there."""
    rows = [
        {"step": step, "recall_accuracy": float(np.clip((step - 9) / 5, 0, 1)), "transfer_accuracy": None}
        for step in range(20)
    ]
    assert story_steps(range(20), rows, 9) == [0, 5, 9, 10, 11, 12, 13, 14, 19]
    assert story_steps(range(20), rows, 1) == [19]
    assert story_steps(range(20), [], 3)[::2] == [0, 19]
    assert story_steps([0, 5], rows, 12) == [0, 5]


def test_a_page_without_the_model(trained):
    assert model_of(trained, 0) == NO_MODEL
    two = model_of(trained, 2)
    assert two["description"]["steps"] == [0, trained.steps[-1]]
    assert max(two["description"]["errors"]) <= CODED_BOUND


HOSTILE = [
    "<img/src=x/onerror=window.pwned=1>",
    "</script><b/data-hostile>",
    "שלום\u202eabc",
    "w" * 40,
    "👩‍🚀🇫🇷",
    "{{7*7}}",
    "&lt;i&gt;",
]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A panel alone, of a model whose words are hostile."""
    config = parse_config({"world": WORLD, "tokenization": {"kind": "character"}, "model": SMALL})
    world = generate_world(config.world, 2, 0)
    lexicon = generate_lexicon(config.languages, world, 0)
    words = lexicon.words.astype(object)
    some = np.concatenate(
        [lexicon.names[: len(HOSTILE), 0], lexicon.value_words[0, :5, 1], lexicon.relation_words[:2, 0]]
    )
    for number, at in enumerate(some):
        words[at] = HOSTILE[number % len(HOSTILE)] + "." * (number // len(HOSTILE))
    corpus = corpus_of(world, replace(lexicon, words=words.astype(str), syllable_letters=0), config)
    environment = jinja2.Environment(loader=jinja2.PackageLoader("mechxl.report", "."), autoescape=True)
    page = environment.from_string(
        '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8"><title>x</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<style>{% include "page.css" %}{% include "model/panel.css" %}</style></head>'
        '<body><main><h1>x</h1>{% include "model/panel.html" %}</main></body></html>'
    )
    out = tmp_path_factory.mktemp("hostile") / "panel.html"
    out.write_text(page.render(model=case(corpus, config).shown, scripts=page_scripts()), encoding="utf-8")
    return out


def test_the_panel_answers_looks_and_patches_by_keyboard_and_hostile_words_are_text(hostile, looked_at):
    tab = looked_at(hostile, width=390, anchor="#model")
    tab.wait_for_selector("#model-course svg")
    about = json.loads(tab.locator("script.model-about").text_content())
    for text in HOSTILE:
        tab.locator("#model-entity").fill(text)
        tab.keyboard.press("Tab")
        tab.wait_for_function("(text) => document.getElementById('model-words').value.includes(text)", arg=text)
    relation, language = about["relations"][0].index(tab.locator("#model-words").input_value().split()[1]), 0
    entity = about["names"][0].index(HOSTILE[-1])
    value = about["value"][language][entity * WORLD["n_relations"] + relation]
    right = about["values"][relation][value][language]
    said = tab.locator("#model-answer").inner_text()
    assert said.startswith("At step 100 the model answers")
    assert right in said
    assert right in tab.locator("#model-answers tr", has_text="right in A").inner_text()
    # an earlier checkpoint, by keyboard
    tab.locator("#model-checkpoint").focus()
    tab.keyboard.press("ArrowLeft")
    tab.wait_for_function("() => document.getElementById('model-answer').textContent.startsWith('At step 0 ')")
    tab.keyboard.press("ArrowRight")
    # inside
    for part in ("look", "patch"):
        tab.locator(f"#model-{part} > summary").focus()
        tab.keyboard.press("Enter")
    tab.wait_for_selector("#model-near td")
    assert tab.locator("#model-heads table").count() == 4
    # a patch, by keyboard: the whole stream at the last position makes the donor's answer of the receiver's
    tab.wait_for_selector("#model-grid button")
    before = tab.locator("#model-patched").inner_text()
    tab.locator("#model-grid button[tabindex='0']").focus()
    for _ in range(60):
        tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    after = tab.locator("#model-patched").inner_text()
    assert after != before
    assert "residual stream, layer 2" in after
    # words that are no fact, and letters without a token
    tab.locator("#model-words").fill(about["relations"][1][0])
    tab.keyboard.press("Tab")
    tab.wait_for_function("() => document.getElementById('model-answer').textContent.includes('ask no fact')")
    tab.locator("#model-words").fill("☃")
    tab.keyboard.press("Tab")
    assert "no tokens for “☃”" in tab.locator("#model-answer").inner_text()
    tab.locator("#model-other").click()
    tab.wait_for_selector("#model-grid button")
    assert tab.evaluate("window.pwned") is None
    assert tab.locator("[data-hostile], img").count() == 0
    for width in (390, 1440):
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints(tab) == []
