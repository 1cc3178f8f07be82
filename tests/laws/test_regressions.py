"""Defects of others, by their number: none of them is ours."""

from __future__ import annotations

import math

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.backends import Backend

lazy_xp_modules = [portable_bce]


def near(got: np.ndarray, wanted: list[float], bound: float) -> None:
    exact = np.asarray(wanted, dtype=got.dtype)
    assert ulp.distance(np.atleast_1d(got), exact).max() <= math.ceil(bound)


@pytest.mark.parametrize(("dtype", "x"), [("float32", 17.0), ("float64", 37.0)])
def test_pytorch_195529_and_195677_gradient_is_not_lost_in_the_tail(
    backend: Backend, dtype: str, x: float
) -> None:
    """sigmoid(x) - 1 is 0 there, where the gradient is -exp(-x), a normal number."""
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    logits = backend.array(np.asarray([x, 2 * x]), dtype)
    _, grad = portable_bce.bce_with_logits_value_and_grad(logits, 1, reduction="sum")
    near(backend.numpy(grad), [-math.exp(-x), -math.exp(-2 * x)], contract.SOFT.grad)


def test_pytorch_49844_minus_infinity_and_label_zero_cost_nothing(backend: Backend) -> None:
    x = backend.array(np.asarray([-np.inf], dtype=np.float32))
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, 0)
    assert backend.numpy(loss) == 0
    assert backend.numpy(grad) == 0


def test_pytorch_102894_infinity_and_label_one_cost_nothing(backend: Backend) -> None:
    x = backend.array(np.asarray([np.inf, 1.0], dtype=np.float32))
    y = backend.array(np.asarray([1.0, 0.0], dtype=np.float32))
    loss = backend.numpy(portable_bce.bce_with_logits(x, y))
    near(loss, [math.log1p(math.exp(1.0)) / 2], contract.SOFT.loss)


def test_pytorch_135359_infinity_and_soft_label_cost_infinity(backend: Backend) -> None:
    x = backend.array(np.asarray([-np.inf], dtype=np.float32))
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, 0.9)
    assert backend.numpy(loss) == np.inf
    near(backend.numpy(grad), [-0.9], contract.SOFT.grad)


def test_pytorch_24933_logits_and_their_sigmoid_cost_the_same(backend: Backend) -> None:
    """As far as the sigmoid, rounded, still knows the logit."""
    x = backend.array(np.linspace(-12, 4, 33, dtype=np.float32))
    one = backend.numpy(portable_bce.bce_with_logits(x, 1, reduction="none"))
    other = backend.numpy(portable_bce.bce(portable_bce.sigmoid(x), 1, reduction="none"))
    # d log(q) = dq / q: the sigmoid's own error, absolute; below loss 1 that is more ULP.
    bound = (contract.SOFT.grad + contract.PROBABILITY) * np.finfo(np.float32).eps
    assert np.all(np.abs(one - other) <= bound * np.maximum(one, 1))


def test_pytorch_13773_pos_weight_of_one_is_no_pos_weight(backend: Backend) -> None:
    x = backend.array(np.asarray([0.0, -120.0], dtype=np.float32))
    y = backend.array(np.asarray([0.0, 1.0], dtype=np.float32))
    ones = backend.array(np.ones(2, dtype=np.float32))
    plain = backend.numpy(portable_bce.bce_with_logits(x, y))
    weighted = backend.numpy(portable_bce.bce_with_logits(x, y, pos_weight=ones))
    assert np.isfinite(plain)
    assert ulp.distance(plain, weighted) <= (0 if backend.bitwise else contract.CONTRACTED)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_pytorch_pull_2195_tensorflow_and_paddle_gradient_at_logit_zero(
    backend: Backend, zero: float
) -> None:
    """abs and maximum have a wrong derivative there; TensorFlow's weighted form still has."""
    x = backend.array(np.asarray([zero, zero, zero], dtype=np.float32))
    y = backend.array(np.asarray([0.0, 1.0, 0.25], dtype=np.float32))
    _, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none")
    np.testing.assert_array_equal(backend.numpy(grad), [0.5, -0.5, 0.25])
    keywords = {"pos_weight": 3.0, "weight": 2.0, "reduction": "none"}
    _, grad = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    np.testing.assert_array_equal(backend.numpy(grad), [1.0, -3.0, 0.0])


def test_mlx_and_tinygrad_loss_is_not_lost_beyond_twenty(backend: Backend) -> None:
    x = backend.array(np.asarray([20.0, 60.0, 87.0], dtype=np.float32))
    loss = portable_bce.bce_with_logits(x, 1, reduction="none")
    near(backend.numpy(loss), [math.exp(-20), math.exp(-60), math.exp(-87)], contract.SOFT.loss)


def test_soft_labels_next_to_one_keep_their_loss(backend: Backend) -> None:
    """max(x, 0) - x y + log1p(exp(-|x|)) loses up to seven digits of it."""
    y = np.float32(1 - 2.0**-23)
    x = backend.array(np.asarray([100.0, 1e4], dtype=np.float32))
    loss = portable_bce.bce_with_logits(x, float(y), reduction="none")
    near(backend.numpy(loss), [100 * 2.0**-23, 1e4 * 2.0**-23], contract.SOFT.loss)


def test_float16_loss_does_not_overflow_in_its_sum(backend: Backend) -> None:
    if "float16" not in backend.dtypes:
        pytest.skip(f"{backend.name} has no float16")
    x = backend.array(np.full(4096, 100.0), "float16")
    assert backend.numpy(portable_bce.bce_with_logits(x, 0)) == 100.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weighted_gradient_of_a_subnormal_probability_is_not_lost(dtype: str) -> None:
    """Half of the least number rounds to 0, and half of it over itself is one half."""
    x = np.asarray([1, 3], dtype=dtype) * np.finfo(dtype).smallest_subnormal
    weight = np.asarray([0.5, 0.25], dtype=dtype)
    _, grad = portable_bce.bce_value_and_grad(
        x, np.zeros(2, dtype=dtype), weight=weight, reduction="none"
    )
    np.testing.assert_array_equal(grad, weight)


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
@pytest.mark.parametrize("is_array", [False, True])
def test_a_weight_beyond_float32_counts_as_what_it_is(
    backend: Backend, is_array: bool, name: str
) -> None:
    """In float32 it would be infinite, and infinity times the 0 of the other label NaN."""
    if not backend.wide:
        pytest.skip(f"{backend.name} has no float64")
    x = backend.array(np.asarray([1.0, -200.0], dtype=np.float32))
    y = backend.array(np.asarray([1.0, 0.0], dtype=np.float32))
    wide = backend.array(np.full(2, 1e38)) * 10 if is_array else 1e39
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none", **{name: wide})
    exact = 1e39 * np.asarray([math.log1p(math.exp(-1.0)), -1 / (1 + math.e)])
    near(backend.numpy(loss)[:1], exact[:1].tolist(), contract.SOFT.loss)
    near(backend.numpy(grad)[:1], exact[1:].tolist(), contract.SOFT.grad)
    assert backend.numpy(loss)[1] < 1
    assert backend.numpy(grad)[1] < 1
