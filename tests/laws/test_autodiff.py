"""Plain automatic differentiation of the loss is right to second order, with no rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from mpmath import mpf

import portable_bce
from portable_bce import _contract as contract
from portable_bce._runners.plain import quiet
from portable_bce.testing import reference, ulp
from tests import backends
from tests.backends import Backend

# Differentiating log1p and exp again adds a quotient and two products per order.
FIRST = contract.SOFT.grad + 1.0
SECOND = contract.SOFT.hess + 3.0

LOGITS = [0.0, -0.0, np.inf, -np.inf, 1.0, -3.5, 17.0, -17.0, 60.0, -60.0, 1e30, -1e30, 1e-30]
LABELS = [0.0, 1.0, 0.25, 1e-7]
OPTIONS: dict[str, dict[str, float]] = {
    "plain": {},
    "weight": {"weight": 3.0},
    "pos_weight": {"pos_weight": 2.5},
    "smoothing": {"label_smoothing": 0.2},
    "all": {"weight": 0.5, "pos_weight": 4.0, "label_smoothing": 0.1},
}
Derivatives = Callable[[Callable[[Any], Any], Any], tuple[np.ndarray, np.ndarray]]


def torch_derivatives(loss: Callable[[Any], Any], x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Differentiate a sum of elementwise losses twice, elementwise."""
    import torch

    x = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(x), x, create_graph=True)
    (hess,) = torch.autograd.grad(grad.sum(), x)
    return grad.detach().cpu().numpy(), hess.cpu().numpy()


def jax_derivatives(loss: Callable[[Any], Any], x: Any) -> tuple[np.ndarray, np.ndarray]:
    import jax

    grad = jax.grad(loss)
    hess = jax.grad(lambda x: grad(x).sum())
    return np.asarray(grad(x)), np.asarray(hess(x))


DIFFERENTIABLE = ["torch", "torch-cuda", "jax", "jax-x32", "jax under jit", "jax-gpu"]


@pytest.fixture(scope="module", params=backends.parameters(DIFFERENTIABLE))
def differentiable(request: pytest.FixtureRequest) -> Iterator[tuple[Backend, Derivatives]]:
    name = request.param.split()[0]
    backends.skip_if_missing(name)
    with backends.open_backend[name]() as backend:
        if name.startswith("torch"):
            yield backend, torch_derivatives
        elif "jit" in request.param:
            import jax

            def jitted(loss: Callable[[Any], Any], x: Any) -> tuple[np.ndarray, np.ndarray]:
                grad = jax.grad(loss)
                second = jax.grad(lambda x: grad(x).sum())
                first, curve = jax.jit(lambda x: (grad(x), second(x)))(x)
                return np.asarray(first), np.asarray(curve)

            yield backend, jitted
        else:
            yield backend, jax_derivatives


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_by_logits_are_exact_to_second_order(
    differentiable: tuple[Backend, Derivatives], dtype: str, options: str
) -> None:
    backend, differentiate = differentiable
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    pairs = [(x, y) for x in LOGITS for y in LABELS]
    host = np.asarray([x for x, _ in pairs], dtype=dtype)
    label = np.asarray([y for _, y in pairs], dtype=dtype)
    keywords = OPTIONS[options]
    y = backend.array(label)

    def loss(x: Any) -> Any:
        return portable_bce.bce_with_logits(x, y, reduction="sum", **keywords)

    grad, hess = differentiate(loss, backend.array(host))
    w, p = keywords.get("weight", 1.0), keywords.get("pos_weight", 1.0)
    u = keywords.get("label_smoothing", 0.0)
    more = contract.PER_FACTOR * (("pos_weight" in keywords) + ("label_smoothing" in keywords))
    for i, (x, target) in enumerate(zip(host, label, strict=True)):
        given = (x, target, w, p, u)
        shared = {"underflow": w * (1 + p), "flushes": backend.flushes_subnormals}
        spread = w * (1 + p) * reference.sigmoid(-abs(mpf(float(x))))
        first = ulp.error(grad[i], reference.logit_grad(*given), dtype, scale=spread, **shared)
        second = ulp.error(hess[i], reference.logit_hess(*given), dtype, **shared)
        assert first <= FIRST + more, given
        assert second <= SECOND + more, given


def test_derivatives_of_a_certain_and_right_prediction_are_finite(
    differentiable: tuple[Backend, Derivatives],
) -> None:
    backend, differentiate = differentiable
    host = np.asarray([0.0, 1.0, 0.0, 1.0, 0.5], dtype=np.float32)
    y = backend.array(np.asarray([0.0, 1.0, 1.0, 0.0, 0.25], dtype=np.float32))
    grad, hess = differentiate(
        lambda q: portable_bce.bce(q, y, reduction="sum"), backend.array(host)
    )
    np.testing.assert_array_equal(grad, [1, -1, -np.inf, np.inf, 1])
    np.testing.assert_array_equal(hess[[0, 1, 4]], [1, 1, 4])


