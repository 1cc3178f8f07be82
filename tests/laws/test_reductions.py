"""Reductions, their denominators and their sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.backends import Backend

lazy_xp_modules = [portable_bce]

SHAPE = (4, 3, 5)
AXES = [None, 0, -1, (0, 2), (-1, 0), (), (0, 1, 2)]


def problem(backend: Backend, dtype: str = "float32") -> dict[str, Any]:
    rng = np.random.default_rng(7)
    arrays = {
        "logits": rng.normal(0, 4, SHAPE),
        "targets": rng.integers(0, 2, SHAPE),
        "weight": rng.uniform(0.5, 2, SHAPE),
        "where": rng.random(SHAPE) < 0.7,
    }
    host = {
        name: value.astype(dtype) if value.dtype == np.float64 else value
        for name, value in arrays.items()
    }
    return {"host": host, **{name: backend.array(value) for name, value in host.items()}}


def denominators(host: dict[str, Any], reduction: str, axis: Any) -> Any:
    keep = host["where"].astype(np.float64)
    terms = {"sum": None, "mean": keep, "weighted_mean": keep * host["weight"].astype(np.float64)}
    if terms[reduction] is None:
        return 1.0
    return terms[reduction].sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
def test_reductions_are_sums_over_one_denominator(
    backend: Backend, reduction: str, axis: Any
) -> None:
    """The loss and both derivatives, against the elementwise ones reduced in float64."""
    given = problem(backend)
    host = given.pop("host")
    each, slope = portable_bce.bce_with_logits_value_and_grad(**given, reduction="none")
    _, curve = portable_bce.bce_with_logits_grad_and_hess(**given, reduction="none")
    loss, grad = portable_bce.bce_with_logits_value_and_grad(
        **given, reduction=reduction, axis=axis
    )
    _, hess = portable_bce.bce_with_logits_grad_and_hess(**given, reduction=reduction, axis=axis)
    total = backend.numpy(each).astype(np.float64).sum(axis=axis, keepdims=True)
    divisor = denominators(host, reduction, axis)
    with np.errstate(invalid="ignore"):  # one masked element along no axis: 0 / 0
        mean = total / divisor
    wanted = np.squeeze(mean, axis=axis)
    got = backend.numpy(loss)
    near = contract.SUM if backend.wide else contract.NARROW_SUM
    near += 0 if backend.bitwise else contract.CONTRACTED
    assert got.shape == wanted.shape
    assert got.dtype == np.float32
    assert ulp.distance(got, wanted.astype(np.float32)).max() <= near
    for derivative, elementwise in ((grad, slope), (hess, curve)):
        with np.errstate(invalid="ignore"):
            shared = backend.numpy(elementwise) / np.float64(divisor)
        exact = np.where(host["where"], shared, 0.0)
        apart = ulp.distance(backend.numpy(derivative), exact.astype(np.float32))
        assert apart.max() <= near


@pytest.mark.parametrize("name", ["none", None])
def test_none_reduces_nothing(backend: Backend, name: str | None) -> None:
    given = problem(backend)
    del given["host"]
    loss = portable_bce.bce_with_logits(**given, reduction=name)
    assert tuple(loss.shape) == SHAPE


def test_mean_is_the_default(backend: Backend) -> None:
    given = problem(backend)
    del given["host"]
    loss = portable_bce.bce_with_logits(**given)
    mean = portable_bce.bce_with_logits(**given, reduction="mean")
    np.testing.assert_array_equal(backend.numpy(loss), backend.numpy(mean))


def test_weighted_mean_without_weight_is_the_mean(backend: Backend) -> None:
    given = problem(backend)
    del given["host"], given["weight"]
    one = portable_bce.bce_with_logits_value_and_grad(**given, reduction="weighted_mean")
    other = portable_bce.bce_with_logits_value_and_grad(**given, reduction="mean")
    for got, wanted in zip(one, other, strict=True):
        np.testing.assert_array_equal(backend.numpy(got), backend.numpy(wanted))


def test_weighted_mean_of_equal_weights_is_the_mean(backend: Backend) -> None:
    given = problem(backend)
    del given["host"], given["weight"]
    one = portable_bce.bce_with_logits(**given, reduction="weighted_mean", weight=4.0)
    other = portable_bce.bce_with_logits(**given, reduction="mean")
    apart = ulp.distance(backend.numpy(one), backend.numpy(other))
    assert apart <= (0 if backend.bitwise else contract.CONTRACTED)


def test_weight_along_the_last_axis_counts_for_every_row(backend: Backend) -> None:
    given = problem(backend)
    host = given.pop("host")
    row = host["weight"][0, 0]
    full = backend.array(np.broadcast_to(row, SHAPE))
    given["weight"] = backend.array(row)
    one = portable_bce.bce_with_logits_value_and_grad(**given, reduction="weighted_mean")
    given["weight"] = full
    other = portable_bce.bce_with_logits_value_and_grad(**given, reduction="weighted_mean")
    near = 0 if backend.bitwise else contract.CONTRACTED
    for got, wanted in zip(one, other, strict=True):
        assert ulp.distance(backend.numpy(got), backend.numpy(wanted)).max() <= near


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)])
def test_empty_sum_is_zero_and_empty_mean_is_nan(backend: Backend, shape: tuple[int, ...]) -> None:
    x = backend.array(np.zeros(shape, dtype=np.float32))
    for reduction, wanted in (("sum", 0.0), ("mean", np.nan), ("weighted_mean", np.nan)):
        loss, grad = portable_bce.bce_with_logits_value_and_grad(x, x, reduction=reduction)
        np.testing.assert_array_equal(backend.numpy(loss), np.float32(wanted))
        assert tuple(grad.shape) == shape


def test_empty_axis_gives_a_value_for_each_of_the_others(backend: Backend) -> None:
    x = backend.array(np.zeros((3, 0), dtype=np.float32))
    total = portable_bce.bce_with_logits(x, x, reduction="sum", axis=1)
    mean = portable_bce.bce_with_logits(x, x, reduction="mean", axis=1)
    np.testing.assert_array_equal(backend.numpy(total), np.zeros(3, dtype=np.float32))
    np.testing.assert_array_equal(backend.numpy(mean), np.full(3, np.nan, dtype=np.float32))


@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
def test_all_masked_is_empty_with_a_gradient_of_zero(backend: Backend, reduction: str) -> None:
    given = problem(backend)
    del given["host"]
    given["where"] = backend.array(np.zeros(SHAPE, dtype=bool))
    loss, grad = portable_bce.bce_with_logits_value_and_grad(**given, reduction=reduction)
    wanted = np.float32(0.0 if reduction == "sum" else np.nan)
    np.testing.assert_array_equal(backend.numpy(loss), wanted)
    np.testing.assert_array_equal(backend.numpy(grad), np.zeros(SHAPE, dtype=np.float32))


def test_scalar_result_on_numpy_is_a_numpy_scalar() -> None:
    x: Any = np.zeros(3, dtype=np.float32)  # not what types say: portable_bce/_typing.py
    assert type(portable_bce.bce_with_logits(x, x)) is np.float32
    assert type(portable_bce.bce_with_logits(x.astype(np.float16), x)) is np.float16
    assert type(portable_bce.softplus(x[0])) is np.float32


def test_result_is_an_array_without_dimensions(backend: Backend) -> None:
    x = backend.array(np.zeros((2, 3), dtype=np.float32))
    loss = portable_bce.bce_with_logits(x, 1)
    assert tuple(loss.shape) == ()
    assert not isinstance(loss, float)
    assert loss.dtype == x.dtype


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_are_exact_to_a_few_ulp(backend: Backend, dtype: str, axis: int | None) -> None:
    """10^6 terms of one size, where adding one by one loses up to 1000 ULP of float64."""
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    shape = (333_333, 3) if axis == 0 else (3, 333_333)
    host = np.random.default_rng(3).uniform(-2, 3, shape).astype(dtype)
    x = backend.array(host)
    terms = backend.numpy(portable_bce.bce_with_logits(x, 1, reduction="none"))
    loss = backend.numpy(portable_bce.bce_with_logits(x, 1, reduction="sum", axis=axis))
    lines = [terms.ravel()] if axis is None else np.moveaxis(terms, axis, -1)
    exact = np.asarray([math.fsum(line.tolist()) for line in lines]).astype(dtype)
    near = contract.SUM if backend.wide else contract.NARROW_SUM
    near += 0 if backend.bitwise else contract.CONTRACTED
    assert ulp.distance(np.atleast_1d(loss), exact).max() <= near


def test_bool_mask_along_the_last_axis_masks_every_row(backend: Backend) -> None:
    given = problem(backend)
    host = given.pop("host")
    row = np.asarray([True, False, True, True, False])
    given["where"] = backend.array(row)
    one = portable_bce.bce_with_logits_value_and_grad(**given, axis=0)
    given["where"] = backend.array(np.broadcast_to(row, host["logits"].shape))
    other = portable_bce.bce_with_logits_value_and_grad(**given, axis=0)
    near = 0 if backend.bitwise else contract.CONTRACTED
    for got, wanted in zip(one, other, strict=True):
        assert ulp.distance(backend.numpy(got), backend.numpy(wanted)).max() <= near
