"""Patching across checkpoints on much data: python -m benchmarks.patching [--quick]

The default run: 256 pairs, the residual stream after the embeddings and both blocks, every position of the prompt
except BOS, at 30 checkpoints. For each pair: the answer, log p of the donor's and the receiver's value, and their logit
difference. The peer is a loop over `transformer_lens.patching.generic_activation_patch`; it returns one number for each
patch, so its metric here also stores these numbers for each pair. The two alternate; each loads every checkpoint.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformer_lens.patching as theirs

from benchmarks.activations import timed
from benchmarks.machine import table
from mechxl.config import RunConfig
from mechxl.instruments.patching.engine import run_plan
from mechxl.instruments.patching.pairs import Pairs, answered_rightly, draw_pairs
from mechxl.instruments.patching.plan import PatchPlan, Place
from mechxl.model.hooked import load_parameters
from mechxl.model.weights import weights_of
from mechxl.run import Run
from mechxl.training.loop import train_run
from mechxl.training.memory import kept_memory

setattr(theirs, "tqdm", list)  # noqa: B010 - turns off the peer's progress bar
ROLES = ("name_first", "name_last", "prompt_last")  # the default prompt's positions 1, 2 and 3
PLACES = [("resid_pre", 0), ("resid_post", 0), ("resid_post", 1)]


def engine(run: Run, pairs: Pairs) -> np.ndarray:
    """(checkpoint, place, pair, number): the token answered, two log p and the logit difference."""
    places = [Place(component, block, role) for component, block in PLACES for role in range(len(ROLES))]
    first = run.corpus.word_tokens[:, 0]
    steps, model = [], run.model()
    plan = PatchPlan.of(run.corpus, pairs, ROLES, places, run.config.model.n_layers)
    with kept_memory():
        for step in run.steps:
            load_parameters(model, run.checkpoint(step))
            patched = run_plan(plan, weights_of(model))
            token = np.where(patched.word >= 0, first[patched.word], -1)
            steps.append(np.stack([token, *np.moveaxis(patched.log_prob, 2, 0), patched.logit_diff], axis=2))
    return np.stack(steps)


def looped(run: Run, pairs: Pairs) -> np.ndarray:
    """The same numbers by TransformerLens's patching, one forward for each patch."""
    corpus = run.corpus
    sides = ((pairs.donor_fact, pairs.donor_language), (pairs.fact, pairs.language))
    donors, receivers = (torch.as_tensor(corpus.sequences(*side).prompts()) for side in sides)
    words = corpus.lexicon.value_words[corpus.world.relation[pairs.fact]]
    value, row = corpus.world.value, np.arange(len(pairs))
    answers = [words[row, value[fact, told], pairs.language] for fact, told in sides]
    targets = torch.as_tensor(np.stack([corpus.word_tokens[word, 0] for word in answers], axis=1))
    is_answer = torch.zeros(corpus.tokenizer.get_vocab_size(), dtype=torch.bool)
    is_answer[corpus.word_tokens[np.unique(corpus.lexicon.value_words), 0]] = True
    setter = theirs.layer_pos_patch_setter
    kept: list[np.ndarray] = []

    def metric(logits: torch.Tensor) -> torch.Tensor:
        last = logits[:, -1]
        two, token = last.log_softmax(-1).gather(1, targets), last.argmax(-1)
        difference = last.gather(1, targets).diff(dim=1)[:, 0].neg()
        token = torch.where(is_answer[token], token, -1)
        kept.append(torch.stack([token, two[:, 0], two[:, 1], difference], dim=1).double().numpy())
        return difference.mean()

    steps, model = [], run.model()
    for step in run.steps:
        load_parameters(model, run.checkpoint(step))
        with torch.no_grad():
            _, cache = model.run_with_cache(donors)
            kept.clear()
            for component, block in PLACES:
                where = pd.DataFrame({"layer": [block] * 3, "pos": [1, 2, 3]})
                theirs.generic_activation_patch(model, receivers, cache, metric, setter, component, index_df=where)
        steps.append(np.stack(kept))
    return np.stack(steps)


def measure(repeats: int) -> list[tuple[str, str, str]]:
    """Rows (quantity, median, bound)."""
    with tempfile.TemporaryDirectory() as folder:
        run = train_run(RunConfig(), Path(folder) / "run", quiet=True)
        pairs = draw_pairs(run.corpus, 300, donor=0, receiver=1)
        right = answered_rightly(run.model(), run.corpus, pairs.fact, pairs.language)
        pairs = pairs[right & answered_rightly(run.model(), run.corpus, pairs.donor_fact, pairs.donor_language)][:256]
        for warm_up in (engine, looped):
            warm_up(run, pairs)
        seconds: dict[str, list[float]] = {"engine": [], "loop": []}
        gap, same = 0.0, 1.0
        for _ in range(repeats):
            one, ours = timed(lambda: engine(run, pairs))
            two, peer = timed(lambda: looped(run, pairs))
            seconds["engine"].append(one)
            seconds["loop"].append(two)
            gap = max(gap, float(np.abs(ours - peer)[..., 1:].max()))
            same = min(same, float((ours[..., 0] == peer[..., 0]).mean()))
        n_steps = len(run.steps)
    ratios = [b / a for a, b in zip(seconds["engine"], seconds["loop"], strict=True)]

    def spread(name: str) -> str:
        return f"{statistics.median(seconds[name]):.2f} s ({min(seconds[name]):.2f}-{max(seconds[name]):.2f})"

    return [
        (f"loop over transformer_lens.patching, {n_steps} checkpoints, {len(pairs)} pairs", spread("loop"), ""),
        ("engine", spread("engine"), ""),
        ("loop / engine", f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})", "at least 4"),
        ("answers that are equal", f"{same:.4%}", "all but ties of float32"),
        ("largest difference of a log p or logit difference", f"{gap:.1e}", "1e-4"),
    ]


def section(quick: bool) -> str:
    """The rows as a section of the results, on one thread and on two."""
    before, texts = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        rows = table(("what", "measured", "bound"), measure(1 if quick else 5))
        texts.append(f"{threads} thread{'s' * (threads > 1)}:\n\n{rows}")
    torch.set_num_threads(before)
    intro = "Default run: 3 layers x 3 positions x all checkpoints of 256 pairs; outcome, log p, logit difference."
    return "\n\n".join([intro, *texts])


def main() -> None:
    """Prints the rows as Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    print(section(parser.parse_args().quick))


if __name__ == "__main__":
    main()
