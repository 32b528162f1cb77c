"""learning: what does the model recall, what does it transfer, and which knowledge comes first?

Recall and transfer are asked again at each checkpoint, with intervals over entities, beside the exact accuracies of
guessing without facts. Unseen entities show the model's prior: KL(P || model) says which marginal of the answers it
has learned.
"""

from dataclasses import asdict

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from mechxl.data.corpus import Corpus
from mechxl.data.guesses import floors, no_fact_accuracies, recall_guesses
from mechxl.data.information import Told, no_knowledge_losses, told_distribution
from mechxl.data.prediction import predict
from mechxl.data.transfer import TransferItems, transfer_items
from mechxl.findings import Finding
from mechxl.measures.statistics import EntityBootstrap
from mechxl.model.answers import Questions, answer_trie, ask_questions
from mechxl.questions.learning.prior import divergences, unseen_prior
from mechxl.questions.learning.words import MARGIN, NEAR, words
from mechxl.random import generator
from mechxl.run import Run

DRAWS = 1000
SEEN_ENTITIES, UNSEEN_ENTITIES = 4000, 64


def compute(run: Run, thorough: bool = False) -> Finding:
    """Curves of loss, recall, transfer and kinds of answers; final rates with intervals; the prior over training.

    Args:
        run: a run with checkpoints.
        thorough: all entities rather than at most 4,000 seen and 64 unseen ones.
    """
    corpus = run.corpus
    distribution = told_distribution(corpus)
    items = transfer_items(corpus)
    prior = unseen_prior(corpus, distribution, None if thorough else UNSEEN_ENTITIES)
    trie = answer_trie(corpus)
    entities = np.unique(corpus.world.entity[corpus.world.seen])
    if not thorough:
        entities = generator(0, "entities asked").permutation(entities)[:SEEN_ENTITIES]
    fact, language = corpus.tellings
    of_entities = np.isin(corpus.world.entity[fact], entities)
    recall = Questions.of(corpus, fact[of_entities], language[of_entities])
    kept = np.isin(corpus.world.entity[items.fact], entities)
    asked = TransferItems(items.fact[kept], items.asked[kept], items.told[kept], items.left_out)
    transfer, told_in = Questions.of(corpus, asked.fact, asked.asked), asked.told

    seen, unseen = recall.fact, prior.questions.fact
    over_seen = EntityBootstrap(corpus.world.entity[seen], DRAWS, generator(0, "entities drawn"))
    over_unseen = EntityBootstrap(corpus.world.entity[unseen], DRAWS, generator(0, "unseen entities drawn"))

    rates, priors = [], []
    for step in run.steps:
        model = run.model(step)
        for kind, questions, told_languages in (("recall", recall, None), ("transfer", transfer, told_in)):
            right = ask_questions(model, questions, trie).right
            rows = _rates(questions, right, told_languages, over_seen, items.why_none)
            rates += [{"step": step, "kind": kind} | row for row in rows]
        priors.append({"step": step} | divergences(model, prior, over_unseen))

    if corpus.has_tags:
        rates += _hidden(run, recall, transfer_items(corpus, tag=False), entities, over_seen)
    tables = {
        "curves": _curves(run),
        "rates": pd.DataFrame(rates),
        "prior": pd.DataFrame(priors),
        "no_knowledge": _no_knowledge(distribution),
        "no_fact": _no_fact(corpus, asked),
    }
    tables["checkpoints"] = _checkpoints(tables["curves"], tables["rates"])
    tables["plateaus"] = _plateaus(tables, floors(corpus, items)["recall"])
    notes = {
        "languages": corpus.lexicon.language_names,
        "draws": DRAWS,
        "unseen_entities": len(np.unique(corpus.world.entity[prior.questions.fact])) if len(prior.questions) else 0,
        "unseen_prompts": len(prior.questions),
        "tags": corpus.has_tags,
        "cue_dropout": run.config.languages.cue_dropout if corpus.has_tags else 0.0,
        "sampled": bool(len(recall) < len(fact)),
        "rest": asdict(run.rest),
        "predicted": _predicted(run),
    }
    return Finding("learning", words(tables, notes), tables, notes)


def _predicted(run: Run) -> dict[str, object] | None:
    """Transfer as a law predicts it from the settings; None where none holds, or the run has not ended."""
    found = predict(run.config, run.corpus) if run.complete else None
    if found is None:
        return None
    return {"value": found.value, "low": found.low, "high": found.high, "study": found.law.study}


def _hidden(
    run: Run,
    recall: Questions,
    items: TransferItems,
    entities: Int[np.ndarray, " entity"],
    bootstrap: EntityBootstrap,
) -> list[dict[str, object]]:
    """Recall and transfer with the tag hidden, at the last checkpoint: kinds recall_hidden and transfer_hidden."""
    corpus, model, trie = run.corpus, run.model(), answer_trie(run.corpus)
    kept = np.isin(corpus.world.entity[items.fact], entities)
    rows: list[dict[str, object]] = []
    for kind, fact, language, told in (
        ("recall_hidden", recall.fact, recall.language, None),
        ("transfer_hidden", items.fact[kept], items.asked[kept], items.told[kept]),
    ):
        questions = Questions.of(corpus, fact, language, tag=False)
        right = ask_questions(model, questions, trie).right
        about = {"step": run.steps[-1], "kind": kind}
        rows += [about | row for row in _rates(questions, right, told, bootstrap, items.why_none)]
    return rows


