"""The gallery: the paper's claims with our verdicts, and a card a study. All numbers come from the kept results."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyses import study as studying
from analyses.quotes import numbers_of
from analyses.study import with_results

Numbers = Mapping[str, str]  # of one study, by name without the study's
HOLDS, IN_PART, NOT, OPEN = "holds", "holds in part", "does not hold", "not decided"


def value(text: str) -> float:
    """A number of prose."""
    return float(text.replace("−", "-").replace(",", ""))


def clear(*ps: str) -> bool:
    """Whether all p values are at most .05."""
    return all(value(p) <= 0.05 for p in ps)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and what a study of ours says of it.

    Attributes:
        claim: the claim in a sentence.
        study: the study whose numbers stand here.
        verdict: from the study's numbers.
        effect: a text with {names} of numbers.
        seeds: the name of a number, or a text.
        p: the name of the p that decides.
        null: what the effect is compared with.
    """

    claim: str
    study: str
    verdict: Callable[[Numbers], str]
    effect: str
    seeds: str
    p: str
    null: str


@dataclass(frozen=True)
class Card:
    """A study at a glance: a sentence with {names} of numbers, and means with intervals, from `low` to `high`."""

    study: str
    verdict: Callable[[Numbers], str]
    headline: str
    axis: str
    bars: Mapping[str, str]
    low: float = 0.0
    high: float = 1.0


CLAIMS = (
    Claim(
        "There is a phase of learning in which representations become separate or unified.",
        "excess",
        lambda n: IN_PART if clear(n["c.alignment.1.p"]) and not clear(n["e.score.1.p"]) else OPEN,
        "A fact's vectors come together before recall: half-rise of the excess of S − X at {c.alignment.1} of recall's "
        "step. “Separate first” is not about facts: where S − W is lowest, its excess is {e.score.1}.",
        "seeds",
        "c.alignment.1.p",
        "trained null without shared facts",
    ),
    Claim(
        "Unification is essential for transfer.",
        "pulled_together",
        # a cause in both directions, and nothing left where the vectors are pushed apart
        lambda n: (
            (HOLDS if value(n["left.low"]) <= 0 else IN_PART)
            if n["cause"] == "both"
            else NOT
            if n["cause"] == "none"
            else IN_PART
        ),
        "Transfer is {transfer.none}, {transfer.pull_.3} where training pulls the languages' vectors of a fact "
        "together, and {transfer.push_.3} where it pushes them apart: {left} above the best guess.",
        "seeds",
        "a.push.p",
        "pulls of the wrong pairs: {transfer.pull_.1_permuted}; trained null pulled: {transfer.null_pull_.3}",
    ),
    Claim(
        "Transfer depends on the information between facts and language.",
        "dose_map",
        lambda n: HOLDS if clear(n["b.q0.p"]) and value(n["b.q0"]) > 0 else NOT,
        "Tags shown: transfer is {transfer.k0_q0} where the language says nothing about the value, and "
        "{transfer.k1_q0} where it says all that it can.",
        "seeds",
        "b.q0.p",
        "sign test over seeds; no trained null fits where words are shared",
    ),
    Claim(
        "Transfer depends on how easily the language is extracted.",
        "dose_map",
        lambda n: HOLDS if clear(n["a.k1.p"]) and value(n["a.k1"]) > 0 else NOT,
        "Fully informative language: transfer is {transfer.k1_q0} with all tags shown, and {transfer.k1_q0.5} with "
        "half of them hidden.",
        "seeds",
        "a.k1.p",
        "sign test over seeds; no trained null fits where words are shared",
    ),
    Claim(
        "The distribution of the data changes transfer.",
        "parallel_data",
        lambda n: HOLDS if n["a.verdict"] == n["c.rise.verdict"] == "holds" else IN_PART if clear(n["a.p"]) else NOT,
        "Transfer is {transfer.p0.1} with a tenth of the facts told in both languages, {transfer.p0.5} with half and "
        "{transfer.p0.9} with nine tenths. All facts equally often: {transfer.fact_p0.2} with a fifth, "
        "{transfer.fact_p0.9} with nine tenths.",
        "seeds",
        "a.p",
        "trained null transfers {transfer.null_p0.9}",
    ),
    Claim(
        "The tokenization changes transfer.",
        "tokenization_timing",
        lambda n: HOLDS if clear(n["c.p.holm"], n["c.added.p.holm"]) else NOT,
        "Transfer is {transfer.word} with a token a word, {transfer.syllable} with syllables and {transfer.character} "
        "with characters: it falls with the tokens of a word in every seed.",
        "seeds",
        "c.p.holm",
        "sign test over seeds",
    ),
    Claim(
        "Metrics of the representations show unification.",
        "unification_controls",
        lambda n: IN_PART if value(n["all_clear.1.shared_facts_0"]) > 0 else HOLDS,
        "All {measures} measures are clear where facts are shared, but {all_clear.1.shared_facts_0} of them are clear "
        "in the trained null too: only what is above the null counts.",
        "seeds",
        "",
        "trained null without shared facts; nothing in common",
    ),
)

