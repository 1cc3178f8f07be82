"""HIPS autograd traces our functions without a rule, and takes the rule of docs/frameworks.md."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import reference, ulp
from tests.autodiff import apart
from tests.integrations.test_frameworks import TRAINED, adapted, data, start


def autograd_descent(loss: Any) -> list[np.ndarray[Any, Any]]:
    import autograd
    import autograd.numpy as anp

    features, labels = data()

    def objective(parameters: Any) -> Any:
        first, offset, last = parameters
        return loss(anp.dot(anp.tanh(anp.dot(features, first) + offset), last), labels)

    parameters = start()
    for _ in range(200):
        slopes = autograd.grad(objective)(parameters)
        parameters = [one - 0.5 * slope for one, slope in zip(parameters, slopes, strict=True)]
    return parameters


@pytest.mark.parametrize("name", ["bce_loss", "bce_with_logits"])
def test_autograd_trains_to_what_its_own_composition_trains_to(name: str) -> None:
    """By the rule of the page, and by tracing without a rule."""
    known = adapted("autograd")
    import autograd.numpy as anp

    def own(x: Any, y: Any) -> Any:
        return anp.mean(anp.maximum(x, 0) - x * y + anp.log1p(anp.exp(-anp.abs(x))))

    for got, wanted in zip(autograd_descent(known[name]), autograd_descent(own), strict=True):
        assert np.abs(got - wanted).max() <= TRAINED


SPECIAL = np.asarray([0.0, -0.0, 3.0, -9.0, 50.0, -50.0, 700.0, math.inf])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
def test_autograd_traces_both_derivatives_without_a_rule(reduction: str, dtype: Any) -> None:
    autograd = pytest.importorskip("autograd")
    x = SPECIAL.astype(dtype)
    keywords = {
        "weight": np.linspace(1, 2, len(x), dtype=dtype),
        "pos_weight": 2.0,
        "where": np.arange(len(x)) != 2,
        "reduction": reduction,
    }

    def loss(x: Any) -> Any:
        return portable_bce.bce_with_logits(x, np.ones(len(x), dtype=np.int8), **keywords)

    slope = autograd.grad(loss)
    _, wanted = portable_bce.bce_with_logits_value_and_grad(x, 1, **keywords)
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, 1, **keywords)
    near = contract.AUTODIFF + contract.SUM
    assert apart(slope(x), wanted) <= near
    assert apart(autograd.elementwise_grad(slope)(x), hess) <= near + contract.AUTODIFF


def test_autograd_traces_to_the_third_derivative() -> None:
    autograd = pytest.importorskip("autograd")
    third = autograd.elementwise_grad(
        autograd.elementwise_grad(
            autograd.grad(lambda x: portable_bce.bce_with_logits(x, 0.3, reduction="sum"))
        )
    )
    for x, got in zip([-40.0, 0.0, 2.0], third(np.asarray([-40.0, 0.0, 2.0])), strict=True):
        chance = reference.sigmoid(x)
        exact = chance * reference.sigmoid(-x) * (reference.sigmoid(-x) - chance)
        assert ulp.error(got, exact, "float64", scale=abs(chance * reference.sigmoid(-x))) <= (
            contract.DOUBLE.hess + contract.AUTODIFF
        )


def test_autograd_traces_targets_and_probabilities() -> None:
    autograd = pytest.importorskip("autograd")
    x, y = np.asarray([0.0, 40.0, -2.0]), np.asarray([0.5, 1.0, 0.0])
    by_both = autograd.grad(
        lambda both: portable_bce.bce_with_logits(both[0], both[1], reduction="sum")
    )((x, y))
    assert apart(by_both[1], -x) == 0
    q = np.asarray([0.5, 0.9, 0.2])
    got = autograd.grad(lambda q: portable_bce.bce(q, y, reduction="sum"))(q)
    _, wanted = portable_bce.bce_value_and_grad(q, y, reduction="sum")
    assert apart(got, wanted) <= contract.PROBABILITY


def test_autograd_of_what_is_not_traced_is_an_error() -> None:
    """Not a gradient of zero."""
    autograd = pytest.importorskip("autograd")
    with pytest.raises(TypeError, match="`targets` must be a Python scalar or an array of"):
        autograd.grad(lambda y: portable_bce.bce_with_logits(np.zeros(3), y))(np.ones(3))


def test_autograd_rule_ends_with_an_error() -> None:
    known = adapted("autograd")
    autograd = importlib.import_module("autograd")
    third = autograd.jacobian(autograd.hessian(known["bce_loss"]))
    with pytest.raises(NotImplementedError, match="curvature"):
        third(np.zeros(2), np.ones(2))
