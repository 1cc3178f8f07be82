"""CuPy's one kernel on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _fused
from portable_bce._formula import with_logits
from portable_bce.testing import ulp
from tests import on_device
from tests.fused import KERNELS, NAMES, fused, plain

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
    got, wanted = (one(cupy, *NAMES, **keywords) for one in (fused, plain))
    for one, other in zip(got, wanted, strict=True):
        assert ulp.distance(one.get(), other.get()).max() <= on_device.APART


def test_another_number_is_no_other_kernel_on_a_device(cupy: Any) -> None:
    x = cupy.ones((3, 4), dtype=cupy.float32)
    for number in (0.1, 0.7):
        portable_bce.bce_with_logits_value_and_grad(x, number, weight=number)
    wanted = ("loss", "grad")
    kernel: Any = _fused._kernel(cupy, with_logits, (), 0.0, x.dtype, wanted, (x.dtype, x.dtype))
    assert _fused._kernel.cache_info().misses == 1
    assert kernel.new_fusion is None  # which fuses less, and for one shape
    assert len(kernel._memo) == 1
