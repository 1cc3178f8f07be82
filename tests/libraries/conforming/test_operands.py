"""Targets, weights and masks of any dtype, in shapes that broadcast, mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from tests.libraries.conforming.libraries import Library

X = np.asarray([[-40.0, -2.0, 0.0], [1.0, 17.0, 60.0]], np.float32)
Y = np.asarray([[0, 1, 1], [0, 1, 1]])


def elementwise(**given: Any) -> Any:
    return portable_bce.bce_with_logits_value_and_grad(**given, reduction="none")


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "uint8", "float64"])
def test_dtype_of_labels_changes_nothing(library: Library, dtype: str) -> None:
    wanted = library.run(elementwise, logits=X, targets=Y.astype(np.float32))
    got = library.run(elementwise, logits=X, targets=Y.astype(dtype))
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


def test_numbers_are_arrays_of_one_value(library: Library) -> None:
    full = np.full_like(X, 0.25)
    wanted = library.run(elementwise, logits=X, targets=full, weight=full, pos_weight=full)
    got = library.run(elementwise, logits=X, targets=0.25, weight=0.25, pos_weight=0.25)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(3,), (2, 1), (1, 1), ()])
def test_weights_are_broadcast(library: Library, shape: Any) -> None:
    weight = np.linspace(1, 2, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    full = np.ascontiguousarray(np.broadcast_to(weight, X.shape))
    wanted = library.run(elementwise, logits=X, targets=Y, weight=full, pos_weight=full)
    got = library.run(elementwise, logits=X, targets=Y, weight=weight, pos_weight=weight)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
def test_masked_elements_add_nothing_whatever_they_are(library: Library, reduction: str) -> None:
    keep = np.asarray([[True, True, False], [False, True, True]])
    weight = np.asarray([[1.0, 2.0, np.nan], [np.inf, 0.5, 1.0]], np.float32)
    x, clean = np.where(keep, X, np.nan), np.where(keep, X, np.float32(0))
    ones = np.where(keep, weight, np.float32(1))

    def both(**given: Any) -> Any:
        return portable_bce.bce_with_logits_value_and_grad(**given, reduction=reduction)

    loss, grad = library.run(both, logits=x, targets=Y, weight=weight, where=keep)
    wanted, slope = library.run(both, logits=clean, targets=Y, weight=ones, where=keep)
    np.testing.assert_array_equal(loss, wanted)
    np.testing.assert_array_equal(grad, slope)
    assert not np.any(grad[~keep])
    assert np.all(np.isfinite(loss))


def test_mask_that_keeps_nothing_leaves_no_mean(library: Library) -> None:
    nothing = np.zeros(X.shape, bool)
    loss, grad = library.run(
        portable_bce.bce_with_logits_value_and_grad, logits=X, targets=Y, where=nothing
    )
    assert np.isnan(loss)
    assert not np.any(grad)


def test_nan_stays_where_it_is(library: Library) -> None:
    x = np.asarray([1.0, np.nan, -2.0], np.float32)
    for value in library.run(elementwise, logits=x, targets=1.0):
        np.testing.assert_array_equal(np.isnan(value), np.isnan(x))
