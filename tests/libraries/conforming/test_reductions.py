"""Sums and means are right over every axis, and share their denominator with the derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from tests.libraries.conforming.libraries import Library

RNG = np.random.default_rng(5)
X = RNG.normal(0, 12, (3, 4)).astype(np.float32)
Y = RNG.random((3, 4)).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2, (3, 1)).astype(np.float32)
KEEP = RNG.random((3, 4)) < 0.7
AXES = [None, 0, (1,), (0, 1)]


def units(got: Any, wanted: Any) -> float:
    """Return the largest distance in ULP of float32 of the result and what it cancels from."""
    scale = np.maximum(np.abs(wanted), 2.0**-30).astype(np.float32)
    return float(np.max(np.abs(got.astype(np.float64) - wanted) / np.spacing(scale), initial=0))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("where", [None, KEEP], ids=["all", "where"])
def test_reduced_loss_and_gradient_are_those_of_float64_on_numpy(
    library: Library, reduction: str, axis: Any, where: Any
) -> None:
    keywords = {"reduction": reduction, "axis": axis}
    given = {"targets": Y, "weight": WEIGHT} | ({} if where is None else {"where": where})

    def both(**given: Any) -> Any:
        return portable_bce.bce_with_logits_value_and_grad(**given, **keywords)

    loss, grad = library.run(both, logits=X, **given)
    wide, slope = both(logits=X.astype(np.float64), **given)
    assert loss.dtype == grad.dtype == np.float32
    assert loss.shape == np.shape(wide)
    bounds = contract.SOFT.widened(contract.WEIGHT + contract.SUM)
    assert units(loss, wide) <= bounds.loss
    assert units(grad, slope) <= bounds.grad


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_sum_of_nothing_is_zero_and_its_mean_is_nan(library: Library, shape: Any) -> None:
    x = np.zeros(shape, np.float32)

    def both(logits: Any) -> Any:
        total = portable_bce.bce_with_logits(logits, 1.0, reduction="sum")
        return total, portable_bce.bce_with_logits(logits, 1.0)

    total, mean = library.run(both, logits=x)
    assert total == 0
    assert np.isnan(mean)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_one_result_for_each_element_unless_reduced(library: Library, shape: Any) -> None:
    x = np.full(shape, 2.0, np.float32)

    def three(logits: Any) -> Any:
        loss, grad = portable_bce.bce_with_logits_value_and_grad(logits, 1, reduction=None)
        return loss, grad, portable_bce.bce_with_logits(logits, 1)

    loss, grad, mean = library.run(three, logits=x)
    assert loss.shape == grad.shape == shape
    assert mean.shape == ()


def test_pullback_is_the_gradient_times_the_cotangent(library: Library) -> None:
    cotangent = np.asarray([1.0, 2.0, -4.0, 0.5], np.float32)  # powers of two round nothing

    def both(logits: Any, targets: Any, cotangent: Any) -> Any:
        _, pullback = portable_bce.bce_with_logits_vjp(logits, targets, axis=0)
        _, grad = portable_bce.bce_with_logits_value_and_grad(logits, targets, axis=0)
        return *pullback(cotangent), grad

    by_x, by_y, grad = library.run(both, logits=X, targets=Y, cotangent=cotangent)
    np.testing.assert_array_equal(by_x, grad * cotangent)
    assert units(by_y, -X.astype(np.float64) * cotangent / 3) <= contract.SOFT.grad
