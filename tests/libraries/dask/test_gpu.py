"""Dask over CuPy: chunks are computed where they lie, and stay there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.libraries.cupy.on_device import APART

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("synchronous")]

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 5, (40, 30)).astype(np.float32)
LABELS = RNG.random((40, 30)) < 0.3


@pytest.fixture
def arguments(cupy: Any) -> dict[str, Any]:
    array = pytest.importorskip("dask.array")
    values = {"logits": LOGITS, "targets": LABELS, "weight": abs(LOGITS) + 1, "where": LOGITS < 4}
    return {
        name: array.from_array(cupy.asarray(value), chunks=(10, 30))
        for name, value in values.items()
    }


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
def test_chunks_of_cupy_give_what_cupy_gives(
    cupy: Any, arguments: dict[str, Any], reduction: str
) -> None:
    call = portable_bce.bce_with_logits_value_and_grad
    got = call(**arguments, reduction=reduction, label_smoothing=0.1)
    whole = {name: one.compute() for name, one in arguments.items()}
    wanted = call(**whole, reduction=reduction, label_smoothing=0.1)
    for one, other in zip(got, wanted, strict=True):
        assert isinstance(one._meta, cupy.ndarray)
        computed = one.compute()
        assert isinstance(computed, cupy.ndarray)
        assert computed.dtype == other.dtype
        assert ulp.distance(computed.get(), other.get()).max() <= APART + contract.SUM


def test_a_pullback_over_chunks_of_cupy_returns_chunks_of_cupy(
    cupy: Any, arguments: dict[str, Any]
) -> None:
    _, pullback = portable_bce.bce_with_logits_vjp(**arguments)
    for one in pullback(2.0):
        assert isinstance(one.compute(), cupy.ndarray)
