"""CuPy's elementwise kernel on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce._runners import cupy as row
from portable_bce.testing import ulp
from tests.libraries.cupy import on_device
from tests.libraries.cupy.kernels import KERNELS, NAMES, by_kernels, by_operations

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("forgotten")]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_kernel_gives_what_plain_operations_give_on_a_device(
    cupy: Any, name: str, dtype: str
) -> None:
    x = np.linspace(0.01, 0.99, 12).reshape(3, 4)
    x = (x if "eps" in KERNELS[name] else 60 * x - 30).astype(dtype)
    keywords = {"x": x, "y": np.arange(12).reshape(3, 4) % 3 > 0, **KERNELS[name]}
    keywords = on_device.arrays(cupy, keywords)
    results, expected = (way(*NAMES, **keywords) for way in (by_kernels, by_operations))
    for result, value in zip(results, expected, strict=True):
        assert (result.dtype, result.shape) == (value.dtype, value.shape)
        assert ulp.distance(result.get(), value.get()).max() <= on_device.APART


def test_arrays_are_read_where_they_lie(cupy: Any) -> None:
    """Transposed, strided, reversed and broadcast, each as its copy would be read."""
    u = cupy.asarray(np.random.default_rng(2).normal(size=(8, 6)).astype(np.float32))
    views = {"x": u.T[::2, ::-1], "y": u[::-1, :3].T > 0, "weight": abs(u)[:1, :3].T}
    views |= {"pos_weight": cupy.broadcast_to(abs(u[0, 0]), (3, 8)), "where": u[:, 3] < 1}
    copies = {name: one.copy(order="C") for name, one in views.items()}
    for reduction in ("none", "mean"):
        results, expected = (
            by_kernels("loss", "grad", **arguments, reduction=reduction)
            for arguments in (views, copies)
        )
        for result, value in zip(results, expected, strict=True):
            assert ulp.distance(result.get(), value.get()).max() <= on_device.APART


def test_a_number_beyond_the_compute_dtype_is_infinite_in_silence(cupy: Any) -> None:
    x = cupy.full(3, -1, dtype=cupy.float32)
    for reduction in ("none", "sum"):
        loss = portable_bce.bce_with_logits(x, 1, weight=1e39, reduction=reduction)
        assert np.all(np.isposinf(loss.get()))


def test_another_number_compiles_nothing_on_a_device(
    cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = cupy.ones((3, 4), dtype=cupy.float32)

    def call(number: float) -> Any:
        keywords = {"weight": number, "label_smoothing": number, "reduction": "none"}
        return portable_bce.bce_with_logits_value_and_grad(x, number, **keywords)

    assert len(on_device.sources(monkeypatch, lambda: [call(one) for one in (0.1, 0.7)])) == 1
    assert row.kernel_of.cache_info().misses == 1
