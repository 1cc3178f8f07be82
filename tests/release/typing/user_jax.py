"""What a user of JAX writes, and what type checkers must make of it.

A line marked as wrong must be an error, and no other may be one: test_typing.py.
"""

from typing import assert_type

import jax
import jax.numpy as jnp
import numpy as np

import portable_bce


def functions(logits: jax.Array, labels: jax.Array) -> None:
    loss = portable_bce.bce_with_logits(logits, labels, compute_dtype=jnp.float32)
    assert_type(loss, jax.Array)
    each = portable_bce.bce(jax.nn.sigmoid(logits), 1, reduction="none", where=labels > 0)
    assert_type(each, jax.Array)
    both = portable_bce.bce_with_logits_value_and_grad(logits, labels, weight=labels, axis=-1)
    assert_type(both, tuple[jax.Array, jax.Array])
    assert_type(portable_bce.bce_grad_and_hess(logits, labels), tuple[jax.Array, jax.Array])
    assert_type(portable_bce.log_sigmoid(logits), jax.Array)

    value, pullback = portable_bce.bce_with_logits_vjp(logits, labels)
    assert_type(value, jax.Array)
    assert_type(pullback(jnp.ones(())), tuple[jax.Array, jax.Array])
    assert_type(pullback(targets=False), tuple[jax.Array, None])


def losses(logits: jax.Array, labels: jax.Array) -> None:
    loss = portable_bce.BCEWithLogitsLoss(pos_weight=jnp.ones(3), reduction="sum")
    assert_type(loss(logits, labels, weight=np.float32(2)), jax.Array)
    assert_type(loss.value_and_grad(logits, labels), tuple[jax.Array, jax.Array])


@jax.jit
def compiled(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return portable_bce.bce_with_logits(logits, labels)


def transformed(logits: jax.Array, labels: jax.Array) -> None:
    # What JAX's own types say: Any.
    grad: jax.Array = jax.grad(portable_bce.bce_with_logits)(logits, labels)
    del grad


def mistakes(logits: jax.Array, labels: jax.Array) -> None:
    portable_bce.bce_with_logits("logits", labels)  # wrong
    portable_bce.bce_with_logits(logits, "1")  # wrong
    portable_bce.bce_with_logits(logits, labels, weight="balanced")  # wrong
    portable_bce.bce_with_logits(logits, labels, where=True)  # wrong
    portable_bce.bce_with_logits(logits, labels, reduction="avg")  # wrong
    portable_bce.bce_with_logits_vjp(logits, labels)[1]("1")  # wrong
    portable_bce.BCELoss(reduction="avg")  # wrong
    number: float = portable_bce.bce_with_logits(logits, labels)  # wrong
    del number
