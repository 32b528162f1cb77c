"""What recall and transfer become when the language is erased, and whether it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from mechxl.data.transfer import transfer_items
from mechxl.instruments.erasure.intervention import Edits, FitPrompts, edited_answers, edited_streams, fit_prompts
from mechxl.instruments.erasure.leace import ERASURES, Erased, Erasure, Way, erasers
from mechxl.measures.statistics import EntityBootstrap
from mechxl.model.answers import AnswerTrie, Questions, answer_trie, kinds_of
from mechxl.questions.language_identity.verified import answered_in, languages_of_words, probed
from mechxl.random import generator
from mechxl.run import Run

if TYPE_CHECKING:
    from mechxl.model.hooked import HookedTransformer

DRAWS = 1000
Words = Int[np.ndarray, " question"]


@dataclass(frozen=True)
class Asked:
    """Facts of the entities asked, each in every language.

    Attributes:
        questions: all of them.
        prompts: the same prompts, to read streams of.
        groups: which of the questions are of recall, and which of transfer.
        why_none: why there is no question of transfer.
        over: resamples their entities.
        trie: of answers.
    """

    questions: Questions
    prompts: FitPrompts
    groups: Mapping[str, Int[np.ndarray, " question"]]
    why_none: str
    over: EntityBootstrap
    trie: AnswerTrie

    @classmethod
    def of(cls, run: Run, facts: Int[np.ndarray, " fact"]) -> "Asked":
        """The questions about some facts of a run."""
        corpus, n = run.corpus, run.corpus.world.n_languages
        prompts, items = fit_prompts(corpus, facts, generator(0, "values split")), transfer_items(corpus)
        key, (told, told_in) = prompts.fact * n + prompts.language, corpus.tellings
        groups = {
            "recall": np.flatnonzero(np.isin(key, told * n + told_in)),
            "transfer": np.flatnonzero(np.isin(key, items.fact * n + items.asked)),
        }
        questions = Questions.of(corpus, prompts.fact, prompts.language)
        over = EntityBootstrap(corpus.world.entity[facts], DRAWS, generator(0, "entities drawn"))
        why_none = items.why_none or "none of the entities asked has an item"
        return cls(questions, prompts, groups, why_none, over, answer_trie(corpus))

    @property
    def entity(self) -> Int[np.ndarray, " question"]:
        """The entity of each question."""
        return self.questions.corpus.world.entity[self.questions.fact]

    def answers(self, model: "HookedTransformer", edits: Edits) -> Words:
        """The value word that each question is answered with under some edits."""
        return edited_answers(model, self.questions, self.prompts.slots.index, edits, self.trie)

    def checks(
        self, model: "HookedTransformer", edits: Edits, word: Words, slots: Mapping[int, Sequence[int]]
    ) -> pd.DataFrame:
        """Whether the language is told under some edits: by probes at some slots of some layers, and by the answers."""
        prompts, corpus = self.prompts, self.questions.corpus
        streams = edited_streams(model, prompts.tokens, prompts.slots.index, edits, list(slots))
        in_asked = answered_in(word, prompts.language, self.entity, languages_of_words(corpus), self.over)
        return pd.concat([probed(prompts, self.entity, streams, slots), in_asked], ignore_index=True)

    def effects(self, word: Words, before: Bool[np.ndarray, " question"]) -> pd.DataFrame:
        """A row for recall and one for transfer: shares of right answers, and the change since before."""
        kind, rows = kinds_of(self.questions, word), []
        for name, chosen in self.groups.items():
            if not len(chosen):
                rows.append({"asked": name, "n": 0, "reason": self.why_none})
                continue
            entity, right = self.entity[chosen], kind[chosen] <= 1
            row = {"asked": name, "n": len(chosen), "entities": len(np.unique(entity)), "reason": ""}
            change = right.astype(float) - before[chosen]
            for label, hits in (("value", right), ("exact", kind[chosen] == 0), ("change", change)):
                row |= dict(zip((label, f"{label}_low", f"{label}_high"), self.over.mean(hits, entity), strict=True))
            rows.append(row)
        return pd.DataFrame(rows)


def erasure_effects(
    run: Run,
    fit: Int[np.ndarray, " fact"],
    asked: Int[np.ndarray, " fact"],
    steps: Sequence[int],
    layers: Sequence[int] | None = None,
    way: Way = "within",
    what: Sequence[Erasure] = ERASURES,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Recall and transfer by value accuracy (right value in any language) with something erased from a layer on.

    Args:
        run: whose models.
        fit: facts that erasers are fitted on, in every language.
        asked: facts of other entities, asked and probed.
        steps: checkpoints.
        layers: first layers to erase at; None: all.
        way: of erasing: within each relation, or pooled over all.
        what: is erased: the language, and controls.

    Returns:
        Two tables. Rows (step, from_layer, way, erased, asked: recall or transfer): value accuracy and exact accuracy
        with intervals over entities; the change of value accuracy against nothing erased, the same items, with its
        interval; the largest rank erased at a slot. And rows (step, from_layer, way, erased: nothing or language,
        told_by: probe or answers, layer, slot): whether the language is still told (`verified`). Nothing erased is
        checked from the first of the layers on.
    """
    n_layers = run.config.model.n_layers
    layers = range(n_layers + 1) if layers is None else layers
    questions, on = Asked.of(run, asked), fit_prompts(run.corpus, fit, generator(0, "values split"))
    last = questions.prompts.slots.last
    effects, checks = [], []
    for step in steps:
        model = run.model(step)
        plain = questions.answers(model, {})
        before = kinds_of(questions.questions, plain) <= 1
        read = questions.checks(model, {}, plain, {layer: [last] for layer in range(min(layers), n_layers + 1)})
        checks.append(_placed(read, step, min(layers), way, "nothing").assign(everything=False))
        for from_layer in layers:
            unchanged = questions.effects(plain, before).assign(rank=0)
            effects.append(_placed(unchanged, step, from_layer, way, "nothing"))
            for name in what:
                erased = erasers(model, on, from_layer, name, generator(0, f"erased {from_layer}"), way)
                word = questions.answers(model, erased.edits)
                changed = questions.effects(word, before).assign(rank=erased.most)
                effects.append(_placed(changed, step, from_layer, way, name))
                if name == "language":
                    slots = _slots_checked(erased, last, every=step == steps[-1])
                    read = questions.checks(model, erased.edits, word, slots).assign(everything=erased.everything)
                    checks.append(_placed(read, step, from_layer, way, name))
    return pd.concat(effects, ignore_index=True), pd.concat(checks, ignore_index=True)


def _placed(table: pd.DataFrame, step: int, from_layer: int, way: Way, erased: str) -> pd.DataFrame:
    place: dict[str, Any] = {"step": step, "from_layer": from_layer, "way": way, "erased": erased}
    return pd.DataFrame([place] * len(table)).join(table)


def _slots_checked(erased: Erased, last: int, *, every: bool) -> dict[int, list[int]]:
    """The slots to probe, by layer: the prompts' last token, and at the first and last layer every slot erased at."""
    ends = {min(erased.rank), max(erased.rank)} if every else set()
    return {
        layer: [last, *(slot for slot in by_slot if slot != last and layer in ends)]
        for layer, by_slot in erased.rank.items()
    }
