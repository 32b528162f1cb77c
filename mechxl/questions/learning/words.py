"""The question `learning` in words: recall and transfer at the end, whether the run rests, the plateau before."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mechxl.findings import counted, signed

NEAR = 0.03  # of a no-knowledge loss: within it the loss is near
MARGIN = 0.05  # by which recall exceeds the best guess without facts, where it begins
MARGINALS = {"P(A | R)": "given_relation", "P(A | R, S)": "given_readers"}


def words(tables: dict[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """Recall and transfer at the end, rest, and the plateau before recall."""
    return [
        _headline(tables, notes["rest"]),
        *_predicted(tables, notes["predicted"]),
        *_hidden(tables, notes),
        _rest(notes["rest"]),
        *_plateau_words(tables),
    ]


def _headline(tables: dict[str, pd.DataFrame], rest: Mapping[str, Any]) -> str:
    last = tables["rates"]["step"].max()
    final = tables["rates"][tables["rates"]["step"] == last]
    rate = {row["kind"]: row for _, row in final[final["group"] == "all"].iterrows()}
    recall, transfer = rate["recall"], rate["transfer"]
    moves = rest["rests"] is False
    when = f"Over steps {rest['first']:,} to {rest['last']:,} (their mean)" if moves else f"At step {last:,}"
    floors = tables["no_fact"].groupby("kind")["accuracy"].max()
    recalled = (
        f"{when} the model recalls {_share(recall, rest['recall'] if moves else None)} of "
        f"{counted(int(recall['n']), 'telling')} ({counted(int(recall['entities']), 'entity')}); the best guess "
        f"without facts reaches {floors['recall']:.1%}"
    )
    if transfer["reason"]:
        return f"{recalled}; transfer is not defined ({transfer['reason']})."
    return (
        f"{recalled}. It also answers {_share(transfer, rest['transfer'] if moves else None)} of "
        f"{counted(int(transfer['n']), 'question')} about mono facts in a language that training did not tell them in "
        f"(transfer); the best guess without facts reaches {floors['transfer']:.1%}."
    )


def _predicted(tables: Mapping[str, pd.DataFrame], predicted: Mapping[str, Any] | None) -> list[str]:
    """Transfer as a law predicted it before training, beside what was observed."""
    if predicted is None:
        return []
    rates = tables["rates"]
    last = rates[(rates["step"] == rates["step"].max()) & (rates["group"] == "all") & (rates["kind"] == "transfer")]
    observed, low, high = float(last["accuracy"].iloc[0]), predicted["low"], predicted["high"]
    where = "inside" if low <= observed <= high else "outside"
    return [
        f"Predicted before training: transfer {predicted['value']:.1%} [{low:.1%}, {high:.1%}] (a law of the study "
        f"{predicted['study']}; the interval holds 95 % of runs). Observed: {observed:.1%}, {where} of it."
    ]


def _hidden(tables: Mapping[str, pd.DataFrame], notes: Mapping[str, Any]) -> list[str]:
    """Where languages have tags: what is recalled and transferred without the tag, which training leaves out at times.

    Training corresponds to the tag hidden where it always leaves the tag out.
    """
    if not notes["tags"]:
        return []
    rates = tables["rates"]
    rate = {row["kind"]: row for _, row in rates[rates["group"] == "all"].iterrows() if "hidden" in row["kind"]}
    dropout = notes["cue_dropout"]
    shown = {0.0: "Training always shows the tag", 1.0: "Training never shows the tag"}.get(
        dropout, f"Training leaves the tag out of {dropout:.0%} of what it shows"
    )
    recall, transfer = rate["recall_hidden"], rate["transfer_hidden"]
    transferred = f"not defined ({transfer['reason']})" if transfer["reason"] else _share(transfer, None)
    return [
        f"{shown}; the numbers above are of questions that show it. With the tag hidden, at step {recall['step']:,}: "
        f"recall {_share(recall, None)} of {counted(int(recall['n']), 'telling')}, transfer {transferred}."
    ]


def _share(row: pd.Series, movement: Mapping[str, float] | None) -> str:
    """The last checkpoint's rate with its interval over entities; or, of a run that moves, its mean and range."""
    if movement is None:
        return f"{row['accuracy']:.1%} [{row['low']:.1%}, {row['high']:.1%}]"
    return f"{movement['mean']:.1%} (evaluations from {movement['low']:.1%} to {movement['high']:.1%})"


