"""CuPy's kernel that sums the losses: its own source, run on the CPU and compiled for a GPU."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from portable_bce import _contract as contract
from portable_bce import _fused, _fused_sums
from portable_bce._runners import scaled
from portable_bce.testing import ulp
from tests.emulated import Emulated
from tests.fused import KERNELS, NAMES, Unfused, fused, gathered, nvrtc, source

NAME = "binary_cross_entropy_sum"
DTYPES = ["float16", "float32", "float64"]
EVERY_KERNEL = pytest.mark.parametrize(("name", "dtype"), list(itertools.product(KERNELS, DTYPES)))


@pytest.fixture
def emulated() -> Emulated:
    pytest.importorskip("cupy")
    return Emulated()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    caches = (_fused._kernel, _fused_sums._beside, _fused_sums._last)
    for one in caches:
        one.cache_clear()
    yield
    for one in caches:
        one.cache_clear()


def arguments(name: str, dtype: str, shape: tuple[int, ...] = (3, 4)) -> dict[str, Any]:
    """Return arguments under the keywords of a kernel, which broadcast to (3, 4)."""
    u = np.random.default_rng(1).random(shape)
    x = u if "eps" in KERNELS[name] else 60 * u - 30
    keywords = {"x": x.astype(dtype), "y": u.T.reshape(shape) > 0.5, **KERNELS[name]}
    return keywords | {"reduction": "none", "axis": None}


def exact_sum(library: Emulated, keywords: dict[str, Any]) -> float:
    """Return the exact sum of the losses as the kernel that writes them computes them."""
    x = keywords["x"]
    wide = x.astype(np.float32) if x.dtype == np.float16 else x  # as the kernel computes
    (losses,) = fused(library, "loss", **{**keywords, "x": wide, "reduction": "none"})
    return math.fsum(losses.ravel())


def assert_rounded(got: Any, exact: float, dtype: Any) -> None:
    assert got.dtype == dtype
    assert got.shape == ()
    with np.errstate(over="ignore"):
        assert ulp.distance(got, np.asarray(exact).astype(dtype)).max() <= contract.SUM


@EVERY_KERNEL
def test_the_loss_is_the_sum_of_the_losses_that_would_be_written(
    emulated: Emulated, name: str, dtype: str
) -> None:
    keywords = arguments(name, dtype)
    exact = exact_sum(emulated, keywords)
    emulated.launches.clear()
    (loss,) = fused(emulated, "loss", **{**keywords, "reduction": "sum"})
    assert emulated.launches == [NAME]
    assert_rounded(loss, exact, keywords["x"].dtype)


@EVERY_KERNEL
def test_derivatives_beside_a_sum_are_those_beside_losses_to_the_last_bit(
    emulated: Emulated, name: str, dtype: str
) -> None:
    keywords = arguments(name, dtype)
    wanted = fused(emulated, *NAMES, **keywords)[1:]
    got = fused(emulated, *NAMES, **{**keywords, "reduction": "sum"})[1:]
    for one, other in zip(got, wanted, strict=True):
        assert type(one) is np.ndarray
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("place", range(3))
def test_values_come_in_the_order_in_which_they_are_wanted(emulated: Emulated, place: int) -> None:
    keywords = arguments("logits", "float32") | {"reduction": "sum"}
    wanted = ["grad", "hess"]
    wanted.insert(place, "loss")
    found = dict(zip(wanted, fused(emulated, *wanted, **keywords), strict=True))
    for name, value in zip(NAMES, fused(emulated, *NAMES, **keywords), strict=True):
        if name in found:
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
@pytest.mark.parametrize("where", [None, np.arange(4) > 0])
def test_loss_and_derivatives_share_one_denominator(
    emulated: Emulated, reduction: str, where: Any
) -> None:
    keywords = arguments("logits", "float32")
    weight = np.linspace(0.5, 2, 12, dtype=np.float32).reshape(3, 4)
    keywords |= {"weight": weight, "where": where}
    kept = np.broadcast_to(True if where is None else where, (3, 4))
    shares = weight if reduction == "weighted_mean" else np.ones((3, 4))
    divisor = math.fsum(shares[kept])
    exact = exact_sum(emulated, keywords) / divisor
    (grad,) = fused(emulated, "grad", **{**keywords, "reduction": "sum"})
    emulated.launches.clear()
    loss, mean = fused(emulated, "loss", "grad", **{**keywords, "reduction": reduction})
    is_counted = reduction == "weighted_mean" or where is not None
    assert emulated.launches == [NAME] * (1 + is_counted)
    assert_rounded(loss, exact, np.float32)
    np.testing.assert_array_equal(mean, grad / np.float32(divisor))


@pytest.mark.parametrize("size", [1, 2, 511, 512, 513, 4095, 4096, 4097, 5000, 70_000])
def test_every_element_is_summed_once(emulated: Emulated, size: int) -> None:
    """In one launch as long as one block is as fast as many, in two from there on."""
    x = np.random.default_rng(size).normal(0, 9, size).astype(np.float32)
    keywords = {"x": x, "y": x > 1}
    exact = exact_sum(emulated, keywords)
    emulated.launches.clear()
    (loss,) = fused(emulated, "loss", **keywords, reduction="sum")
    assert emulated.launches == [NAME] * (1 if size <= _fused_sums.ALONE else 2)
    assert_rounded(loss, exact, np.float32)


@pytest.mark.parametrize(("threads", "blocks"), [(2, 1), (4, 3), (512, 2), (2, 64)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_losses_a_thread_are_summed_without_loss(
    emulated: Emulated, monkeypatch: pytest.MonkeyPatch, dtype: str, threads: int, blocks: int
) -> None:
    """Thousands a thread, as in an array of 10^10; all alike, so that no error cancels."""
    monkeypatch.setattr(_fused_sums, "THREADS", threads)
    monkeypatch.setattr(_fused_sums, "BLOCKS", blocks)
    monkeypatch.setattr(_fused_sums, "ALONE", threads)
    keywords = {"x": np.full(20_001, -2.0, dtype=dtype), "y": 0.0}
    exact = exact_sum(emulated, keywords)
    (loss,) = fused(emulated, "loss", **keywords, reduction="sum")
    assert_rounded(loss, exact, np.dtype(dtype))


@pytest.mark.parametrize("place", [0, 1, 600, 4999])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [math.inf, math.nan])
def test_an_infinite_loss_gives_infinity_and_nan_gives_nan(
    emulated: Emulated, dtype: str, place: int, x: float
) -> None:
    logits = np.ones(5000, dtype)
    logits[place] = x
    (loss,) = fused(emulated, "loss", x=logits, y=0.0, reduction="mean")
    np.testing.assert_array_equal(loss, np.asarray(x, dtype))


def test_arrays_are_read_where_they_lie(emulated: Emulated) -> None:
    """Transposed, strided, reversed and broadcast, each as its copy would be read."""
    u = np.random.default_rng(2).normal(size=(8, 6)).astype(np.float32)
    views = {"x": u.T[::2, ::-1], "y": u[::-1, :3].T > 0, "weight": u[:1, :3].T}
    views |= {"pos_weight": np.broadcast_to(u[0, 0], (3, 8)), "where": u[:, 3] < 1}
    views["weight"] = np.abs(views["weight"])
    views["pos_weight"] = np.abs(views["pos_weight"])
    copies = {name: one.copy() for name, one in views.items()}
    got, wanted = (
        fused(emulated, "loss", "grad", **one, reduction="mean") for one in (views, copies)
    )
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (2, 3, 4, 5)])
def test_any_number_of_axes_is_summed_to_none(emulated: Emulated, shape: tuple[int, ...]) -> None:
    x = np.full(shape, -1.0, dtype=np.float64)
    keywords = {"y": np.zeros(shape), "weight": np.ones(shape[1:])}
    loss, grad = fused(emulated, "loss", "grad", x=x, **keywords, reduction="sum")
    assert_rounded(loss, x.size * math.log1p(math.exp(-1)), np.float64)
    assert grad.shape == shape


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_which_thread_comes_first_makes_no_difference(emulated: Emulated, dtype: str) -> None:
    keywords = {"x": np.random.default_rng(3).normal(size=9000).astype(dtype), "y": 0.0}
    backwards = Emulated(is_backwards=True)
    got, wanted = (
        fused(library, "loss", "grad", **keywords, reduction="mean")
        for library in (emulated, backwards)
    )
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "changes", [{"axis": 0}, {"axis": ()}, {"reduction": "none"}, {"x": np.ones((0, 4))}]
)
def test_what_is_not_summed_to_one_number_is_written(
    emulated: Emulated, changes: dict[str, Any]
) -> None:
    keywords = {"x": np.ones((3, 4)), "y": 1, "reduction": "sum"} | changes
    emulated.launches.clear()
    loss, _ = fused(emulated, "loss", "grad", **keywords)
    assert NAME not in emulated.launches
    np.testing.assert_array_equal(loss, fused(Unfused(), "loss", "grad", **keywords)[0])


def test_another_number_or_length_is_no_other_kernel(emulated: Emulated) -> None:
    for number, length in ((0.1, 5), (0.7, 9000)):
        x = np.ones(length, np.float32)
        fused(emulated, "loss", "grad", x=x, y=x, weight=number, reduction="mean")
    assert _fused._kernel.cache_info().misses == 1
    assert _fused_sums._beside.cache_info().misses == 1


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
@pytest.mark.parametrize("axis", [None, 0, (1,)])
@pytest.mark.parametrize("weight", [0.5, np.linspace(0.5, 2, 4), np.ones((3, 1), np.int8)])
def test_a_denominator_is_the_sum_of_what_is_kept(
    emulated: Emulated, reduction: str, axis: Any, weight: Any
) -> None:
    mask = np.arange(12).reshape(3, 4) % 5 > 0
    keywords = {"x": np.where(mask, np.inf, np.nan), "y": 0, "reduction": "sum", "where": mask}
    keywords |= {"weight": weight, "axis": axis}
    (_, slope) = fused(emulated, "loss", "grad", **keywords)
    (_, mean) = fused(emulated, "loss", "grad", **{**keywords, "reduction": reduction})
    shares = np.broadcast_to(weight, (3, 4)) if reduction == "weighted_mean" else np.ones((3, 4))
    kept = np.where(mask, shares, 0).sum(axis=axis, keepdims=True)
    np.testing.assert_array_equal(mean, slope / kept)


class Named(Emulated):
    """What `_runners` takes for CuPy."""

    __name__ = "array_api_compat.cupy"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cotangent", [1.0, -3.0, np.float32(0.1), np.ones((3, 1))])
def test_a_pullback_is_one_kernel(emulated: Emulated, dtype: str, cotangent: Any) -> None:
    library, mask = Named(), np.arange(12).reshape(3, 4) % 5 > 0
    x = np.ones((3, 4), dtype)
    inputs, _ = gathered(library, x, x, where=mask, weight=x, label_smoothing=0.1)
    work = np.dtype(inputs.work)
    slope = np.where(mask, 0.1, np.nan).astype(work)
    factor = cotangent if isinstance(cotangent, float) else np.asarray(cotangent, work)
    products = np.where(mask, np.asarray(cotangent, work) * slope, 0)
    got = scaled(inputs, slope, factor, x.dtype)
    assert len(library.launches) == 1
    np.testing.assert_array_equal(got, products.astype(dtype), strict=True)
    total = scaled(inputs, slope, factor, x.dtype, summed=True)
    assert library.launches[1:] == [NAME]
    assert_rounded(total, math.fsum(products.ravel()), x.dtype)


def compiled(
    library: Emulated, patch: pytest.MonkeyPatch, *wanted: str, **keywords: Any
) -> list[str]:
    """Return the PTX of each kernel that would be launched."""
    ptx, seen = nvrtc(), []

    def noted(kernel: Any, given: Any, shape: Any, *_: Any) -> None:
        seen.append(ptx(source(kernel, given, len(shape))))

    patch.setattr("tests.emulated.run", noted)
    fused(library, *wanted, **keywords)
    return seen


def test_counting_reads_nothing_but_the_mask(
    emulated: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    keywords = {"x": np.ones(5000, np.float32), "y": 0.5, "where": np.ones(5000, bool)}
    (counting, *_) = compiled(emulated, monkeypatch, "loss", **keywords, reduction="mean")
    loads = set(re.findall(r"\tld\.global\S*", counting))
    assert loads in ({"\tld.global.u8"}, {"\tld.global.nc.u8"})


@EVERY_KERNEL
def test_nvrtc_compiles_the_kernel_and_adds_only_sums_in_float64(
    emulated: Emulated, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str
) -> None:
    keywords = arguments(name, dtype) | {"reduction": "sum"}
    (ptx,) = compiled(emulated, monkeypatch, "loss", "grad", **keywords)
    assert ptx.count(".entry") == 1
    assert len(re.findall(r"\.shared .*\[8192\]", ptx)) == 1  # 512 sums of two float64
    products = re.findall(r"\t(?:mul|fma|rcp|sqrt)(?:\.\w+)*\.f64\b.*", ptx)
    assert bool(products) == (dtype == "float64"), products
