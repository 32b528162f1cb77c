"""Logistic regression against sklearn's optimum and its own first-order condition."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV

from mechxl.measures.readers import PENALTIES, VALUE_PENALTIES, logistic, value_reader


def rows(classes, distance, seed=0, n=240, d=5):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.standard_normal((n, d)) * np.linspace(0.3, 3, d)
    x[:, :classes] += distance * np.eye(classes)[y]
    return np.concatenate([x, np.ones((n, 1))], axis=1), y


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(("classes", "distance"), [(2, 0.5), (2, 12.0), (3, 1.0), (4, 9.0)])
def test_the_optimum_is_sklearns(classes, distance, penalty):
    """With a distance of 9 or 12 the classes are apart, and only the penalty holds the weights."""
    x, y = rows(classes, distance)
    found = x @ logistic(x, y, classes, penalty, tolerance=1e-9)
    reader = LogisticRegression(C=penalty, tol=1e-10, max_iter=2000).fit(x[:, :-1], y)
    expected = reader.decision_function(x[:, :-1]).reshape(found.shape)
    apart = found - expected
    assert np.abs(apart - apart.mean(axis=1, keepdims=True) * (classes > 2)).max() < 2e-3


def test_a_start_elsewhere_ends_at_the_same_optimum():
    x, y = rows(2, 1.0)
    one = logistic(x, y, 2, 1.0, tolerance=1e-9)
    assert logistic(x, y, 2, 1.0, 30 * np.ones((6, 1)), tolerance=1e-9) == pytest.approx(one, abs=1e-5)


def test_no_weights_near_the_optimum_have_a_lower_loss():
    x, y = rows(3, 1.0)

    def loss(weights):
        told = log_softmax(x @ weights, axis=1)[np.arange(len(y)), y].mean()
        return -told + (weights[:-1] ** 2).sum() / (2 * 0.5 * len(y))

    best = logistic(x, y, 3, 0.5, tolerance=1e-9)
    rng = np.random.default_rng(1)
    assert all(loss(best + 0.01 * rng.standard_normal(best.shape)) > loss(best) for _ in range(50))


@pytest.mark.parametrize(("n", "classes"), [(40, 2), (90, 7), (30, 16)])
def test_a_reader_of_values_answers_as_sklearns_ridge_classifier(n, classes):
    rng = np.random.default_rng(n)
    x, value = rng.normal(size=(n, 20)) * rng.exponential(size=20), rng.integers(0, classes, n)
    x[:, :classes] += np.eye(classes)[value]
    other = rng.normal(size=(200, 20))
    mean, spread = x.mean(axis=0), x.std(axis=0)
    judge = RidgeClassifierCV(alphas=VALUE_PENALTIES).fit((x - mean) / spread, value)
    assert (value_reader(x, value)(other) == judge.predict((other - mean) / spread)).all()
