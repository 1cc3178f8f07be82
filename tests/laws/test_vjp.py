"""The pullback is the derivative's product with any cotangent, as often as asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mpmath import mpf

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import reference, ulp
from tests.backends import Backend
from tests.law import law
from tests.laws.test_accuracy import underflow
from tests.strategies import Case, cases

lazy_xp_modules = [portable_bce]


@law(lambda backend: cases(backend, infinite=False))
def test_gradient_by_targets_is_within_its_bound(backend: Backend, case: Case) -> None:
    x, y, options = case.on(backend)
    y = backend.array(np.broadcast_to(np.asarray(case.y, dtype=case.dtype), case.x.shape))
    _, pullback = portable_bce.bce_with_logits_vjp(x, y, reduction="none", **options)
    got = backend.numpy(pullback()[1])
    for index, logit, target, w, p, u in case.elements():
        exact = reference.logit_grad_target(logit, target, w, p, u)
        # p softplus(-x) - softplus(x) crosses zero: an ULP of the larger of the two.
        terms = float(w) * (1 + float(p)) * reference.softplus(abs(mpf(float(logit))))
        error = ulp.error(
            got[index],
            exact,
            case.dtype,
            scale=terms if case.factors() else 0,
            underflow=underflow(case, logit, w, p),
            flushes=backend.flushes_subnormals,
        )
        assert error <= contract.SOFT.loss + contract.PER_FACTOR * case.factors()


@law(lambda backend: cases(backend, from_logits=False))
def test_gradient_of_probabilities_by_targets_is_within_its_bound(
    backend: Backend, case: Case
) -> None:
    q, _, options = case.on(backend)
    y = backend.array(np.broadcast_to(np.asarray(case.y, dtype=case.dtype), case.x.shape))
    _, pullback = portable_bce.bce_vjp(q, y, reduction="none", **options)
    got = backend.numpy(pullback()[1])
    for index, chance, target, w, p, u in case.elements():
        exact = reference.probability_grad_target(chance, target, w, p, u)
        either = (
            reference.probability_loss(chance, 1, w, p),
            reference.probability_loss(chance, 0, w),
        )
        xla = backend.name.startswith("jax") and case.dtype == "float64"
        bound = (
            contract.XLA_LOG1P if xla else contract.PROBABILITY
        ) + contract.PER_FACTOR * case.factors()
        scale = max(either) if 0 < chance < 1 else 0
        keywords = {"scale": scale, "flushes": backend.flushes_subnormals}
        error = ulp.error(
            got[index], exact, case.dtype, underflow=float(w) * (1 + float(p)), **keywords
        )
        assert error <= bound


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
def test_cotangent_scales_the_gradient(backend: Backend, reduction: str, axis: Any) -> None:
    rng = np.random.default_rng(5)
    x = backend.array(rng.normal(0, 3, (3, 4)).astype(np.float32))
    keywords = {"weight": 2.0, "reduction": reduction, "axis": axis}
    loss, pullback = portable_bce.bce_with_logits_vjp(x, 1, **keywords)
    _, grad = portable_bce.bce_with_logits_value_and_grad(x, 1, **keywords)
    factor = rng.normal(0, 1, tuple(loss.shape)).astype(np.float32)
    by_logits, _ = pullback(backend.array(factor))
    wide = factor if axis is None or isinstance(axis, tuple) else np.expand_dims(factor, axis)
    got, wanted = backend.numpy(by_logits), (backend.numpy(grad) * wide).astype(np.float32)
    near = 0 if backend.bitwise else 2 * contract.CONTRACTED
    assert ulp.distance(got, wanted).max() <= near


def test_elementwise_cotangent_weighs_each_element(backend: Backend) -> None:
    x = backend.array(np.asarray([0.0, 1.0, -2.0], dtype=np.float32))
    y = backend.array(np.asarray([0.5, 0.0, 1.0], dtype=np.float32))
    _, pullback = portable_bce.bce_with_logits_vjp(x, y, reduction="none")
    every, by_every = pullback(1.0)
    some, by_some = pullback(backend.array(np.asarray([1.0, 0.0, -4.0], dtype=np.float32)))
    factor = np.asarray([1, 0, -4], dtype=np.float32)
    np.testing.assert_array_equal(backend.numpy(some), backend.numpy(every) * factor)
    np.testing.assert_array_equal(backend.numpy(by_some), backend.numpy(by_every) * factor)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_masked_elements_ignore_their_cotangent(backend: Backend, poison: float) -> None:
    x = backend.array(np.asarray([0.5, -1.0], dtype=np.float32))
    where = backend.array(np.asarray([True, False]))
    _, pullback = portable_bce.bce_with_logits_vjp(x, x, where=where, reduction="none")
    some = pullback(backend.array(np.asarray([1.0, poison], dtype=np.float32)))
    for got, wanted in zip(some, pullback(1.0), strict=True):
        np.testing.assert_array_equal(backend.numpy(got), backend.numpy(wanted))


def test_pullback_may_be_called_again(backend: Backend) -> None:
    x = backend.array(np.asarray([0.5, -1.0], dtype=np.float32))
    _, pullback = portable_bce.bce_with_logits_vjp(x, x)
    first, second, third = pullback(1.0), pullback(3.0), pullback()
    for one, other in zip(first, third, strict=True):
        np.testing.assert_array_equal(backend.numpy(one), backend.numpy(other))
    assert not np.any(backend.numpy(first[0]) == backend.numpy(second[0]))


def test_scalar_array_is_a_cotangent_for_all(backend: Backend) -> None:
    x = backend.array(np.asarray([0.5, -1.0], dtype=np.float32))
    _, pullback = portable_bce.bce_with_logits_vjp(x, x, reduction="none")
    for one, other in zip(
        pullback(backend.array(np.asarray(2.0, dtype=np.float32))), pullback(2.0), strict=True
    ):
        np.testing.assert_array_equal(backend.numpy(one), backend.numpy(other))


def test_gradient_by_one_target_for_all_is_one_number(backend: Backend) -> None:
    x = backend.array(np.asarray([1.0, -2.0, 4.0], dtype=np.float32))
    _, pullback = portable_bce.bce_with_logits_vjp(x, 0.5, reduction="sum")
    by_target = pullback(2.0)[1]
    assert tuple(by_target.shape) == ()
    assert backend.numpy(by_target) == -6.0


def test_loss_scale_keeps_half_gradients_from_underflowing(backend: Backend) -> None:
    """The derivative is scaled before it is rounded to float16."""
    if "float16" not in backend.dtypes:
        pytest.skip(f"{backend.name} has no float16")
    n = 2**20
    x = backend.array(np.full(n, -9.0), "float16")
    _, pullback = portable_bce.bce_with_logits_vjp(x, 0)
    lost = backend.numpy(pullback(1.0)[0])
    kept = backend.numpy(pullback(2.0**20)[0])
    assert not np.any(lost)
    np.testing.assert_array_equal(kept, np.full(n, np.float16(1 / (1 + np.exp(9.0)))))


def test_gradient_by_targets_at_infinity_is_infinite(backend: Backend) -> None:
    x = backend.array(np.asarray([np.inf, -np.inf], dtype=np.float32))
    y = backend.array(np.asarray([1.0, 0.0], dtype=np.float32))
    _, pullback = portable_bce.bce_with_logits_vjp(x, y, reduction="sum")
    np.testing.assert_array_equal(backend.numpy(pullback()[1]), [-np.inf, np.inf])


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("masked", [False, True])
def test_loss_of_each_half_is_rounded_whatever_its_gradient_waits_for(
    size: int, masked: bool
) -> None:
    x = np.full(size, 0.25, dtype=np.float16)
    options = {"where": x > 0} if masked else {}
    loss, _ = portable_bce.bce_with_logits_vjp(x, 1, reduction="none", **options)
    assert loss.dtype == np.float16
    np.testing.assert_array_equal(
        loss, portable_bce.bce_with_logits(x, 1, reduction="none", **options)
    )