@pytest.mark.parametrize("name", ["bce_with_logits", "bce"])
@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
def test_masked_nan_leaves_no_nan_in_a_derivative(
    differentiable: tuple[Backend, Derivatives], name: str, reduction: str
) -> None:
    backend, differentiate = differentiable
    dirty = backend.array(np.asarray([0.25, np.nan, np.inf, 0.5], dtype=np.float32))
    keep = backend.array(np.asarray([True, False, False, True]))
    keywords = {"weight": dirty, "pos_weight": dirty, "where": keep, "reduction": reduction}

    def loss(x: Any) -> Any:
        return getattr(portable_bce, name)(x, dirty, **keywords)

    grad, hess = differentiate(loss, dirty)
    assert np.all(np.isfinite(grad))
    assert np.all(np.isfinite(hess))
    assert not np.any(grad[[1, 2]])
    assert np.all(grad[[0, 3]])


def test_derivative_of_a_wholly_masked_mean_is_zero(
    differentiable: tuple[Backend, Derivatives],
) -> None:
    backend, differentiate = differentiable
    x = backend.array(np.asarray([1.0, np.nan], dtype=np.float32))
    where = backend.array(np.asarray([False, False]))
    grad, _ = differentiate(lambda x: portable_bce.bce_with_logits(x, 1, where=where), x)
    np.testing.assert_array_equal(grad, [0, 0])


def test_derivative_by_targets_is_minus_the_logit(
    differentiable: tuple[Backend, Derivatives],
) -> None:
    """Also at correctly classified hard labels, which where(d == 0, 0, x d) would lose."""
    backend, differentiate = differentiable
    host = np.asarray([3.0, -3.0, 50.0, -50.0, 0.0], dtype=np.float32)
    x = backend.array(host)
    y = backend.array(np.asarray([1.0, 0.0, 1.0, 0.0, 0.5], dtype=np.float32))
    grad, _ = differentiate(
        lambda y: portable_bce.bce_with_logits(x, y, reduction="sum") + 0 * (y * y).sum(), y
    )
    np.testing.assert_array_equal(grad, -host)


def test_derivative_by_targets_has_the_right_sign_at_infinity(
    differentiable: tuple[Backend, Derivatives],
) -> None:
    """The exact one is infinite; the guard against 0 times infinity leaves the largest float."""
    backend, differentiate = differentiable
    x = backend.array(np.asarray([np.inf, -np.inf], dtype=np.float32))
    y = backend.array(np.asarray([1.0, 0.0], dtype=np.float32))
    grad, _ = differentiate(
        lambda y: portable_bce.bce_with_logits(x, y, reduction="sum") + 0 * (y * y).sum(), y
    )
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(grad, [-largest, largest])


@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid", "softplus"])
def test_sigmoid_family_differentiates(
    differentiable: tuple[Backend, Derivatives], name: str
) -> None:
    """jax 2140: the derivative of log_sigmoid at 0 was 0."""
    backend, differentiate = differentiable
    host = np.asarray([0.0, -0.0, 2.0, -40.0, 40.0], dtype=np.float32)
    x = backend.array(host)
    grad, _ = differentiate(lambda x: getattr(portable_bce, name)(x).sum(), x)
    of = {
        "sigmoid": lambda x: reference.logit_hess(x, 0),
        "log_sigmoid": lambda x: -reference.logit_grad(x, 1),
        "softplus": lambda x: reference.logit_grad(x, 0),
    }
    for got, at in zip(grad, host, strict=True):
        assert ulp.error(got, of[name](at), "float32") <= SECOND


def test_half_gradients_come_back_in_half(
    differentiable: tuple[Backend, Derivatives],
) -> None:
    backend, differentiate = differentiable
    x = backend.array(np.asarray([-9.0, 0.0, 3.0]), "float16")
    grad, _ = differentiate(lambda x: portable_bce.bce_with_logits(x, 1, reduction="sum"), x)
    assert grad.dtype == np.float16
    for got, at in zip(grad, [-9.0, 0.0, 3.0], strict=True):
        assert ulp.error(got, reference.logit_grad(at, 1), "float16") <= 1


def test_pytorch_is_evaluated_in_no_context(
    differentiable: tuple[Backend, Derivatives],
) -> None:
    """torch.compile breaks its graph at np.errstate; other libraries may compute by NumPy."""
    backend, _ = differentiable
    assert isinstance(quiet(backend.xp), nullcontext) == backend.name.startswith("torch")