def _no_knowledge(distribution: Told) -> pd.DataFrame:
    """The exact losses of models that know no fact, in nats an answer, by what they are given."""
    losses = no_knowledge_losses(distribution)
    given = {"nothing": losses.answer, "R": losses.given_relation, "R, S": losses.given_readers}
    return pd.DataFrame({"given": list(given), "loss": list(given.values())})


def _no_fact(corpus: Corpus, asked: TransferItems) -> pd.DataFrame:
    """The exact accuracies of guessing without facts, on all tellings and on the transfer items asked."""
    by_relation, by_language = recall_guesses(corpus)
    accuracies = no_fact_accuracies(corpus, asked)
    rows = [
        ("recall", "argmax P(v | R)", by_relation, ""),
        ("recall", "argmax P(v | R, asked language)", by_language, ""),
        ("transfer", "argmax P(v | R)", accuracies.by_relation, asked.why_none),
        ("transfer", "argmax P(v | R, asked language)", accuracies.by_asked, asked.why_none),
        ("transfer", "argmax P(v | R, told language)", accuracies.by_told, asked.why_none),
    ]
    return pd.DataFrame(rows, columns=["kind", "guess", "accuracy", "reason"])


def _rates(
    questions: Questions,
    right: Bool[np.ndarray, " question"],
    told: Int[np.ndarray, " question"] | None,
    bootstrap: EntityBootstrap,
    why_none: str,
) -> list[dict[str, object]]:
    """Pooled, and by group and language (recall) or by pair (transfer; told is given), with intervals over entities."""
    corpus = questions.corpus
    names, entity = corpus.lexicon.language_names, corpus.world.entity[questions.fact]
    groups = {"all": np.ones(len(questions), dtype=bool)}
    if told is None:
        group = corpus.mixture.group[questions.fact]
        groups |= {g: group == g for g in ("parallel", "mono")}
        groups |= {f"in {name}": questions.language == index for index, name in enumerate(names)}
    else:
        pairs = [(a, b) for a in range(len(names)) for b in range(len(names)) if a != b]
        groups |= {f"{names[a]}→{names[b]}": (told == a) & (questions.language == b) for a, b in pairs}
    rows = []
    for name, in_group in groups.items():
        entities = len(np.unique(entity[in_group]))
        row: dict[str, object] = {"group": name, "n": int(in_group.sum()), "entities": entities}
        mean, low, high = bootstrap.mean(right[in_group], entity[in_group]) if in_group.any() else (np.nan,) * 3
        reason = "" if in_group.any() else why_none or "no items in this group"
        rows.append(row | {"accuracy": mean, "low": low, "high": high, "reason": reason})
    return rows


def _curves(run: Run) -> pd.DataFrame:
    """The rows of metrics.jsonl that figures draw; what is missing in a row has its reason there."""
    metrics = run.metrics
    given = [str(name) for name in metrics if str(name).endswith("_reason")]
    values = metrics.drop(columns=given)
    reasons = [
        "; ".join(dict.fromkeys(reason for reason in row if isinstance(reason, str)))
        or ("nothing was trained before step 0" if missing else "")
        for row, missing in zip(metrics[given].to_numpy(), values.isna().any(axis=1), strict=True)
    ]
    return values.assign(reason=reasons)


def _checkpoints(curves: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """A row a checkpoint: loss, recall and transfer with intervals, mean visits of a mono and a parallel fact."""
    visits = [name for name in ("mono_visits", "parallel_visits") if name in curves]
    table = curves[["step", "loss", *visits, "reason"]]
    for kind in ("recall", "transfer"):
        pooled = rates[(rates["kind"] == kind) & (rates["group"] == "all")]
        renamed = {"accuracy": kind, "low": f"{kind}_low", "high": f"{kind}_high"}
        table = table.merge(pooled[["step", *renamed]].rename(columns=renamed), on="step")
    return table


def _plateaus(tables: dict[str, pd.DataFrame], guess: float) -> pd.DataFrame:
    """For each no-knowledge loss H, the longest stretch of evaluations before recall with the loss within 3 % of H.

    Recall begins at the first evaluation at which it exceeds that of the best guess that knows no fact by more than
    .05. Step 0 does not count. The loss rests at H if the stretch has at least 3 evaluations and its last step is at
    least 1.5 times its first; else it passes H.
    """
    curves = tables["curves"]
    begun = curves["step"][curves["recall_accuracy"] > guess + MARGIN]
    before = curves[(curves["step"] > 0) & (curves["step"] < (begun.iloc[0] if len(begun) else np.inf))]
    steps = before["step"].to_numpy()
    rows = []
    for given, loss in zip(tables["no_knowledge"]["given"], tables["no_knowledge"]["loss"], strict=True):
        off = np.abs(before["loss"].to_numpy() - loss) / max(loss, 1e-9)
        ends = np.flatnonzero(np.diff(np.r_[False, off <= NEAR, False]))
        start, stop = max(zip(ends[::2], ends[1::2], strict=True), key=lambda ends: ends[1] - ends[0], default=(0, 0))
        inside, missing = steps[start:stop], stop == start or not len(begun)
        rows.append(
            {
                "given": given,
                "loss": loss,
                "evaluations": len(inside),
                "first": inside.min() if len(inside) else np.nan,
                "last": inside.max() if len(inside) else np.nan,
                "least_off": off[start:stop].min() if len(inside) else np.nan,
                "rests": bool(len(inside) >= 3 and inside.max() >= 1.5 * inside.min()),
                "guess": guess,
                "recall_begins": begun.iloc[0] if len(begun) else np.nan,
                "reason": "no evaluation lies there, or recall does not begin" if missing else "",
            }
        )
    return pd.DataFrame(rows)
