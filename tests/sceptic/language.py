"""The language in the stream: a linear probe, and LEACE of the language within relations, in plain numpy."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from tests.sceptic.answering import Item
from tests.sceptic.reading import Hooks, Reading, padded

PENALTIES = (1e-2, 1e-1, 1.0, 10.0, 100.0)


def fit(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Weights [d + 1, class] of a multinomial logistic regression, the last row the intercepts, which are free."""
    ones, wanted = np.c_[x, np.ones(len(x))], np.eye(y.max() + 1)[y]
    shape = (ones.shape[1], wanted.shape[1])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        log_p = log_softmax(ones @ weights)
        shrunk = np.r_[weights[:-1], np.zeros((1, shape[1]))]
        gradient = ones.T @ (np.exp(log_p) - wanted) + penalty * shrunk
        return float(-np.sum(log_p * wanted) + penalty * np.sum(shrunk**2) / 2), gradient.ravel()

    return minimize(loss, np.zeros(np.prod(shape)), jac=True, method="L-BFGS-B").x.reshape(shape)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def held_out(x: np.ndarray, y: np.ndarray, fold: np.ndarray, how: tuple[bool, float], tested: int) -> np.ndarray:
    """log p of every label in one fold, by a reader of the other folds.

    The reader sees each coordinate by its own spread in those folds, or all by the largest, as `how` says.
    """
    each, penalty = how
    train, test = fold != tested, fold == tested
    mean, spread = x[train].mean(axis=0), np.maximum(x[train].std(axis=0), 1e-9)
    spread = spread if each else spread.max()
    weights = fit((x[train] - mean) / spread, y[train], penalty)
    return log_softmax(np.c_[(x[test] - mean) / spread, np.ones(test.sum())] @ weights)


def probe(
    x: np.ndarray, y: np.ndarray, entity: np.ndarray, rng: np.random.Generator, folds: int = 3
) -> dict[str, float]:
    """Bits about the label and balanced accuracy on entities not seen; scaling and penalty are chosen inside folds."""
    seen = np.unique(entity)
    fold_of = dict(zip(seen.tolist(), rng.permutation(len(seen)) % folds, strict=True))
    fold = np.array([fold_of[one] for one in entity.tolist()])
    log_p = np.zeros((len(x), y.max() + 1))
    for outer in range(folds):
        train = fold != outer

        def loss(how: tuple[bool, float], train: np.ndarray = train) -> float:
            inner, labels = fold[train], y[train]
            read = [held_out(x[train], labels, inner, how, one)[np.arange(np.sum(inner == one)), labels[inner == one]]
                    for one in np.unique(inner)]  # fmt: skip
            return -float(np.concatenate(read).mean())

        log_p[~train] = held_out(x, y, fold, min(product((True, False), PENALTIES), key=loss), outer)
    right, own = log_p.argmax(axis=1) == y, log_p[np.arange(len(y)), y]
    accuracy = np.mean([right[y == label].mean() for label in np.unique(y)])
    return {"bits": float(np.log2(y.max() + 1) + own.mean() / np.log(2)), "accuracy": float(accuracy)}


def probe_within(
    x: np.ndarray, y: np.ndarray, relation: np.ndarray, entity: np.ndarray, rng: np.random.Generator
) -> float:
    """Balanced accuracy of probes within each relation, the mean of them."""
    each = [
        probe(x[relation == one], y[relation == one], entity[relation == one], rng)["accuracy"]
        for one in np.unique(relation)
    ]
    return float(np.mean(each))


Eraser = Callable[[np.ndarray], np.ndarray]


def leace(x: np.ndarray, z: np.ndarray) -> Eraser:
    """The least change of x after which nothing linear of z is left (Belrose et al. 2023, theorem 4.3)."""
    mean = x.mean(axis=0)
    centred, concept = x - mean, z - z.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    kept = values > 1e-9 * max(values.max(), 1e-30)
    root = np.sqrt(values[kept])
    whiten, unwhiten = (vectors[:, kept] / root) @ vectors[:, kept].T, (vectors[:, kept] * root) @ vectors[:, kept].T
    left, size, _ = np.linalg.svd(whiten @ (centred.T @ concept) / len(x), full_matrices=False)
    span = left[:, size > 1e-6]
    taken = unwhiten @ span @ span.T @ whiten
    return lambda rows: rows - (rows - mean) @ taken.T


