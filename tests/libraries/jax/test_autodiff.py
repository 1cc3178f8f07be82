"""JAX's transforms, weak types and shapes, with x64 and without."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from tests.autodiff import apart

jax = pytest.importorskip("jax")
jnp = jax.numpy
check_grads = importlib.import_module("jax.test_util").check_grads

SPECIAL = [0.0, -0.0, -40.0, 50.0, np.inf, -np.inf, 1.0, -2.0]
NAMES = ("logits", "targets", "weight", "pos_weight")
SETTINGS: dict[str, dict[str, Any]] = {
    "mean": {},
    "none": {"reduction": "none"},
    "sum, smoothed": {"reduction": "sum", "label_smoothing": 0.1},
    "weighted mean over an axis": {"reduction": "weighted_mean", "axis": 0},
    "mean of what is kept": {"where": True},
}


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def wide(request: pytest.FixtureRequest) -> Iterator[bool]:
    with jax.enable_x64(request.param):
        yield request.param


def gradients() -> dict[str, Callable[[Callable[[Any], Any], Any], Any]]:
    """Return JAX's ways to a gradient."""

    def pushed(loss: Callable[[Any], Any], x: Any) -> Any:
        def along(one: Any) -> Any:
            return jax.jvp(loss, (x,), (one,))[1]

        return jax.vmap(along)(jnp.eye(len(x), dtype=x.dtype))

    def scanned(loss: Callable[[Any], Any], x: Any) -> Any:
        """In a loop that is compiled once, an element at a time."""
        return jax.lax.map(jax.grad(loss), x)

    return {
        "grad": lambda loss, x: jax.grad(loss)(x),
        "value_and_grad": lambda loss, x: jax.value_and_grad(loss)(x)[1],
        "jit of grad": lambda loss, x: jax.jit(jax.grad(loss))(x),
        "grad of jit": lambda loss, x: jax.grad(jax.jit(loss))(x),
        "vjp": lambda loss, x: jax.vjp(loss, x)[1](jnp.ones((), x.dtype))[0],
        "jacrev": lambda loss, x: jax.jacrev(loss)(x),
        "jacfwd": lambda loss, x: jax.jacfwd(loss)(x),
        "jvp": pushed,
        "vmap": lambda loss, x: jax.vmap(jax.grad(loss))(x),
        "map": scanned,
        "linearize": lambda loss, x: jax.vmap(jax.linearize(loss, x)[1])(
            jnp.eye(len(x), dtype=x.dtype)
        ),
        "checkpoint": lambda loss, x: jax.grad(jax.checkpoint(loss))(x),
    }


@pytest.mark.parametrize("how", gradients())
def test_every_transform_finds_the_gradient(wide: bool, how: str) -> None:
    x = jnp.asarray(SPECIAL)
    assert x.dtype == (jnp.float64 if wide else jnp.float32)
    wanted = portable_bce.bce_with_logits_value_and_grad(x, 1, reduction="sum")[1]
    got = gradients()[how](lambda x: portable_bce.bce_with_logits(x, 1, reduction="sum"), x)
    near = contract.AUTODIFF + contract.CONTRACTED
    assert apart(np.asarray(got), np.asarray(wanted), flushes=True) <= near


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("compiled", [False, True])
def test_hessian_is_the_diagonal_that_we_return(wide: bool, compiled: bool, reduction: str) -> None:
    x = jnp.asarray(SPECIAL)
    keywords = {"pos_weight": 2.0, "reduction": reduction}
    matrix = jax.hessian(lambda x: portable_bce.bce_with_logits(x, 1, **keywords))
    got = (jax.jit(matrix) if compiled else matrix)(x)
    _, wanted = portable_bce.bce_with_logits_grad_and_hess(x, 1, **keywords)
    near = 2 * contract.AUTODIFF + contract.CONTRACTED + contract.SUM * (reduction == "mean")
    assert apart(np.asarray(got), np.diag(np.asarray(wanted)), flushes=True) <= near


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        ("bce_with_logits", "none"),
        ("bce_with_logits", "weighted mean over an axis"),
        ("bce_with_logits", "mean of what is kept"),
        ("bce", "sum, smoothed"),
    ],
)
def test_finite_differences_agree_to_second_order_by_every_argument(
    function: str, settings: str
) -> None:
    given = dict(SETTINGS[settings])
    with jax.enable_x64(True):
        if given.pop("where", None):
            given["where"] = jnp.asarray([[True, False, True], [True, True, True]])
        operands = [
            jnp.asarray([[0.2, 0.5, 0.7], [0.3, 0.4, 0.6]]),
            jnp.asarray([[0.0, 1.0, 0.3], [1.0, 0.5, 0.0]]),
            jnp.asarray([0.5, 2.0, 1.0]),
            jnp.asarray([[3.0], [0.4]]),
        ]

        def loss(x: Any, y: Any, w: Any, p: Any) -> Any:
            return getattr(portable_bce, function)(x, y, weight=w, pos_weight=p, **given)

        check_grads(jax.jit(loss), operands, order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_weakly_typed_factors_do_not_widen(wide: bool, dtype: str) -> None:
    """Nor do those of float64, or integer labels: the result has the logits' dtype."""
    x = jnp.asarray([0.0, 2.0], dtype=dtype)
    weak = jnp.full((), 3.0)
    keywords = {"weight": weak, "pos_weight": 2.0, "reduction": "sum"}
    for y in (1, True, jnp.ones(2, jnp.int8), jnp.ones(2)):
        loss, pullback = portable_bce.bce_with_logits_vjp(x, y, **keywords)
        slope = jax.grad(lambda x, y=y: portable_bce.bce_with_logits(x, y, **keywords))(x)
        assert {str(one.dtype) for one in (loss, slope, pullback()[0])} == {dtype}


def test_weakly_typed_logits_keep_their_dtype(wide: bool) -> None:
    """What jit and grad make of a Python number."""
    own = jnp.float64 if wide else jnp.float32

    def loss(x: Any) -> Any:
        assert x.weak_type
        found = portable_bce.bce_with_logits(x, 1.0, weight=jnp.float32(2.0))
        assert found.dtype == x.dtype == own
        return found

    slope = jax.grad(loss)(0.5)
    assert slope.dtype == jax.jit(loss)(0.5).dtype == own
    exact = portable_bce.bce_with_logits_value_and_grad(jnp.asarray(0.5, own), 1.0, weight=2.0)[1]
    assert apart(np.asarray(slope), np.asarray(exact)) <= contract.AUTODIFF


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 1), (2, 0, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gradients_have_the_shape_of_their_argument(
    wide: bool, reduction: str, shape: tuple[int, ...]
) -> None:
    x = jnp.linspace(-3, 3, int(np.prod(shape))).reshape(shape)
    weight = jnp.ones(shape[-1:])

    def loss(x: Any, weight: Any) -> Any:
        return portable_bce.bce_with_logits(x, 0.3, weight=weight, reduction=reduction).sum()

    by_x, by_weight = jax.grad(loss, argnums=(0, 1))(x, weight)
    assert by_x.shape == shape
    assert by_weight.shape == weight.shape
    assert np.all(np.isfinite(by_x))
    assert np.all(np.isfinite(by_weight))
