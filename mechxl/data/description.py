"""Describes a corpus before training: sample sentences, counts, information, extractability, visits.

`train --describe` prints these rows, and the report shows them.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mechxl.config import RunConfig
from mechxl.data.corpus import Corpus
from mechxl.data.extractability import extractability
from mechxl.data.guesses import no_fact_accuracies
from mechxl.data.information import (
    draws_by_group,
    informativeness,
    mean_visits,
    no_knowledge_losses,
    told_distribution,
)
from mechxl.data.prediction import predict, why_no_prediction
from mechxl.data.tokenization import CONTINUES, token_texts
from mechxl.data.transfer import TransferItems, matching_ceiling, transfer_items


@dataclass(frozen=True)
class Sentence:
    """A fact told in a language.

    Attributes:
        group: parallel, mono or unseen.
        language: the language's letter.
        told: whether the fact is told in this language in training.
        text: the sentence as a person reads it.
        tokens: the sentence as the model reads it.
    """

    group: str
    language: str
    told: bool
    text: str
    tokens: str


@dataclass(frozen=True)
class Row:
    """One quantity. If the value is NaN, the note gives the reason."""

    label: str
    value: float | int | str
    unit: str = ""
    note: str = ""

    @property
    def shown(self) -> str:
        """The value as text: counts with thousands separators, other numbers with three decimals."""
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, int):
            return f"{self.value:,}"
        return "-" if np.isnan(self.value) else f"{self.value:.3f}"


@dataclass(frozen=True)
class Description:
    """Sample sentences, and tables of rows by title."""

    sentences: list[Sentence]
    tables: dict[str, list[Row]]


def describe(config: RunConfig, corpus: Corpus) -> Description:
    """The description of the corpus, and of a training with these settings, before it starts."""
    items = transfer_items(corpus)
    tables = {
        "Counts": _counts(corpus),
        "Transfer items": _transfer(corpus, items),
        "Informativeness: I(value; language | relation)": _informativeness(corpus, config.seeds.mixture),
        "No-knowledge losses": _losses(corpus),
        "No-fact accuracies on the transfer items": _no_fact(corpus, items),
        "Extractability of the language from the prompt": _extractability(corpus, config.seeds.languages),
        "Visits in this training": _visits(corpus, config),
        "Predicted before training": _predicted(corpus, config),
    }
    return Description(_sentences(corpus), tables)


def _sentences(corpus: Corpus) -> list[Sentence]:
    group, told, count = corpus.mixture.group, corpus.mixture.told, corpus.world.n_languages
    first = [np.flatnonzero(group == "parallel")[:1]]
    first += [np.flatnonzero((group == "mono") & told[:, language])[:1] for language in range(count)]
    first.append(np.flatnonzero(group == "unseen")[:1])
    shown = token_texts(corpus.tokenizer)
    return [
        Sentence(
            group=str(group[fact]),
            language=corpus.lexicon.language_names[language],
            told=bool(told[fact, language]),
            text=(text := corpus.text(fact, language)) + (" ?" if group[fact] == "unseen" else ""),
            tokens=" ".join(shown[token] for token in corpus.tokenizer.encode(text).ids),
        )
        for fact in np.concatenate(first).tolist()
        for language in range(count)
    ]


def _counts(corpus: Corpus) -> list[Row]:
    world, mixture, names = corpus.world, corpus.mixture, corpus.lexicon.language_names
    seen, whole = int(world.seen.sum()), world.seen & world.complete
    fact, language = corpus.tellings
    lengths = corpus.sequences(fact, language)
    per_language = np.bincount(language, minlength=len(names))
    mono = mixture.told[mixture.mono].sum(axis=0)
    shares = " ".join(f"{name} {n / max(mono.sum(), 1):.3f}" for name, n in zip(names, mono, strict=True))
    weight = mixture.weight.sum(axis=0)
    frequent, rare = mixture.weight[mixture.weight > 0].max(), mixture.weight[mixture.weight > 0].min()
    tokens = [token for token in corpus.tokenizer.get_vocab() if not token.startswith("<")]
    rows = [
        Row("entities", len(np.unique(world.entity[world.seen])), "", "that occur in training"),
        Row(
            "unseen entities",
            world.n_entities - len(np.unique(world.entity[world.seen])),
            "",
            "in no training sentence",
        ),
        Row("relations", world.n_relations),
        Row("facts", seen),
        Row("parallel facts", int(mixture.parallel.sum()), "", f"{mixture.parallel.sum() / seen:.3f} of the facts"),
        Row("mono facts", int(mixture.mono.sum()), "", "told in one language; shares " + shares),
        Row(
            "facts whose value differs between languages",
            int((world.value[whole] != world.value[whole][:, :1]).any(axis=1).sum()),
        ),
        Row(
            "tellings",
            len(fact),
            "",
            " ".join(f"{name} {n:,}" for name, n in zip(names, per_language, strict=True))
            + "; shares of training's draws "
            + " ".join(f"{name} {w:.3f}" for name, w in zip(names, weight, strict=True)),
        ),
        Row("frequency of the most over the least frequent telling", float(frequent / rare), "times"),
        Row("distinct words", len(corpus.lexicon.words)),
        Row(
            "vocabulary",
            corpus.tokenizer.get_vocab_size(),
            "tokens",
            f"3 special, {sum(token.startswith(CONTINUES) for token in tokens):,} that continue a word ({CONTINUES})",
        ),
        Row("tokens of all tellings", int(lengths.length.sum())),
        Row("tokens of a prompt", _span(lengths.prompt_length), "", "BOS included"),
        Row(
            "tokens of an answer",
            _span(lengths.answer_length),
            "",
            "EOS included, since some values' tokens are the beginning of another's"
            if corpus.answers_end_with_eos
            else "",
        ),
    ]
    rows += _of_source(corpus)
    if all(word.isascii() for word in corpus.lexicon.words):
        rows.append(Row("alphabet", "ASCII", "", "characters and bytes are the same tokens"))
    return rows


def _of_source(corpus: Corpus) -> list[Row]:
    """What real facts have and generated ones set: shared words, missing words, and what the source left out."""
    if corpus.origin is None:
        return []
    world, lexicon = corpus.world, corpus.lexicon
    whole = world.seen & world.complete
    relation, value = world.relation[whole], world.value[whole]
    names = lexicon.names[np.unique(world.entity[whole])]
    answers = np.unique(np.column_stack([relation, value[:, 0]]), axis=0)
    words = lexicon.value_words[answers[:, 0], answers[:, 1]]
    rows = [
        Row(f"{what} shared by two languages", *_shared_by_pair(table, lexicon.language_names))
        for what, table in (("names", names), ("values' words", words))
        if len(table)
    ]
    told = (world.value >= 0)[world.seen].sum(axis=0)
    languages = " ".join(f"{name} {n:,}" for name, n in zip(lexicon.language_names, told, strict=True))
    rows.append(Row("facts with words in every language", int(whole.sum()), "", f"with words in {languages}"))
    return rows + [Row("of the source", n, "", what) for what, n in corpus.origin.table.counts.items()]


def _shared_by_pair(table: Int[np.ndarray, "concept language"], names: list[str]) -> tuple[float, str, str]:
    """The share of concepts that have one word in two languages: the mean over pairs, and each pair."""
    pairs = list(itertools.combinations(range(len(names)), 2))
    shares = [float((table[:, a] == table[:, b]).mean()) for a, b in pairs]
    listed = " ".join(f"{names[a]}={names[b]} {share:.3f}" for (a, b), share in zip(pairs, shares, strict=True))
    return float(np.mean(shares)), "", f"measured, mean of pairs; {listed}"


def _span(lengths: np.ndarray) -> str:
    return f"{lengths.min()}" if lengths.min() == lengths.max() else f"{lengths.min()} to {lengths.max()}"


def _transfer(corpus: Corpus, items: TransferItems) -> list[Row]:
    names = corpus.lexicon.language_names
    pairs = np.unique(np.stack([items.told, items.asked]), axis=1, return_counts=True)
    many_pairs = len(names) * (len(names) - 1) > 12
    listed = (
        ""
        if many_pairs
        else " ".join(
            f"{names[told]}→{names[asked]} {n:,}" for (told, asked), n in zip(pairs[0].T, pairs[1], strict=True)
        )
    )
    entities = len(np.unique(corpus.world.entity[items.fact]))
    rows = [
        Row("items", len(items.fact), "", items.why_none or (f"(told→asked) {listed}" if listed else "")),
        Row("their entities", entities),
        Row("items of the rarest pair of languages", int(pairs[1].min()) if len(pairs[1]) else 0, "items"),
    ]
    rows += [Row("left out", n, "", "because " + reason) for reason, n in items.left_out.items()]
    if corpus.has_tags:
        hidden = transfer_items(corpus, tag=False)
        reasons = "; ".join(f"{n:,} left out because {reason}" for reason, n in hidden.left_out.items())
        rows.append(Row("items with the tag hidden", len(hidden.fact), "", reasons))
    if (corpus.lexicon.names != corpus.lexicon.names[:, :1]).any():
        note = "mean over items of 1/m; m: number of entities with the same parallel facts; 1 if the name is shared"
        rows.append(Row("accuracy that matching entities could reach", matching_ceiling(corpus, items), "", note))
    return rows


def _informativeness(corpus: Corpus, seed: int) -> list[Row]:
    rows = []
    for label, mono_only in (("mono facts", True), ("all tellings", False)):
        info = informativeness(corpus, seed, mono_only)
        note = f"{info.shuffled:.4f} if languages are shuffled (mean of {info.shuffles}); {info.tellings:,} tellings"
        rows.append(Row(label, info.bits, "bits", note if info.tellings else "no such tellings"))
    return rows


def _losses(corpus: Corpus) -> list[Row]:
    losses = no_knowledge_losses(told_distribution(corpus))
    return [
        Row("H(A)", losses.answer, "nats an answer", "of a model that knows nothing"),
        Row("H(A | R)", losses.given_relation, "nats an answer", "of one that reads the relation"),
        Row(
            "H(A | R, S)",
            losses.given_readers,
            "nats an answer",
            "of one that also reads which languages the prompt can be",
        ),
        Row("H(V | R)", losses.concept, "nats an answer", "of the value, whatever its word"),
    ]


def _no_fact(corpus: Corpus, items: TransferItems) -> list[Row]:
    accuracies = no_fact_accuracies(corpus, items)
    note = items.why_none
    return [
        Row("argmax P(v | R)", accuracies.by_relation, "", note),
        Row("argmax P(v | R, asked language)", accuracies.by_asked, "", note),
        Row("argmax P(v | R, told language)", accuracies.by_told, "", note),
    ]


def _extractability(corpus: Corpus, seed: int) -> list[Row]:
    measured = extractability(corpus, seed)
    sample = f"{measured.coded_entities:,} of {measured.entities:,} entities in seeded order"
    return [
        Row("H(language)", measured.language_bits, "bits"),
        Row("each position gives", _listed(measured.position_bits), "bits", "each token after BOS by itself"),
        Row("the first k tokens give", _listed(measured.prefix_bits), "bits", "k = 1, 2, ..."),
        Row(
            "distinct tokens of one language only",
            measured.one_language_types,
            "",
            "as a share of the prompts' distinct tokens",
        ),
        Row("tokens of one language only", measured.one_language_tokens, "", "as a share of the prompts' tokens"),
        Row(
            "code length of a bag of tokens",
            measured.code_length,
            "bits a prompt",
            f"of an online multinomial naive Bayes classifier; {sample}",
        ),
    ]


def _listed(bits: list[float]) -> str:
    return " ".join(f"{max(b, 0):.3f}" for b in bits)


def _visits(corpus: Corpus, config: RunConfig) -> list[Row]:
    mono, parallel = (
        mean_visits(corpus, draws) for draws in draws_by_group(corpus, config.training, config.training.steps)
    )
    note = f"mean expected draws in {config.training.steps:,} steps of {config.training.batch_size:,}"
    return [
        Row("of a mono fact", mono.mono, "visits", "no fact is mono" if np.isnan(mono.mono) else note),
        Row(
            "of a parallel fact",
            parallel.parallel,
            "visits",
            "no fact is parallel"
            if np.isnan(parallel.parallel)
            else f"all its tellings together; {parallel.parallel_telling:.1f} each",
        ),
    ]


def _predicted(corpus: Corpus, config: RunConfig) -> list[Row]:
    found = predict(config, corpus)
    if found is None:
        return [Row("transfer at the end", "no law holds here", "", why_no_prediction(config))]
    note = f"95 % of runs: {found.low:.3f} to {found.high:.3f}; from {found.law.says} (study {found.law.study})"
    return [Row("transfer at the end", found.value, "", note)]