CARDS = (
    Card(
        "excess",
        lambda n: "“Unification precedes recall” holds; “separate first” does not",
        "Less the trained null, a fact's vectors come together before it is recalled: at {c.alignment.1} of recall's "
        "half-rise.",
        "half-rise, steps",
        {
            "excess of S − X": "excess_alignment_1_half.default",
            "recall": "recall_half.default",
            "transfer": "transfer_half.default",
        },
        high=1000,
    ),
    Card(
        "dose_map",
        lambda n: "Claims 3 and 4 hold" if clear(n["b.q0.p"], n["a.k1.p"]) else "Claims 3 and 4 hold in part",
        "What the language says of the facts keeps them apart; hiding its tag brings them together. A map of "
        "{planned} runs, and a law with three rivals.",
        "transfer",
        {
            "says nothing, shown": "transfer.k0_q0",
            "says nothing, hidden": "transfer.k0_q0.5",
            "says all, shown": "transfer.k1_q0",
            "says all, hidden": "transfer.k1_q0.5",
        },
    ),
    Card(
        "pulled_together",
        lambda n: {
            "both": "A cause of transfer",
            "pull": "A cause of transfer: pulling helps",
            "push": "A cause of transfer: pushing harms",
            "none": "Not shown to be a cause",
        }[n["cause"]],
        "A loss that shows no answer pulls a fact's vectors in the languages together, or pushes them apart; transfer "
        "is {transfer.pull_.3}, {transfer.none}, {transfer.push_.3}.",
        "transfer",
        {
            "pulled together": "transfer.pull_.3",
            "neither": "transfer.none",
            "pushed apart": "transfer.push_.3",
            "wrong pairs pulled": "transfer.pull_.1_permuted",
            "null, pulled": "transfer.null_pull_.3",
        },
    ),
    Card(
        "parallel_data",
        lambda n: "Claim 5 holds" if n["a.verdict"] == n["c.rise.verdict"] == "holds" else "Claim 5 holds in part",
        "Transfer rises with the share of facts that are told in both languages, also where all facts are told "
        "equally often.",
        "transfer, by share of parallel facts",
        {
            ".1": "transfer.p0.1",
            ".5": "transfer.p0.5",
            ".9": "transfer.p0.9",
            ".9, equally often": "transfer.fact_p0.9",
            ".9, no shared facts": "transfer.null_p0.9",
        },
    ),
    Card(
        "initialisation",
        lambda n: "Large initial weights: recall without transfer" if n["a.verdict"] == "holds" else OPEN,
        "The larger the initial weights, the less is transferred, at full recall: {transfer.std0.02} at init_std .02, "
        "{transfer.std0.16} at .16.",
        "transfer, by init_std",
        {
            ".02": "transfer.std0.02",
            ".04": "transfer.std0.04",
            ".08": "transfer.std0.08",
            ".16": "transfer.std0.16",
        },
    ),
    Card(
        "language",
        lambda n: "Claims 3 and 4 hold" if n["a"] == n["b"] == "holds" else "Claims 3 and 4 hold in part",
        "With more bits of the language in the value, less is transferred: {transfer.informative_0}, "
        "{transfer.informative_half}, {transfer.informative_1}.",
        "transfer",
        {
            "0 bits": "transfer.informative_0",
            "half informative": "transfer.informative_half",
            "1 bit": "transfer.informative_1",
            "1 bit, half hidden": "transfer.informative_1_dropout",
        },
    ),
    Card(
        "erasure",
        lambda n: "Erasing the language helps transfer a little" if value(n["rise_before.default"]) == 6 else OPEN,
        "Once the language is erased within each relation, transfer goes from {before.default} to {within.default}; "
        "erasing as much at random lowers it to {random_variance.default}.",
        "transfer",
        {
            "before": "before.default",
            "language erased": "within.default",
            "as much at random": "random_variance.default",
        },
    ),
    Card(
        "patching",
        lambda n: "Used across languages" if n["a"] == n["b"] == "holds" else "Used across languages in part",
        "What looks unified is used: a fact patched in from the other language answers as one from its own does.",
        "causal unification, parallel facts",
        {
            "default": "parallel_unification.default",
            "parallel .2": "parallel_unification.parallel_fraction_0.2",
            "no shared facts": "parallel_unification.shared_facts_0",
        },
    ),
    Card(
        "after_recall",
        lambda n: "Transfer goes on rising" if n["verdict.transfer.cosine_.99"] == HOLDS else "No gain after recall",
        "Long after every fact is recalled, transfer goes on rising: from {transfer_then.cosine_.99} to "
        "{transfer_end.cosine_.99}.",
        "transfer",
        {
            "recall complete": "transfer_then.cosine_.99",
            "step 3,000": "transfer_3000.cosine_.99",
            "step 12,000": "transfer_end.cosine_.99",
        },
    ),
    Card(
        "late_unification",
        lambda n: (
            "The late rise: not called grokking"
            if not clear(n["b.decay.p"]) or n["d.norm.opposite"] == "holds"
            else "The late rise needs weight decay"
        ),
        "What is frozen or no longer decayed after step 800 changes nothing that twelve seeds show; weight decay from "
        "the start and the parallel facts do.",
        "transfer at the end",
        {
            "default": "transfer.default",
            "no late decay": "transfer.late_decay_0",
            "MLP frozen late": "transfer.late_mlp",
            "mono facts alone": "transfer.late_mono",
            "weight decay .3": "transfer.decay_.3",
        },
    ),
    Card(
        "rest",
        lambda n: "Cosine rests, a constant rate does not",
        "With a cosine schedule transfer moves by {moves.cosine_beta_.99} over the last tenth of training, with a "
        "constant rate by {moves.constant}.",
        "transfer at the end",
        {
            "cosine": "transfer.cosine_beta_.99",
            "constant": "transfer.constant",
            "wsd": "transfer.wsd_beta_.99",
        },
    ),
    Card(
        "tokenization_timing",
        lambda n: "Claim 6 holds" if clear(n["c.p.holm"], n["c.added.p.holm"]) else "Claim 6 does not hold",
        "The more tokens a word has, the later it is recalled, and the less is transferred.",
        "transfer",
        {
            "word": "transfer.word",
            "BPE, 800": "transfer.bpe_800",
            "syllable": "transfer.syllable",
            "character": "transfer.character",
            "byte": "transfer.byte",
        },
    ),
    Card(
        "replication",
        lambda n: "All bounds that were fixed hold",
        "Eight settings with bounds that could fail.",
        "transfer",
        {
            "default": "transfer.default",
            "parallel .2": "transfer.parallel_fraction_0.2",
            "no shared names": "transfer.shared_names_0",
            "no shared facts": "transfer.shared_facts_0",
        },
    ),
    Card(
        "unification_controls",
        lambda n: "A measure alone proves nothing",
        "{all_clear.1.shared_facts_0} of {measures} measures claim a shared fact where there is none.",
        "score S − W, layer 1, at the end",
        {"default": "score.1.default", "no shared names": "score.1.shared_names_0"},
        low=-0.5,
    ),
)

