"""On a device nothing waits, nothing moves, and memory and stream are the caller's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.libraries.cupy.on_device import launches

pytestmark = pytest.mark.gpu

REDUCTIONS = ["none", "sum", "mean", "weighted_mean"]
# Keeps one multiprocessor busy for a second at 2 GHz.
SPIN = """
extern "C" __global__ void spin(long long ticks) {
    long long start = clock64();
    while (clock64() - start < ticks) { }
}
"""
TICKS = 2 * 10**9


def called(x: Any, reduction: str = "mean") -> tuple[Any, ...]:
    """Return all that a call computes from its arguments."""
    keywords = {"weight": x, "where": x > 0, "reduction": reduction}
    loss, pullback = portable_bce.bce_with_logits_vjp(x, 1, **keywords)
    return loss, *pullback(), *portable_bce.bce_with_logits_grad_and_hess(x, 1, **keywords)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_call_returns_while_the_kernel_before_it_still_runs(cupy: Any, reduction: str) -> None:
    x = cupy.ones((64, 64), dtype=cupy.float32)
    wanted = [one.get() for one in called(x, reduction)]  # and compiles
    spin = cupy.RawKernel(SPIN, "spin")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        called(x, reduction)  # memory of this stream's own
        spin((1,), (1,), (np.int64(1),))
        stream.synchronize()
        spin((1,), (1,), (np.int64(TICKS),))
        end = stream.record()
        got = called(x, reduction)
        still_running = not end.done
        stream.synchronize()
    assert still_running
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one.get(), other)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_memory_comes_from_the_current_allocator(cupy: Any, reduction: str) -> None:
    x = cupy.ones((64, 64), dtype=cupy.float32)
    pool = cupy.cuda.MemoryPool()
    before = cupy.get_default_memory_pool().used_bytes()
    with cupy.cuda.using_allocator(pool.malloc):
        got = called(x, reduction)
    assert pool.used_bytes() >= sum(one.nbytes for one in got)
    assert cupy.get_default_memory_pool().used_bytes() == before


def test_a_call_that_runs_out_of_memory_says_so_and_the_next_one_works(cupy: Any) -> None:
    x = cupy.ones(2**22, dtype=cupy.float32)
    pool = cupy.cuda.MemoryPool()
    pool.set_limit(size=2**20)
    with (
        cupy.cuda.using_allocator(pool.malloc),
        pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="limit"),
    ):
        portable_bce.bce_with_logits_value_and_grad(x, 1)
    loss, _ = portable_bce.bce_with_logits_value_and_grad(x, 1)
    exact = np.log1p(np.exp(-np.float64(1))).astype(np.float32)
    assert ulp.distance(loss.get(), exact) <= contract.HARD.loss + contract.SUM


def test_results_stay_on_the_second_device(cupy: Any) -> None:
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one CUDA device")
    with cupy.cuda.Device(1):
        x = cupy.ones((64, 64), dtype=cupy.float32)
        assert all(one.device == x.device for one in called(x))
    with cupy.cuda.Device(0):
        y = cupy.ones((64, 64), dtype=cupy.float32)
    with cupy.cuda.Device(1), pytest.raises(ValueError, match="must be on the device of"):
        portable_bce.bce_with_logits(x, y)


def test_more_than_two_to_the_31_elements(cupy: Any) -> None:
    """An index that is a 32-bit number somewhere would wrap around."""
    free, _ = cupy.cuda.runtime.memGetInfo()
    size = 2**31 + 7
    if free < 16 * size:
        pytest.skip(f"{free / 2**30:.0f} GiB of memory are free on the device")
    x = cupy.zeros(size, dtype=cupy.float16)
    x[-1], x[2**31 - 1] = 9, -9
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, 0, reduction="none")
    for place in (0, 2**31 - 1, 2**31, size - 1):
        one = np.float64(float(x[place]))
        assert ulp.distance(grad[place].get(), np.float16(1 / (1 + np.exp(-one)))) <= 1
        assert ulp.distance(loss[place].get(), np.float16(np.log1p(np.exp(one)))) <= 1
    del loss, grad
    mean = portable_bce.bce_with_logits(x, 0)
    assert ulp.distance(mean.get(), np.float16(np.log(2))) <= 1
    cupy.get_default_memory_pool().free_all_blocks()


def test_elementwise_results_take_one_kernel(cupy: Any) -> None:
    x = cupy.ones(1000, dtype=cupy.float32)
    value_and_grad = portable_bce.bce_with_logits_value_and_grad
    assert len(launches(lambda: value_and_grad(x, x, reduction="none"))) == 1


@pytest.mark.parametrize(("size", "expected"), [(1000, 1), (10**6, 2)])
def test_a_mean_takes_one_kernel_or_one_more_for_the_sums_of_blocks(
    cupy: Any, size: int, expected: int
) -> None:
    x = cupy.ones(size, dtype=cupy.float32)
    found = launches(lambda: portable_bce.bce_with_logits_value_and_grad(x, x))
    assert len(found) == expected, found


def test_a_mask_takes_as_many_kernels_again_to_be_counted(cupy: Any) -> None:
    x = cupy.ones(10**6, dtype=cupy.float32)
    kept = x > 0
    found = launches(lambda: portable_bce.bce_with_logits_value_and_grad(x, x, where=kept))
    assert len(found) == 4, found


def test_a_pullback_takes_one_kernel_for_each_derivative(cupy: Any) -> None:
    x = cupy.ones(10**6, dtype=cupy.float16)
    _, pullback = portable_bce.bce_with_logits_vjp(x, x, where=x > 0)
    assert len(launches(lambda: pullback(2.0, targets=False))) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("size", [1, 4096, 4097, 10**7 + 1])
def test_equal_losses_have_a_mean_of_the_same_size(cupy: Any, dtype: str, size: int) -> None:
    """Where no rounding cancels another; NVRTC contracts products in two kernels apart."""
    x = cupy.full(size, -2, dtype=dtype)
    loss, _ = portable_bce.bce_with_logits_value_and_grad(x, 0)
    (one,) = portable_bce.bce_with_logits(x[:1], 0, reduction="none").get()
    assert ulp.distance(loss.get(), one) <= contract.SUM + contract.CONTRACTED