def concept(language: np.ndarray, relation: np.ndarray) -> np.ndarray:
    """Language x relation, centred within the relation: rank relations x (languages - 1)."""
    z = np.zeros((len(language), relation.max() + 1, language.max() + 1))
    z[np.arange(len(language)), relation, language] = 1
    for one in np.unique(relation):
        z[relation == one, one] -= z[relation == one, one].mean(axis=0)
    return z.reshape(len(language), -1)


def pooled_concept(language: np.ndarray, relation: np.ndarray) -> np.ndarray:
    """The language alone, relations taken together: what misleads."""
    return np.eye(language.max() + 1)[language]


class Erasure:
    """The language erased at every slot of the prompt, from a layer on, fitted on the facts of some entities."""

    def __init__(
        self,
        reading: Reading,
        step: int,
        from_layer: int,
        facts: Sequence[int] | np.ndarray,
        concept_of: Callable[[np.ndarray, np.ndarray], np.ndarray] = concept,
    ) -> None:
        self.reading, self.step = reading, step
        self.names = [
            "blocks.0.hook_resid_pre" if layer == 0 else f"blocks.{layer - 1}.hook_resid_post"
            for layer in range(from_layer, reading.run.config.model.n_layers + 1)
        ]
        self.erasers: dict[str, dict[str, Eraser]] = {}
        items = [(int(fact), language) for fact in facts for language in range(reading.n_languages)]
        language = np.array([asked for _, asked in items])
        relation = np.array([reading.relation[fact] for fact, _ in items])
        where = self.where(items)
        for name in self.names:  # each layer is fitted on what the earlier erasures left
            stream = self.streams(items, [name])[name]
            self.erasers[name] = {
                slot: leace(stream[rows, positions], concept_of(language[rows], relation[rows]))
                for slot, (rows, positions) in where.items()
            }

    def where(self, items: Sequence[Item]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Each slot's rows and positions in the prompts."""
        found: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row, item in enumerate(items):
            for place, slot in enumerate(self.reading.slots(*item)):
                found[slot].append((row, place + 1))
        return {
            slot: (np.array([row for row, _ in at]), np.array([place for _, place in at])) for slot, at in found.items()
        }

    def hooks(self, items: Sequence[Item]) -> Hooks:
        """What erases the language from the prompts of these questions, answers left as they are."""
        where = self.where(items)

        def erase(content: Tensor, hook: object, name: str) -> Tensor:
            for slot, (rows, positions) in where.items():
                if slot in self.erasers[name]:
                    content[rows, positions] = torch.as_tensor(
                        self.erasers[name][slot](content[rows, positions].numpy())
                    )
            return content

        return [(name, lambda content, hook, name=name: erase(content, hook, name)) for name in self.erasers]

    @torch.no_grad()
    def streams(self, items: Sequence[Item], names: Sequence[str]) -> dict[str, np.ndarray]:
        """The erased streams of these questions, by hook name: [question, position, d]."""
        kept: dict[str, np.ndarray] = {}

        def keep(content: Tensor, hook: object, name: str) -> None:
            kept[name] = content.numpy().copy()

        look: Hooks = [(name, lambda content, hook, name=name: keep(content, hook, name)) for name in names]
        tokens, _ = padded([self.reading.prompt(*item) for item in items])
        self.reading.model(self.step).run_with_hooks(tokens, fwd_hooks=[*self.hooks(items), *look])
        return kept

    def last(self, items: Sequence[Item], name: str) -> np.ndarray:
        """The erased stream at each prompt's last token."""
        ends = [len(self.reading.prompt(*item)) - 1 for item in items]
        return self.streams(items, [name])[name][np.arange(len(items)), ends]