def _rest(rest: Mapping[str, Any]) -> str:
    """Whether the run rests, and how far it moves."""
    if rest["rests"] is None:
        return f"Whether the run rests can't be told: {rest['reason']}."
    moves = [
        f"{name} moves over {movement['high'] - movement['low']:.3f} (sd {movement['sd']:.3f})"
        for name in ("loss", "recall", "transfer")
        if (movement := rest[name])
    ]
    where = f"over the last tenth of training (steps {rest['first']:,} to {rest['last']:,}, n = {rest['evaluations']} "
    verdict = "The run rests" if rest["rests"] else "The run does not rest"
    why = "" if rest["rests"] else f" Reason: {rest['reason']}. Its end is therefore the mean over that tenth."
    return f"{verdict}: {where}evaluations) {', '.join(moves)}.{why}"


def _plateau_words(tables: dict[str, pd.DataFrame]) -> list[str]:
    """The plateau before recall in words, and what unseen entities say of it."""
    plateaus, prior = tables["plateaus"], tables["prior"]
    begins, guess = plateaus["recall_begins"].iloc[0], plateaus["guess"].iloc[0]
    best_guess = f"the best guess without facts ({guess:.1%}) by {MARGIN:.0%}"
    beginning = (
        f"Recall does not yet exceed {best_guess}."
        if np.isnan(begins)
        else f"Recall first exceeds {best_guess} at step {begins:,.0f}."
    )
    near = plateaus[(plateaus["evaluations"] > 0) & (plateaus["given"] != "nothing")]
    if not len(near):
        return [f"Before recall begins, the loss comes within {NEAR:.0%} of no no-knowledge loss. {beginning}"]
    row = near.sort_values(["rests", "evaluations", "least_off"], ascending=[False, False, True]).iloc[0]
    one_step = row["first"] == row["last"]
    steps = f"step {row['first']:,.0f}" if one_step else f"steps {row['first']:,.0f} to {row['last']:,.0f}"
    count = f"{row['evaluations']} evaluation{'' if row['evaluations'] == 1 else 's'}"
    plateau = (
        f"Before recall begins, the loss {'rests' if row['rests'] else 'passes'} within {NEAR:.0%} of H(A | "
        f"{row['given']}) = {row['loss']:.2f} nats ({steps}, {count}). {beginning}"
    )
    there = (prior["step"] >= row["first"]) & (prior["step"] <= row["last"])
    return [f"{plateau} {_prior_words(prior[there & (prior['reason'] == '')])}"]


def _prior_words(prior: pd.DataFrame) -> str:
    """Which marginal the answers about unseen entities are nearer to, at the checkpoint where they are nearest."""
    if not len(prior):
        return "No checkpoint there shows by unseen entities which marginal was learned."
    nearest = prior.iloc[int(prior[["given_relation", "given_readers"]].min(axis=1).to_numpy().argmin())]
    kl = {
        label: f"{signed(nearest[name], 3)} [{signed(nearest[name + '_low'], 3)}, {signed(nearest[name + '_high'], 3)}]"
        for label, name in MARGINALS.items()
    }
    nearer, other = sorted(MARGINALS, key=lambda label: nearest[MARGINALS[label]])
    basis = f"step {nearest['step']:,.0f}, where they are nearest; n = {nearest[MARGINALS[nearer] + '_n']:,.0f} prompts"
    if abs(nearest["given_relation"] - nearest["given_readers"]) < 1e-6:
        return (
            f"Answers about unseen entities follow {nearer}, the same as {other} here: KL {kl[nearer]} nats ({basis})."
        )
    return (
        f"Answers about unseen entities are nearer to {nearer} than to {other}: KL {kl[nearer]} against {kl[other]} "
        f"nats ({basis})."
    )
