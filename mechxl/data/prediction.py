"""Predicts transfer before training, from the settings and their facts, where a study has found a law.

Each law was fitted to some settings of a study and tested on others (`analyses/claims/`). It holds for the settings
of that study, with those varied that the study varied, and within the range that it covered. Elsewhere nothing is
predicted.

    transfer = g + (1 - g) / (1 + exp(-x))

g is the accuracy of the best guess that knows the relation and the asked language but no fact; x is the law's.
The interval holds 95 % of single runs at settings that the law was not fitted to (split conformal prediction, Lei et
al. 2018): transfer +- width sqrt(t (1 - t)), with t the prediction. It assumes that the new settings are like those.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mechxl.config import RunConfig, differences, parse_config
from mechxl.data.corpus import Corpus
from mechxl.data.guesses import no_fact_accuracies
from mechxl.data.information import informativeness
from mechxl.data.transfer import transfer_items

NO_MATTER = (  # settings that change what is saved or where, not what is learned
    "training.checkpoints",
    "training.evaluate_every",
    "training.evaluate_items",
    "training.device",
    "training.threads",
)


@dataclass(frozen=True)
class Law:
    """A law of transfer.

    Attributes:
        study: that found it, in analyses/.
        says: in words, what it follows from.
        settings: the study's, where they are not defaults.
        ranges: the settings that vary, from lowest to highest.
        parameters: fitted.
        width: of the interval.
        x: from parameters, settings and the corpus.
    """

    study: str
    says: str
    settings: Mapping[str, Mapping[str, Any]]
    ranges: Mapping[str, tuple[float, float]]
    parameters: tuple[float, ...]
    width: float
    x: Callable[[tuple[float, ...], RunConfig, Corpus], float] = field(repr=False)

    def outside(self, config: RunConfig) -> str:
        """The first setting by which a run is outside of the law's domain, in words; empty if it is inside."""
        for name, (own, here) in differences(parse_config(self.settings), config).items():
            if name in NO_MATTER or name.endswith("seed"):
                continue
            if name not in self.ranges:
                return f"{name} = {_shown(here)}, and the study had {_shown(own)}"
            low, high = self.ranges[name]
            if not low <= here <= high:
                return f"{name} = {_shown(here)}, and the study went from {low:g} to {high:g}"
        return ""


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _hidden_tags(parameters: tuple[float, ...], config: RunConfig, corpus: Corpus) -> float:
    """a + b ln(q + q0) - c I^p: q the share of hidden tags, I = I(V; L | R) of the mono facts in bits."""
    a, b, q0, c, power = parameters
    bits = max(informativeness(corpus, 0, mono_only=True).bits, 0.0)
    return a + b * math.log(config.languages.cue_dropout + q0) - c * bits**power


LAWS = (
    Law(
        study="dose_map",
        says="the share of hidden tags, and the bits of a fact's language that its value gives away",
        settings={
            "languages": {"cue": "tag", "shared_words": 1.0},
            "mixture": {"parallel_fraction": 0.0},
            "world": {"n_entities": 200},
            "model": {"d_model": 32, "d_mlp": 128},
            "training": {"batch_size": 256, "steps": 1000},
        },
        ranges={"mixture.informativeness": (0.0, 1.0), "languages.cue_dropout": (0.0, 0.5)},
        parameters=(5.0567, 13.946, 0.80013, 5.9073, 0.51365),
        width=0.3066,
        x=_hidden_tags,
    ),
)


@dataclass(frozen=True)
class Prediction:
    """Transfer (accuracy over all transfer items) that a law predicts of one run, with a 95 % interval."""

    value: float
    low: float
    high: float
    law: Law


def predict(config: RunConfig, corpus: Corpus) -> Prediction | None:
    """Transfer at the end of a training with these settings; None where no law holds."""
    law = next((law for law in LAWS if not law.outside(config)), None)
    items = transfer_items(corpus)
    if law is None or not len(items.fact):
        return None
    guess = no_fact_accuracies(corpus, items).by_asked
    value = guess + (1 - guess) / (1 + math.exp(-law.x(law.parameters, config, corpus)))
    reach = law.width * math.sqrt(value * (1 - value))
    return Prediction(value, max(value - reach, 0.0), min(value + reach, 1.0), law)


def why_no_prediction(config: RunConfig) -> str:
    """By which setting each law does not hold here."""
    return "; ".join(f"{law.study}: {law.outside(config)}" for law in LAWS)
