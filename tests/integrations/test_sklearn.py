"""Beside scikit-learn: its log-loss from logits, and its logistic regression by our gradient."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

import portable_bce
from tests import pages
from tests.backends import Backend

pytest.importorskip("sklearn")

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

lazy_xp_modules = [portable_bce]

# scikit-learn rounds 1 - p to the spacing of floats near 1, which is what log_loss loses.
AGREEMENT = {"float64": 1e-12, "float32": 1e-5}
# Of coefficients of size 1, at gradients of 1e-8.
OPTIMUM_TOLERANCE = 1e-7


@cache
def fitted() -> tuple[Any, Any, Any, Any]:
    features, labels = load_breast_cancer(return_X_y=True)
    design = StandardScaler().fit_transform(features)
    model = LogisticRegression().fit(design, labels)
    weight = np.random.default_rng(2).uniform(0.5, 2.0, labels.size)
    return model.decision_function(design), model.predict_proba(design), labels, weight


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_of_the_decision_function_is_log_loss(backend: Backend, weighted: bool) -> None:
    """Where that is right: no probability here is nearer to 0 or 1 than 1e-12."""
    logits, probabilities, labels, weight = fitted()
    kept = np.abs(logits) < 12
    given = weight[kept] if weighted else None
    expected = log_loss(labels[kept], probabilities[kept], sample_weight=given)
    dtype = "float64" if backend.wide else "float32"
    loss = portable_bce.bce_with_logits(
        backend.array(logits[kept], dtype),
        backend.array(labels[kept]),
        weight=None if given is None else backend.array(given, dtype),
        reduction="weighted_mean",
    )
    assert float(backend.numpy(loss)) == pytest.approx(expected, rel=AGREEMENT[dtype])


def test_loss_of_the_decision_function_is_right_where_log_loss_is_not() -> None:
    """log_loss clips probabilities, at 1e-16, and says 36 of a loss of 800."""
    logits, labels = np.asarray([-800.0, 0.0]), np.asarray([1, 0])
    clipped = log_loss(labels, portable_bce.sigmoid(logits))
    assert clipped < 20
    loss = portable_bce.bce_with_logits(logits, labels)
    assert loss == pytest.approx((800 + np.log(2)) / 2, rel=1e-15)


def test_scorer_of_the_page_is_neg_log_loss_and_its_optimum_that_of_logistic_regression() -> None:
    pytest.importorskip("scipy")
    known = pages.run("docs/scikit-learn.md")
    model, features, labels = (known[name] for name in ("model", "features", "labels"))
    expected = cross_val_score(model, features, labels, scoring="neg_log_loss")
    np.testing.assert_allclose(known["scores"], expected, rtol=AGREEMENT["float64"])
    params, theirs = known["found"].x, known["theirs"]
    optimum = np.append(theirs.coef_[0], theirs.intercept_)
    np.testing.assert_allclose(params, optimum, rtol=0, atol=OPTIMUM_TOLERANCE)
