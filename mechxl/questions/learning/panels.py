"""Figures of the question `learning`."""

import plotly.graph_objects as go

from mechxl.findings import Finding, counted
from mechxl.plots import (
    BLUE,
    GREY,
    INK,
    KIND_COLOURS,
    LANGUAGES,
    ORANGE,
    Panel,
    band,
    level,
    line,
    side_by_side,
    step_axis,
    steps_shown,
    themed,
)


def figures(finding: Finding) -> list[Panel]:
    """Loss, recall and transfer, kinds of answers, and the prior, over training."""
    return [_loss_panel(finding), _rates_panel(finding), _kinds_panel(finding), _prior_panel(finding)]


def _loss_panel(finding: Finding) -> Panel:
    curves, figure = finding.tables["curves"], go.Figure()
    x = steps_shown(curves["step"])
    figure.add_trace(line(x, curves["loss"], "answer loss", INK))
    names = {"nothing": "H(A)", "R": "H(A | R)", "R, S": "H(A | R, S)"}
    for given, loss in finding.tables["no_knowledge"].itertuples(index=False):
        level(figure, loss, f"{names[given]} = {loss:.2f}")
    step_axis(figure, curves["step"])
    figure.update_yaxes(title="nats an answer", rangemode="tozero")
    caption = (
        f"Mean loss of an answer over the tellings, with training weights; {_asked(finding, 'recall')}. Dotted: the "
        "exact losses of models that know no fact. They know nothing, the relation R, or R and the set S of languages "
        "that the prompt can be in. Where the loss rests on one of these lines, the model has learned that marginal "
        "and no fact yet. One run (one seed)."
    )
    return Panel("loss", "Loss, against the losses of knowing no fact", caption, themed(figure))


def _asked(finding: Finding, *kinds: str) -> str:
    """How many questions an evaluation asks."""
    curves, counts = finding.tables["curves"], []
    for kind in kinds:
        fewest, most = int(curves[f"{kind}_n"].min()), int(curves[f"{kind}_n"].max())
        more = "" if fewest == most else f", {most:,} at the last step"
        counts.append(f"{kind} n = {fewest:,}{more}")
    return "; ".join(counts)


