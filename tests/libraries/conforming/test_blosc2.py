"""Blosc2's arrays are evaluated chunk by chunk, by NumPy's row, and stay compressed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.libraries.conforming.libraries import named, names_here

pytestmark = pytest.mark.skipif("blosc2" not in names_here(), reason="blosc2 is not installed")

SHAPE, CHUNKS = (30, 70), (8, 16)
RNG = np.random.default_rng(7)
X = RNG.normal(0, 9, SHAPE).astype(np.float32)
Y = RNG.random(SHAPE) < 0.3
WEIGHT = RNG.uniform(0.5, 2, 70).astype(np.float32)
KEEP = RNG.random((30, 1)) < 0.6


@pytest.fixture
def blosc2() -> Any:
    named("blosc2")
    import blosc2

    return blosc2


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
def test_chunks_give_what_arrays_in_memory_give(blosc2: Any, reduction: str, axis: Any) -> None:
    keywords = {"reduction": reduction, "axis": None if reduction == "none" else axis}

    def both(x: Any, y: Any, weight: Any, where: Any) -> Any:
        return portable_bce.bce_with_logits_value_and_grad(
            x, y, weight=weight, where=where, **keywords
        )

    x = blosc2.asarray(X, chunks=CHUNKS)
    given = (blosc2.asarray(Y, chunks=(5, 70)), blosc2.asarray(WEIGHT), blosc2.asarray(KEEP))
    loss, grad = both(x, *given)
    wanted, slope = both(X, Y, WEIGHT, KEEP)
    assert grad.chunks == CHUNKS
    assert ulp.distance(loss[()], np.asarray(wanted)).max() <= contract.SUM
    assert ulp.distance(grad[()], slope).max() <= contract.COUNTED + contract.SUM


def test_results_are_compressed_arrays(blosc2: Any) -> None:
    x = blosc2.zeros((200_000,), dtype=np.float32)
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, 1.0)
    assert loss.shape == ()
    assert type(loss) is type(grad) is blosc2.NDArray
    assert grad.schunk.cratio > 20


def test_lazy_expressions_are_operands_like_others(blosc2: Any) -> None:
    x = blosc2.asarray(X, chunks=CHUNKS)
    loss = portable_bce.bce_with_logits(x + 1, x > 0)
    assert loss[()] == portable_bce.bce_with_logits(X + 1, X > 0)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_counted_mean_is_rounded_once_in_the_dtype_of_the_logits(blosc2: Any, dtype: Any) -> None:
    x, where = X.astype(dtype), np.broadcast_to(KEEP, SHAPE).copy()
    grad = portable_bce.bce_with_logits_value_and_grad(
        blosc2.asarray(x, chunks=CHUNKS), 1.0, where=blosc2.asarray(where)
    )[1]
    slope = portable_bce.bce_with_logits_value_and_grad(x, 1.0, where=where)[1]
    assert grad.dtype == dtype
    assert ulp.distance(grad[()], slope).max() <= contract.COUNTED + contract.SUM
