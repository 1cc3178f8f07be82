"""CuPy's kernel that sums losses, on a device or on an emulated one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from portable_bce import _contract as contract
from portable_bce._evaluate import scaled
from portable_bce._runners import cupy as row
from portable_bce.testing import ulp
from tests.backends import emulated
from tests.libraries.cupy import on_device
from tests.libraries.cupy.kernels import KERNELS, NAMES, by_kernels, by_operations, job_of
from tests.libraries.cupy.on_device import APART, launches

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("forgotten")]

NAME = "binary_cross_entropy_sum"
DTYPES = ["float16", "float32", "float64"]
EVERY_KERNEL = pytest.mark.parametrize(("name", "dtype"), list(itertools.product(KERNELS, DTYPES)))


def arguments(name: str, dtype: str, shape: tuple[int, ...] = (3, 4)) -> dict[str, Any]:
    """Return arguments under the keywords of a kernel, which broadcast to (3, 4)."""
    u = np.random.default_rng(1).random(shape)
    x = u if "eps" in KERNELS[name] else 60 * u - 30
    keywords = {"x": x.astype(dtype), "y": u.T.reshape(shape) > 0.5, **KERNELS[name]}
    return keywords | {"reduction": "none", "axis": None}


def computed(cupy: Any, *wanted: str, **keywords: Any) -> list[Any]:
    """Evaluate on the device, from NumPy's arrays to NumPy's arrays."""
    return [one.get() for one in by_kernels(*wanted, **on_device.arrays(cupy, keywords))]


def launched(cupy: Any, *wanted: str, **keywords: Any) -> list[str]:
    given = on_device.arrays(cupy, keywords)
    return launches(lambda: by_kernels(*wanted, **given))


def exact_sum(cupy: Any, keywords: dict[str, Any]) -> float:
    """Return the exact sum of the losses as the kernel that writes them computes them."""
    x = keywords["x"]
    wide = x.astype(np.float32) if x.dtype == np.float16 else x  # as the kernel computes
    (losses,) = computed(cupy, "loss", **{**keywords, "x": wide, "reduction": "none"})
    return math.fsum(losses.ravel())


def assert_rounded(got: Any, exact: float, dtype: Any) -> None:
    assert got.dtype == dtype
    assert got.shape == ()
    with np.errstate(over="ignore"):
        wanted = np.asarray(exact).astype(dtype)
    assert ulp.distance(got, wanted).max() <= contract.SUM + contract.CONTRACTED


@EVERY_KERNEL
def test_the_loss_is_the_sum_of_the_losses_that_would_be_written(
    cupy: Any, name: str, dtype: str
) -> None:
    keywords = arguments(name, dtype)
    (loss,) = computed(cupy, "loss", **{**keywords, "reduction": "sum"})
    assert_rounded(loss, exact_sum(cupy, keywords), keywords["x"].dtype)


@EVERY_KERNEL
def test_derivatives_beside_a_sum_are_those_beside_losses(cupy: Any, name: str, dtype: str) -> None:
    keywords = arguments(name, dtype)
    wanted = computed(cupy, *NAMES, **keywords)[1:]
    got = computed(cupy, *NAMES, **{**keywords, "reduction": "sum"})[1:]
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == other.dtype
        assert ulp.distance(one, other).max() <= APART


@pytest.mark.parametrize("place", range(3))
def test_values_come_in_the_order_in_which_they_are_wanted(cupy: Any, place: int) -> None:
    keywords = arguments("logits", "float32") | {"reduction": "sum"}
    wanted = ["grad", "hess"]
    wanted.insert(place, "loss")
    found = dict(zip(wanted, computed(cupy, *wanted, **keywords), strict=True))
    for name, value in zip(NAMES, computed(cupy, *NAMES, **keywords), strict=True):
        if name in found:
            assert ulp.distance(found[name], value).max() <= APART


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
@pytest.mark.parametrize("where", [None, np.arange(4) > 0])
def test_loss_and_derivatives_share_one_denominator(cupy: Any, reduction: str, where: Any) -> None:
    keywords = arguments("logits", "float32")
    weight = np.linspace(0.5, 2, 12, dtype=np.float32).reshape(3, 4)
    keywords |= {"weight": weight, "where": where}
    kept = np.broadcast_to(True if where is None else where, (3, 4))
    shares = weight if reduction == "weighted_mean" else np.ones((3, 4))
    divisor = math.fsum(shares[kept])
    exact = exact_sum(cupy, keywords) / divisor
    (grad,) = computed(cupy, "grad", **{**keywords, "reduction": "sum"})
    loss, mean = computed(cupy, "loss", "grad", **{**keywords, "reduction": reduction})
    assert_rounded(loss, exact, np.float32)
    assert ulp.distance(mean, grad / np.float32(divisor)).max() <= APART


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
@pytest.mark.parametrize("where", [None, np.arange(4) > 0])
def test_a_denominator_that_is_counted_is_one_launch_more(
    cupy: Any, reduction: str, where: Any
) -> None:
    keywords = arguments("logits", "float32") | {"reduction": reduction, "where": where}
    keywords["weight"] = np.ones((3, 4), np.float32)
    is_counted = reduction == "weighted_mean" or where is not None
    assert launched(cupy, "loss", "grad", **keywords) == [NAME] * (1 + is_counted)


SIZES = [1, 2, 511, 512, 513, 4095, 4096, 4097, 5000, 70_000]


@pytest.mark.parametrize("size", SIZES)
def test_every_element_is_summed_once(cupy: Any, size: int) -> None:
    x = np.random.default_rng(size).normal(0, 9, size).astype(np.float32)
    keywords = {"x": x, "y": x > 1}
    (loss,) = computed(cupy, "loss", **keywords, reduction="sum")
    assert_rounded(loss, exact_sum(cupy, keywords), np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_one_launch_sums_as_long_as_one_block_is_as_fast_as_many(cupy: Any, size: int) -> None:
    x = np.ones(size, np.float32)
    expected = [NAME] * (1 if size <= row.ALONE else 2)
    assert launched(cupy, "loss", x=x, y=x, reduction="sum") == expected


@pytest.mark.parametrize(("threads", "blocks"), [(2, 1), (4, 3), (512, 2), (2, 64)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_losses_a_thread_are_summed_without_loss(
    cupy: Any, monkeypatch: pytest.MonkeyPatch, dtype: str, threads: int, blocks: int
) -> None:
    """Thousands a thread, as in an array of 10^10; all alike, so that no error cancels."""
    monkeypatch.setattr(row, "THREADS", threads)
    monkeypatch.setattr(row, "BLOCKS", blocks)
    monkeypatch.setattr(row, "ALONE", threads)
    keywords = {"x": np.full(20_001, -2.0, dtype=dtype), "y": 0.0}
    (loss,) = computed(cupy, "loss", **keywords, reduction="sum")
    assert_rounded(loss, exact_sum(cupy, keywords), np.dtype(dtype))


@pytest.mark.parametrize("place", [0, 1, 600, 4999])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [math.inf, math.nan])
def test_an_infinite_loss_gives_infinity_and_nan_gives_nan(
    cupy: Any, dtype: str, place: int, x: float
) -> None:
    logits = np.ones(5000, dtype)
    logits[place] = x
    (loss,) = computed(cupy, "loss", x=logits, y=0.0, reduction="mean")
    np.testing.assert_array_equal(loss, np.asarray(x, dtype))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (2, 3, 4, 5)])
def test_any_number_of_axes_is_summed_to_none(cupy: Any, shape: tuple[int, ...]) -> None:
    x = np.full(shape, -1.0, dtype=np.float64)
    keywords = {"y": np.zeros(shape), "weight": np.ones(shape[1:])}
    loss, grad = computed(cupy, "loss", "grad", x=x, **keywords, reduction="sum")
    assert_rounded(loss, x.size * math.log1p(math.exp(-1)), np.float64)
    assert grad.shape == shape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_which_thread_comes_first_makes_no_difference(cupy: Any, dtype: str) -> None:
    device = emulated()
    if device is None:
        pytest.skip("a device chooses itself")
    keywords = {"x": np.random.default_rng(3).normal(size=9000).astype(dtype), "y": 0.0}
    results = []
    for is_backwards in (False, True):
        device.run_backwards(is_backwards)
        results.append(computed(cupy, "loss", "grad", **keywords, reduction="mean"))
    device.run_backwards(False)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "changes", [{"axis": 0}, {"axis": ()}, {"reduction": "none"}, {"x": np.ones((0, 4))}]
)
def test_what_is_not_summed_to_one_number_is_written(cupy: Any, changes: dict[str, Any]) -> None:
    keywords = {"x": np.ones((3, 4)), "y": 1, "reduction": "sum"} | changes
    assert NAME not in launched(cupy, "loss", "grad", **keywords)
    loss, _ = computed(cupy, "loss", "grad", **keywords)
    (wanted,) = by_operations("loss", **on_device.arrays(cupy, keywords))
    assert loss.shape == wanted.shape
    assert ulp.distance(loss, wanted.get()).max(initial=0) <= APART + contract.SUM


def test_another_number_or_length_is_no_other_kernel(cupy: Any) -> None:
    for number, length in ((0.1, 5), (0.7, 9000)):
        x = np.ones(length, np.float32)
        computed(cupy, "loss", "grad", x=x, y=x, weight=number, reduction="mean")
    assert row.kernel_of.cache_info().misses == 1


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
@pytest.mark.parametrize("axis", [None, 0, (1,)])
@pytest.mark.parametrize("weight", [0.5, np.linspace(0.5, 2, 4), np.ones((3, 1), np.int8)])
def test_a_denominator_is_the_sum_of_what_is_kept(
    cupy: Any, reduction: str, axis: Any, weight: Any
) -> None:
    mask = np.arange(12).reshape(3, 4) % 5 > 0
    keywords = {"x": np.where(mask, np.inf, np.nan), "y": 0, "reduction": "sum", "where": mask}
    keywords |= {"weight": weight, "axis": axis}
    (_, slope) = computed(cupy, "loss", "grad", **keywords)
    (_, mean) = computed(cupy, "loss", "grad", **{**keywords, "reduction": reduction})
    shares = np.broadcast_to(weight, (3, 4)) if reduction == "weighted_mean" else np.ones((3, 4))
    kept = np.where(mask, shares, 0).sum(axis=axis, keepdims=True)
    assert ulp.distance(mean, slope / kept).max() <= APART


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cotangent", [1.0, -3.0, np.float32(0.1), np.ones((3, 1))])
def test_a_pullback_is_one_kernel(cupy: Any, dtype: str, cotangent: Any) -> None:
    mask = np.arange(12).reshape(3, 4) % 5 > 0
    x = cupy.ones((3, 4), dtype=dtype)
    keywords = {"where": cupy.asarray(mask), "weight": x, "label_smoothing": 0.1}
    inputs = job_of("grad", x=x, y=x, **keywords).arguments
    work = np.dtype(inputs.compute_dtype)
    slope = np.where(mask, 0.1, np.nan).astype(work)
    products = np.where(mask, np.asarray(cotangent, work) * slope, 0)
    factor = cotangent if isinstance(cotangent, float) else cupy.asarray(cotangent, dtype=work)
    given = (inputs, cupy.asarray(slope), factor, x.dtype)
    np.testing.assert_array_equal(scaled(*given).get(), products.astype(dtype), strict=True)
    assert len(launches(lambda: scaled(*given))) == 1
    total = scaled(*given, sums=True)
    assert_rounded(total.get(), math.fsum(products.ravel()), x.dtype)
    assert launches(lambda: scaled(*given, sums=True)) == [NAME]