def _rates_panel(finding: Finding) -> Panel:
    rates, curves = finding.tables["rates"], finding.tables["curves"]
    figure = side_by_side("Recall", "Transfer")
    languages, notes = finding.notes["languages"], []
    for column, kind in ((1, "recall"), (2, "transfer")):
        of_kind = rates[rates["kind"] == kind]
        pooled = of_kind[of_kind["group"] == "all"]
        last = pooled.iloc[-1]
        notes.append(
            f"{kind}: n = {counted(int(last['n']), 'question')} about {counted(int(last['entities']), 'entity')}"
        )
        hidden = f"{kind}_hidden_accuracy"
        if finding.notes["tags"] and curves[hidden].notna().any():
            label = "all, tag hidden"
            x = steps_shown(curves["step"])
            trace = line(x, curves[hidden], label, GREY, group=label, showlegend=kind == "recall")
            figure.add_trace(trace, row=1, col=column)
        elif finding.notes["tags"]:
            notes.append(f"{kind} with the tag hidden is not defined ({curves['reason'].iloc[-1]})")
        if last["reason"]:
            note = {"x": 0.5, "y": 0.5, "xref": "x2 domain", "yref": "y2 domain", "showarrow": False}
            figure.add_annotation(text="not defined:<br>" + last["reason"].replace(": ", ":<br>"), **note)
            continue
        x = steps_shown(pooled["step"])
        figure.add_trace(band(x, pooled["low"], pooled["high"], INK), row=1, col=column)
        trace = line(x, pooled["accuracy"], "all", INK, group="all", showlegend=column == 1)
        figure.add_trace(trace, row=1, col=column)
        groups = [group for group in of_kind["group"].unique() if group.startswith("in ") or "→" in group]
        for index, group in enumerate(groups if len(groups) <= 8 else []):
            part = of_kind[of_kind["group"] == group].dropna(subset=["accuracy"])
            asked = group.removeprefix("in ").rpartition("→")[2]
            colour = LANGUAGES[languages.index(asked)]
            dash = "dot" if kind == "recall" else ("dash", "dot", "dashdot", "longdash")[index // len(languages) % 4]
            label = group if kind == "recall" else f"told→asked {group}"
            trace = line(steps_shown(part["step"]), part["accuracy"], label, colour, dash=dash, width=1.5)
            figure.add_trace(trace, row=1, col=column)
    guesses = finding.tables["no_fact"][finding.tables["no_fact"]["reason"] == ""]
    for kind, accuracy in guesses[["kind", "accuracy"]].itertuples(index=False):
        level(figure, accuracy, "", subplot=1 if kind == "recall" else 2)
    step_axis(figure, curves["step"], narrow=True)
    figure.update_yaxes(range=[-0.02, 1.03])
    guessed = "; ".join(f"{row.kind}, {row.guess} {row.accuracy:.3f}" for row in guesses.itertuples())
    caption = (
        "Recall: the tellings of training, asked again. Transfer: mono facts, asked in a language that training does "
        "not tell them in. The whole answer must match, under greedy decoding; the tag, where there is one, is shown. "
        f"Black: all, with a 95 % interval over entities ({finding.notes['draws']:,} bootstrap draws). Colours: by the "
        "language asked in. "
        f"{'; '.join(notes).capitalize()}{' (a sample)' if finding.notes['sampled'] else ''}; one run (one seed). "
        + (
            f"Dotted grey: exact accuracies of guessing without facts on the same questions ({guessed})."
            if guessed
            else ""
        )
    )
    return Panel("rates", "Recall and transfer", caption, themed(figure, legend_rows=2))


def _kinds_panel(finding: Finding) -> Panel:
    curves = finding.tables["curves"]
    figure = side_by_side("Recall", "Transfer")
    labels = ("right value, asked language", "right value, another language", "wrong value, asked language", "other")
    for column, kind in ((1, "recall"), (2, "transfer")):
        if curves[f"{kind}_accuracy"].isna().all():
            continue
        for (key, colour), label in zip(KIND_COLOURS.items(), labels, strict=True):
            area = go.Scatter(
                x=steps_shown(curves["step"]),
                y=curves[f"{kind}_kinds.{key}"],
                name=label,
                mode="lines",
                stackgroup="kinds",
                line={"width": 0.5, "color": colour},
                legendgroup=key,
                showlegend=column == 1,
            )
            figure.add_trace(area, row=1, col=column)
    step_axis(figure, curves["step"], narrow=True)
    figure.update_yaxes(range=[0, 1])
    caption = (
        "What the model answers, as shares of each evaluation's questions: the right value in the language asked, the "
        "right value in another language, another value of the relation in the language asked, or anything else. "
        f"{_asked(finding, 'recall', 'transfer').capitalize()}; one run. Shares have no null; the accuracies above do."
    )
    return Panel("kinds", "Kinds of answers over training", caption, themed(figure, legend_rows=2))


def _prior_panel(finding: Finding) -> Panel:
    prior, figure = finding.tables["prior"], go.Figure()
    for column, label, colour in (("given_relation", "P(A | R)", ORANGE), ("given_readers", "P(A | R, S)", BLUE)):
        known = prior.dropna(subset=[column])
        x = steps_shown(known["step"])
        figure.add_trace(band(x, known[f"{column}_low"], known[f"{column}_high"], colour))
        figure.add_trace(line(x, known[column], f"KL( {label} ‖ model )", colour))
    step_axis(figure, prior["step"])
    figure.update_yaxes(title="nats", rangemode="tozero")
    caption = (
        "How far the model's answers about unseen entities are from two marginals of the answers: given the relation, "
        "and given the relation and the languages that the prompt can be in. 0: the model follows that marginal "
        f"exactly. n = {finding.notes['unseen_prompts']:,} prompts about {finding.notes['unseen_entities']:,} entities "
        "that no training sentence names, every relation in every language. Bands: 95 % intervals over these entities "
        f"({finding.notes['draws']:,} bootstrap draws); one run. Where both curves rise again, the model answers "
        "unknown names as if it knew their facts."
    )
    return Panel("prior", "Which marginal has been learned: the answers about unseen entities", caption, themed(figure))
