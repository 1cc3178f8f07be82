"""A setting that JAX traces cannot be known: errors name what to do, and it works."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import portable_bce

jax = pytest.importorskip("jax")

X = np.asarray([[0.5, -1.0], [2.0, 3.0]], dtype=np.float32)
Y = np.ones_like(X)
HINT = (
    "It must be known while JAX traces: name it in `static_argnames` of `jax.jit`, or bind it by "
    "`functools.partial`"
)
SETTINGS: list[tuple[str, str, Any]] = [
    ("bce_with_logits", "label_smoothing", 0.1),
    ("bce_with_logits", "axis", 1),
    ("bce_with_logits", "axis", (0, 1)),
    ("bce", "eps", 1e-3),
]


@pytest.mark.parametrize(("function", "name", "value"), SETTINGS)
def test_a_traced_setting_is_told_by_its_name(function: str, name: str, value: Any) -> None:
    """Without an explanation "got DynamicJaxprTracer" says nothing to a user of JAX."""
    call = getattr(portable_bce, function)
    x = jax.nn.sigmoid(X)
    with pytest.raises(TypeError, match=rf"^`{name}` must be .*; got jax\..*Tracer\. ") as caught:
        jax.jit(call)(x, Y, **{name: value})
    assert HINT in str(caught.value)


@pytest.mark.parametrize(("function", "name", "value"), SETTINGS)
def test_both_mends_of_a_traced_setting_work(function: str, name: str, value: Any) -> None:
    call = getattr(portable_bce, function)
    x = jax.nn.sigmoid(X)
    static = jax.jit(call, static_argnames=name)(x, Y, **{name: value})
    bound = jax.jit(partial(call, **{name: value}))(x, Y)
    np.testing.assert_array_equal(static, bound)


def test_labels_that_jax_traces_beside_logits_of_numpy_are_told_the_mend() -> None:
    def loss(labels: Any) -> Any:
        return portable_bce.bce_with_logits(X, labels)

    with pytest.raises(TypeError, match=r"Use `jax\.numpy\.asarray\(logits\)`, too"):
        jax.grad(loss)(np.ones_like(X))
    mended = jax.grad(lambda y: portable_bce.bce_with_logits(jax.numpy.asarray(X), y))
    assert mended(np.ones_like(X)).shape == X.shape


def test_the_hint_for_another_dtype_is_one_that_the_device_has() -> None:
    """Without x64 "such as jax.numpy.float64" would lead into the next error."""
    with jax.enable_x64(False):
        x = jax.numpy.zeros(3)
        with pytest.raises(TypeError, match=r"such as jax\.numpy\.float32; got 'int8'"):
            portable_bce.bce_with_logits(x, 1, compute_dtype="int8")
        portable_bce.bce_with_logits(x, 1, compute_dtype=jax.numpy.float32)
