"""A weight beyond the range of float32 beside float32 logits counts as what it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce._job import Runner
from portable_bce.testing import ulp

X = np.asarray([-200.0, -1.0, 0.5, 30.0, 90.0], dtype=np.float32)
Y = np.asarray([0, 1, 1, 1, 1])
WIDE: list[Any] = [1e39, np.float64(1e39), np.full(5, 1e39), np.full(5, 1e39, dtype=np.longdouble)]


@pytest.mark.parametrize("weight", WIDE, ids=lambda weight: type(weight).__name__)
@pytest.mark.parametrize("name", ["weight", "pos_weight"])
def test_a_wide_weight_is_not_infinite(numpy_row: Runner, name: str, weight: Any) -> None:
    """Infinity times the 0 of the other label would be NaN; the loss of 90 is 8e-40, times 1e39."""
    label = 1 if name == "pos_weight" else Y
    x = X.astype(np.float64)
    exact = portable_bce.bce_with_logits_value_and_grad(x, label, weight=1e39, reduction="none")
    got = portable_bce.bce_with_logits_value_and_grad(X, label, reduction="none", **{name: weight})
    for one, other in zip(got, exact, strict=True):
        assert one.dtype == np.float32
        with np.errstate(over="ignore", under="ignore"):
            rounded = other.astype(np.float32)
        finite = np.isfinite(rounded)
        np.testing.assert_array_equal(one[~finite], rounded[~finite])
        assert ulp.distance(one[finite], rounded[finite]).max() <= contract.ROUNDED_ONCE
    total = portable_bce.bce_with_logits(X, label, **{name: weight})
    assert total == np.inf


@pytest.mark.parametrize("weight", WIDE, ids=lambda weight: type(weight).__name__)
def test_a_wide_weight_divides_out(numpy_row: Runner, weight: Any) -> None:
    got = portable_bce.bce_with_logits_value_and_grad(
        X, Y, weight=weight, reduction="weighted_mean"
    )
    for one, other in zip(got, portable_bce.bce_with_logits_value_and_grad(X, Y), strict=True):
        assert ulp.distance(np.ravel(one), np.ravel(other)).max() <= contract.SUM


def test_derivatives_that_wait_for_a_cotangent_have_their_dtype(numpy_row: Runner) -> None:
    _, pullback = portable_bce.bce_with_logits_vjp(X, Y, weight=np.full(5, 1e30), reduction="sum")
    by_logits, _ = pullback(1e-30)
    _, alone = portable_bce.bce_with_logits_value_and_grad(X, Y, reduction="sum")
    assert by_logits.dtype == np.float32
    normal = np.abs(alone) > np.finfo(np.float32).smallest_normal
    assert ulp.distance(by_logits[normal], alone[normal]).max() <= 3  # slope, cotangent, product
