"""What does the page assert over odd settings? Trains each with its null, asks every question and reads all words.

    python -m tests.sceptic.odd DIR [--only NAME ...] [--workers N] [--table docs/odd_settings.md]

DIR gets a run directory a setting, its null beside it, and NAME.txt with every sentence and caption. Printed at the
end: for each setting what is asserted, and what is wrong with the words: an error, a warning, a number that is none,
a plural of one, or two sentences that contradict each other (`contradictions.py`). Exit status 1 if anything is.
"""

import argparse
import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "world": {"n_entities": 120, "n_unseen": 40},
    "training": {
        "steps": 900,
        "warmup_steps": 50,
        "checkpoints": 20,
        "batch_size": 256,
        "evaluate_every": 30,
        "threads": 1,
    },
}
TAG = {"languages.cue": "tag"}
WORDS = {"languages.shared_words": 1.0}
ODD: dict[str, dict[str, Any]] = {
    "default": {},
    "languages_3": {"languages.count": 3},
    "languages_8": {"languages.count": 8, "world.n_entities": 60},
    "relation_1": {"world.n_relations": 1},
    "values_2": {"world.n_values": 2},
    "values_2_relation_1": {"world.n_values": 2, "world.n_relations": 1},
    "entities_4": {"world.n_entities": 4, "world.n_unseen": 2},
    "entities_4_languages_3": {"world.n_entities": 4, "world.n_unseen": 0, "languages.count": 3},
    "entities_20": {"world.n_entities": 20},
    "unseen_0": {"world.n_unseen": 0},
    "word": {"tokenization.kind": "word"},
    "character": {"tokenization.kind": "character"},
    "byte": {"tokenization.kind": "byte"},
    "bpe": {"tokenization.kind": "bpe"},
    "bpe_languages_3": {"tokenization.kind": "bpe", "languages.count": 3},
    "varied_order": {"languages.word_order": "varied"},
    "distinct_script": {"languages.script": "distinct"},
    "zipf_2": {"world.value_distribution": "zipf", "world.zipf_exponent": 2.0},
    "frequency_zipf": {"world.frequency": "zipf"},
    "informative_1": {"mixture.informativeness": 1.0},
    "parallel_0": {"mixture.parallel_fraction": 0.0},
    "parallel_1": {"mixture.parallel_fraction": 1.0},
    "parallel_.2": {"mixture.parallel_fraction": 0.2},
    "shared_names_0": {"languages.shared_names": 0.0},
    "shared_names_.5": {"languages.shared_names": 0.5},
    "nothing_shared": {"languages.shared_names": 0.0, "mixture.parallel_fraction": 0.0},
    "shared_facts_0": {"world.shared_facts": 0.0},
    "shared_facts_.5": {"world.shared_facts": 0.5},
    "no_tag_words_shared": WORDS,
    "words_shared_tag": {**WORDS, **TAG, "mixture.informativeness": 1.0, "mixture.parallel_fraction": 0.0},
    "words_shared_dropout_.5": {
        **WORDS,
        **TAG,
        "languages.cue_dropout": 0.5,
        "mixture.informativeness": 1.0,
        "mixture.parallel_fraction": 0.0,
    },
    "cue_dropout_1": {**TAG, "languages.cue_dropout": 1.0},
    "words_shared_dropout_1": {**WORDS, **TAG, "languages.cue_dropout": 1.0},
    "objective_all": {"training.objective": "all"},
    "layer_1": {"model.n_layers": 1},
    "layers_4": {"model.n_layers": 4},
    "checkpoints_2": {"training.checkpoints": 2},
    "unit_entity": {"mixture.unit": "entity"},
    "per_fact": {"mixture.exposure": "per_fact"},
    "uneven_shares": {"mixture.language_shares": [0.9, 0.1]},
    "narrow": {"model.d_model": 16},
    "rms_relu": {"model.normalization": "RMS", "model.act_fn": "relu"},
    "steps_10": {"training.steps": 10, "training.warmup_steps": 2, "training.evaluate_every": 5},
    "diverges": {"training.learning_rate": 3.0},
}


def config_of(name: str) -> Any:
    """The settings of one odd run."""
    from mechxl.sweep.study import parse_study

    return parse_study({"base": SMALL, "runs": [{"name": name, **ODD[name]}], "seeds": [0]}, "odd").runs[0].config


def words_of(name: str, out: Path) -> tuple[str, dict[str, str], list[str]]:
    """(name, what is asserted, problems) of one odd setting; trains what is missing and writes every text."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message=".*(HookedTransformer is deprecated|torch.jit.script)")
    from mechxl.questions.find import find_question
    from mechxl.questions.table import QUESTIONS
    from mechxl.run import Run
    from mechxl.training.loop import train_run
    from tests.sceptic.contradictions import asserted, problems

    config, folder = config_of(name), out / name
    null = config.model_copy(update={"world": config.world.model_copy(update={"shared_facts": 0.0})})
    findings, texts, wrong = {}, [], []
    try:
        train_run(config, folder, quiet=True, resume=folder.exists())
        if config.world.shared_facts:
            train_run(null, out / f"{name}-null", quiet=True, resume=(out / f"{name}-null").exists())
    except Exception as error:
        wrong.append(f"training: {type(error).__name__}: {error}")
    run = Run(folder)
    from mechxl.questions.ask import ask

    for question in QUESTIONS:
        try:
            finding = ask(run, question)
            findings[question] = finding
            texts += [f"[{question}] {sentence}" for sentence in finding.summary]
            texts += [
                f"[{question}, {panel.name}] {panel.title}: {panel.caption}"
                for panel in find_question(question).figures(finding)
            ]
        except Exception as error:
            wrong.append(f"{question}: {type(error).__name__}: {error}")
    (out / f"{name}.txt").write_text("\n\n".join([*texts, *(f"PROBLEM {one}" for one in wrong)]), encoding="utf-8")
    return name, asserted(findings), wrong + problems(findings, texts)


def table_of(found: Mapping[str, tuple[dict[str, str], list[str]]]) -> str:
    """What every setting asserts, and what is wrong with it, as a table in markdown."""
    columns = list(next(iter(found.values()))[0])
    rows = [["setting", *columns, "the numbers support it"], ["---"] * (len(columns) + 2)]
    rows += [[name, *said.values(), "; ".join(wrong) or "yes"] for name, (said, wrong) in found.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_table(path: Path, table: str) -> None:
    """Puts a table between the marks of a page."""
    page = path.read_text(encoding="utf-8")
    before, _, rest = page.partition("<!-- odd settings -->\n")
    after = rest.partition("<!-- odd settings end -->")[2]
    path.write_text(f"{before}<!-- odd settings -->\n{table}\n<!-- odd settings end -->{after}", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=list(ODD), choices=list(ODD), metavar="NAME")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--table", type=Path, metavar="FILE", help="a page between whose marks the table is put")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[str, tuple[dict[str, str], list[str]]] = {}
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(words_of, name, options.out) for name in options.only]
        for job in jobs:
            name, said, wrong = job.result()
            found[name] = said, wrong
            lines = [f"  {what}: {words}" for what, words in said.items()] + [f"  WRONG {one}" for one in wrong]
            print("\n".join(["", name, *lines]), flush=True)
    if options.table:
        write_table(options.table, table_of(found))
    bad = [name for name, (_, wrong) in found.items() if wrong]
    print(f"\n{len(found)} settings, {len(bad)} with something wrong: {', '.join(bad) or 'none'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