BEYOND = (
    (
        "after_recall",
        "Transfer goes on rising after recall is complete, by {gain.transfer.cosine} with a cosine schedule.",
    ),
    (
        "late_unification",
        "In a small world that rise is not called grokking: late weight decay makes no difference ({b.decay}, p "
        "{b.decay.p}), and the norm of the weights rises, from {norm_late.default} to {norm.default}.",
    ),
    (
        "excess",
        "{share.1} of the rise of S − W at layer 1 happens without any shared fact: it is the decay of the "
        "offset between the languages.",
    ),
    (
        "initialisation",
        "Initial weights decide: transfer is {transfer.std0.02} at init_std .02 and {transfer.std0.16} at .16, where "
        "all is recalled; weights move by {moved.std0.02} and {moved.std0.16} times their first size.",
    ),
    (
        "dose_map",
        "How transfer follows from settings: a law errs by {error.means.law} in cells that it was not fitted to, its "
        "rivals {error.means.additive}, {error.means.product} and {error.means.two_ways}; noise floor {floor}.",
    ),
)


def filled(text: str, numbers: Numbers) -> str:
    """A text with the study's numbers in place of their {names}."""
    return re.sub(r"\{([^}]+)\}", lambda found: numbers[found.group(1)], text)


def ends(numbers: Numbers, name: str) -> tuple[float, float, float]:
    """Mean, low and high of a number with an interval, a text like `.75 [.66, .85]`; KeyError if it is undefined."""
    text = numbers.get(f"{name}.interval", numbers[name])
    found = [value(part) for part in re.findall(r"[−-]?[\d,]*\.?\d+", text)]
    if not found:
        raise KeyError(f"{name} is {text}")
    return (found[0], found[1], found[2]) if len(found) == 3 else (found[0], found[0], found[0])


