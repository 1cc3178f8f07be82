"""MLX differentiates, compiles and maps the functions, and keeps the tails that its loss loses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import reference, ulp
from tests.libraries.conforming.libraries import named, names_here

pytestmark = pytest.mark.skipif("mlx" not in names_here(), reason="mlx is not installed")

# Up to a subnormal exponential; MLX's own exponential is 0 from -88 on.
SIZES = [0.0, 0.4, 3.0, 20.0, 40.0, 87.4, 95.0, 103.0, np.inf]
X = np.asarray([sign * size for size in SIZES for sign in (1, -1)], np.float32)


@pytest.fixture
def mx() -> Any:
    named("mlx")
    import mlx.core as mx

    return mx


def summed(x: Any) -> Any:
    return portable_bce.bce_with_logits(x, 1.0, reduction="sum")


def largest_error(got: Any, law: Any) -> float:
    exact = [law(float(logit), 1.0) for logit in X]
    pairs = zip(np.asarray(got), exact, strict=True)
    return max(ulp.error(value, wanted, "float32") for value, wanted in pairs)


def test_gradient_by_mlx_keeps_the_tail(mx: Any) -> None:
    bound = contract.HARD.grad + contract.AUTODIFF
    assert largest_error(mx.grad(summed)(mx.array(X)), reference.logit_grad) <= bound


def test_own_loss_of_mlx_is_what_we_are_better_than(mx: Any) -> None:
    """If this fails, the pages have to be changed."""
    nn = pytest.importorskip("mlx.nn")
    loss = nn.losses.binary_cross_entropy(mx.array([20.0]), mx.array([1.0]), reduction="none")
    assert float(loss[0]) == 0.0
    assert portable_bce.bce_with_logits(mx.array([20.0]), 1.0).item() > 2e-9


def test_second_derivative_by_mlx_is_the_hessian(mx: Any) -> None:
    hess = mx.grad(lambda x: mx.grad(summed)(x).sum())(mx.array(X))
    bound = contract.HARD.hess + 2 * contract.AUTODIFF
    assert largest_error(hess, reference.logit_hess) <= bound


def test_value_and_grad_of_mlx_are_ours(mx: Any) -> None:
    x = mx.array(X[np.isfinite(X)])
    loss, grad = mx.value_and_grad(summed)(x)
    wanted, slope = portable_bce.bce_with_logits_value_and_grad(x, 1.0, reduction="sum")
    np.testing.assert_array_equal(np.asarray(loss), np.asarray(wanted))
    assert ulp.distance(np.asarray(grad), np.asarray(slope)).max() <= contract.AUTODIFF


def test_derivatives_with_respect_to_targets_and_weights_come_through(mx: Any) -> None:
    x, y, w = mx.array([2.0, -30.0]), mx.array([0.25, 1.0]), mx.array([2.0, 3.0])

    def loss(y: Any, w: Any) -> Any:
        return portable_bce.bce_with_logits(x, y, weight=w, reduction="sum")

    by_y, by_w = mx.grad(loss, argnums=(0, 1))(y, w)
    np.testing.assert_array_equal(np.asarray(by_y), [-4.0, 90.0])
    losses = portable_bce.bce_with_logits(x, y, reduction="none")
    assert ulp.distance(np.asarray(by_w), np.asarray(losses)).max() <= contract.AUTODIFF


def test_compiled_values_are_within_the_contract(mx: Any) -> None:
    """A compiler may contract a product and a sum."""
    both = mx.compile(
        lambda x: portable_bce.bce_with_logits_value_and_grad(x, 1.0, reduction="none")
    )
    loss, grad = both(mx.array(X))
    bounds = contract.HARD.widened(contract.CONTRACTED)
    assert largest_error(loss, reference.logit_loss) <= bounds.loss
    assert largest_error(grad, reference.logit_grad) <= bounds.grad


def test_compiled_gradient_serves_every_shape(mx: Any) -> None:
    grad = mx.compile(mx.grad(summed), shapeless=True)
    for shape in [(3,), (5,)]:
        np.testing.assert_array_equal(np.asarray(grad(mx.zeros(shape))), np.full(shape, -0.5))


def test_mapped_function_is_that_of_the_rows(mx: Any) -> None:
    x = mx.array(X[:16].reshape(4, 4))

    def row(x: Any) -> Any:
        return portable_bce.bce_with_logits_value_and_grad(x, 1.0)

    for got, wanted in zip(
        mx.vmap(row)(x),
        portable_bce.bce_with_logits_value_and_grad(x, 1.0, axis=1),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))
    slopes = mx.vmap(mx.grad(lambda x: row(x)[0]))(x)
    wanted = portable_bce.bce_with_logits_value_and_grad(x, 1.0, axis=1)[1]
    assert ulp.distance(np.asarray(slopes), np.asarray(wanted)).max() <= contract.AUTODIFF


def test_float64_has_its_digits(mx: Any) -> None:
    """MLX's own exponential has those of float32."""
    x = np.linspace(-745, 745, 99)
    with mx.stream(mx.cpu):
        loss, grad = portable_bce.bce_with_logits_value_and_grad(
            mx.array(x.tolist(), mx.float64), 0.25, reduction="none"
        )
        wanted, slope = portable_bce.bce_with_logits_value_and_grad(x, 0.25, reduction="none")
        bounds = contract.DOUBLE.widened(contract.SUBNORMAL)
        assert ulp.distance(np.asarray(loss), wanted).max() <= bounds.loss
        assert ulp.distance(np.asarray(grad), slope).max() <= bounds.grad