def card_shown(card: Card, numbers: Numbers) -> dict[str, Any]:
    """What the template draws of a card."""

    def at(x: float) -> float:
        return round(150 + 150 * min(max((x - card.low) / (card.high - card.low), 0.0), 1.0), 1)

    bars = []
    for label, name in card.bars.items():
        mean, low, high = ends(numbers, name)
        bars.append({"label": label, "at": at(mean), "low": at(low), "high": at(high), "value": numbers[name]})
    return {
        "study": card.study,
        "verdict": card.verdict(numbers),
        "headline": filled(card.headline, numbers),
        "axis": card.axis,
        "bars": bars,
        "spoken": ", ".join(f"{bar['label']} {bar['value']}" for bar in bars),
        "low": f"{card.low:g}",
        "high": f"{card.high:,g}",
        "runs": numbers["runs"],
    }


def claim_shown(claim: Claim, numbers: Numbers) -> dict[str, str]:
    """A row of the table of claims."""
    return {
        "claim": claim.claim,
        "study": claim.study,
        "verdict": claim.verdict(numbers),
        "effect": filled(claim.effect, numbers),
        "seeds": filled(claim.seeds, numbers) if "{" in claim.seeds else numbers[claim.seeds],
        "p": numbers[claim.p] if claim.p else "-",
        "null": filled(claim.null, numbers),
    }


def content() -> dict[str, Sequence[Any]]:
    """Claims, cards and what lies beyond the paper, of the studies that have results."""
    known = set(with_results())
    by_study = {name: {key.removeprefix(f"{name}."): text for key, text in numbers_of(name).items()} for name in known}
    return {
        "claims": [*_known(claim_shown, ((claim, by_study.get(claim.study)) for claim in CLAIMS))],
        "cards": [*_known(card_shown, ((card, by_study.get(card.study)) for card in CARDS))],
        "beyond": [*_known(filled, ((text, by_study.get(study)) for study, text in BEYOND))],
    }


def _known(show: Callable[[Any, Numbers], Any], parts: Iterable[tuple[Any, Numbers | None]]) -> Iterator[Any]:
    """What can be shown: a study without results, or with too few runs for a number, is left out."""
    for part, numbers in parts:
        if numbers is not None:
            with suppress(KeyError, ValueError):
                yield show(part, numbers)


def write_gallery() -> Path:
    """Writes reports/studies/index.html."""
    from mechxl.report.study import write_index

    return write_index(studying.PAGES / "index.html", content())


def outdated() -> list[str]:
    """A line if the gallery is not what the results say."""
    from mechxl.report.study import index_page

    path = studying.PAGES / "index.html"
    if path.is_file() and path.read_text(encoding="utf-8") == index_page(content()):
        return []
    return ["reports/studies/index.html: is not what the results say"]
