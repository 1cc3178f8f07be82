"""CuPy's kernels without a device: traced, evaluated by NumPy, printed and compiled."""

from __future__ import annotations

import gc
import re
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portable_bce
from portable_bce._reduction import library_total
from portable_bce._runners import cupy, plain
from tests.law import examples
from tests.libraries.cupy.kernels import (
    KERNELS,
    NAMES,
    abstract,
    by_kernels,
    by_operations,
    by_trace,
    cuda,
    job_of,
    nvrtc,
    texts,
)
from tests.strategies import calls

pytestmark = pytest.mark.usefixtures("forgotten")

FIRST = ("bce_with_logits", "bce")


def assert_same(results: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    """Require equal bits, a NaN's sign and payload excepted."""
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == value.dtype
        np.testing.assert_array_equal(result, value, strict=True)
        np.testing.assert_array_equal(*(np.signbit(a) | np.isnan(a) for a in (result, value)))


@settings(deadline=None, max_examples=examples(150), suppress_health_check=list(HealthCheck))
@given(call=calls(), data=st.data())
def test_the_trace_gives_what_plain_operations_give_to_the_last_bit(
    call: tuple[str, list[Any], dict[str, Any]], data: st.DataObject
) -> None:
    """With every keyword, dtype and broadcast, of arrays and of numbers."""
    name, (x, y), keywords = call
    if name == "bce":
        keywords["eps"] = data.draw(st.sampled_from([None, 0.01]))
    outputs = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    keywords |= {"x": x, "y": y, "round_derivatives": data.draw(st.booleans())}
    assert_same(by_trace(*outputs, **keywords), by_operations(*outputs, **keywords))


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (1,)])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_shapes_without_elements_or_axes(shape: tuple[int, ...], reduction: str) -> None:
    keywords = {"x": np.ones(shape, np.float32), "y": 0.0, "reduction": reduction}
    assert_same(by_trace("loss", "grad", **keywords), by_operations("loss", "grad", **keywords))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("weight", [0.1, 1e39, np.full(5, 1 + 0.49 * 2**-23)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1 - 2.0**-30])
def test_numbers_are_rounded_where_they_meet_an_array_and_no_earlier(
    dtype: str, weight: Any, smoothing: float
) -> None:
    keywords = {"x": np.linspace(-1, 1, 5, dtype=dtype), "y": 0.3, "weight": weight}
    keywords |= {"pos_weight": 0.7, "label_smoothing": smoothing, "round_derivatives": False}
    for reduction in ("none", "weighted_mean"):
        keywords["reduction"] = reduction
        assert_same(by_trace(*NAMES, **keywords), by_operations(*NAMES, **keywords))


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_leaks_from_under_the_mask(name: str, bad: float) -> None:
    mask = np.arange(12) % 3 > 0
    x, y, w = (np.full(12, 0.25, dtype=np.float32) for _ in range(3))
    keywords: dict[str, Any] = {"weight": w, "pos_weight": w, "reduction": "weighted_mean"}
    keywords |= {"eps": None} if name == "bce" else {}
    clean = by_trace(*NAMES, x=x, y=y, where=mask, **keywords)
    for array in (x, y, w):
        array[~mask] = bad
    dirty = by_trace(*NAMES, x=x, y=y, where=mask, **keywords)
    assert_same(dirty, clean)
    assert all(np.all(one[~mask] == 0) for one in dirty[1:])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("labels", ["bool", "int8", "uint64", "float16", "float64"])
def test_operands_are_cast_inside_the_kernel(dtype: str, labels: str) -> None:
    x, y = np.ones((3, 4), dtype), np.ones((3, 4), labels)
    keywords = {"weight": np.ones((3, 1), np.int64), "where": np.ones(4, bool)}
    (text,) = texts(job_of("loss", "grad", x=x, y=y, **keywords))
    assert text.in_params == f"{dtype} x, {labels} targets, int64 weight, bool where"
    assert text.out_params == f"{dtype} loss, {dtype} grad"


def test_what_is_not_returned_yet_leaves_the_kernel_unrounded() -> None:
    """Losses to be summed, and derivatives for a pullback to scale."""
    x = np.ones(3, np.float16)
    for reduction, is_rounded, outputs in (
        ("none", True, "float16 loss, float16 grad"),
        ("mean", True, "float32 loss, float16 grad"),
        ("none", False, "float16 loss, float32 grad"),
    ):
        keywords = {"x": x, "y": 1, "reduction": reduction, "round_derivatives": is_rounded}
        text, *_ = texts(job_of("loss", "grad", **keywords))
        assert text.out_params == outputs


def test_numbers_are_arguments_of_the_kernel() -> None:
    """Another weight, target, smoothing, eps, or length of a mean is no other kernel."""
    found = []
    for number, length in ((0.1, 3), (0.2, 5)):
        keywords = {"weight": number, "pos_weight": 2 * number, "label_smoothing": number}
        job = job_of(
            "loss", "grad", x=np.ones(length), y=number, eps=number, reduction="mean", **keywords
        )
        found.append(texts(job))
    assert found[0] == found[1]
    assert cupy.body_of.cache_info().misses == 1


def test_a_part_is_divided_by_the_denominator_of_the_whole() -> None:
    """Which is an argument, too, and replaces what a mask would have to count."""
    job = job_of("loss", "grad", x=np.ones(3), y=0.5, where=np.ones(3, bool), reduction="mean")
    parts = [job._replace(denominator=length) for length in (10.0, 20.0)]
    assert texts(parts[0]) == texts(parts[1]) != texts(job)
    assert cupy.body_of.cache_info().misses == 2
    assert cupy.source(parts[0]) == str(texts(parts[0])[1])
    assert_same(cupy.RUNNER.evaluate(parts[0]), plain.Plain(library_total).evaluate(parts[0]))


def test_operations_on_numbers_alone_are_not_printed() -> None:
    keywords = {"y": 0.3, "weight": 2.0, "pos_weight": 0.5, "label_smoothing": 0.1}
    (text,) = texts(job_of("grad", x=np.ones(3, np.float32), **keywords))
    # A and B, which Python computes; the sums of each side are the formula's.
    assert re.fullmatch(r"float32 x, float32 v\d+, float32 v\d+, float32 v\d+", text.in_params)


def test_kernels_keep_no_array_alive() -> None:
    class Array(np.ndarray[Any, Any]):
        pass

    x = np.ones(3).view(Array)
    seen = weakref.ref(x)
    assert len(texts(job_of("loss", "grad", x=x, y=x, weight=x, where=x > 0, reduction="sum"))) == 2
    assert cupy.body_of.cache_info().currsize == 1
    del x
    gc.collect()
    assert seen() is None


def test_the_row_without_kernels_is_the_plain_row() -> None:
    keywords = {"x": np.linspace(-3, 3, 7), "y": 0.3, "reduction": "mean"}
    keywords["where"] = np.arange(7) > 2
    assert_same(by_kernels(*NAMES, **keywords), by_operations(*NAMES, **keywords))


def test_bfloat16_is_beyond_the_kernels() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    given = job_of("loss", x=np.ones(3), y=np.ones(3)).arguments
    given = given._replace(xp=SimpleNamespace(ElementwiseKernel=None))
    assert cupy.has_kernels(given)
    assert not cupy.has_kernels(given._replace(weight=np.ones(3, ml_dtypes.bfloat16)))
    assert not cupy.has_kernels(given._replace(x=np.ones(3, ml_dtypes.bfloat16)))


def test_the_source_of_a_kernel_can_be_read_without_a_device() -> None:
    x = np.ones((3, 4), np.float32)
    job = job_of("loss", "grad", x=x, y=x > 0, reduction="none")
    head, *lines = cupy.source(job).splitlines()
    assert head == "// binary_cross_entropy: float32 x, bool targets -> float32 loss, float32 grad"
    assert lines[0] == "const float v0 = static_cast<float>(targets);"
    assert lines[-2].startswith("loss = v")
    job = job_of("loss", x=x, y=x > 0, where=x > 0, reduction="mean")
    assert "sum.add(v" in cupy.source(job)
    assert "denominator[0]" in cupy.source(job)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_number_in_a_kernel_changes_its_precision(dtype: str) -> None:
    """A literal of double would make a kernel of float32 compute in double."""
    for name, keywords in KERNELS.items():
        job = job_of(*NAMES, **{"x": np.ones((3, 4), dtype), "y": 0.5, **keywords})
        for text in texts(job):
            literals = re.findall(r"(?<![\w.])\d[\d.]*(?:e[-+]?\d+)?f?", text.operation)
            literals = [one for one in literals if "." in one or "e" in one]
            assert literals, name
            assert all(one.endswith("f") == (dtype == "float32") for one in literals)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_nvrtc_compiles_the_kernel_in_its_precision(name: str, dtype: str, reduction: str) -> None:
    compiled = nvrtc()
    keywords = {"x": np.ones((3, 4), dtype), "y": np.ones((3, 4), bool), **KERNELS[name]}
    job = job_of(*NAMES, **{"reduction": reduction, **keywords})
    elementwise, *summing = (compiled(cuda(text, job)) for text in texts(job))
    assert elementwise.count(".entry") == 1
    # A denominator is summed in float64, and cast as it is read.
    doubles = re.findall(r"\t(?!ld|cvt)\w+(?:\.\w+)*\.f64\b.*", elementwise)
    assert bool(doubles) == (dtype == "float64"), doubles
    for ptx in summing:  # whose only sums in float64 are those of losses
        assert ptx.count(".entry") == 1
        assert len(re.findall(r"\.shared .*\[8192\]", ptx)) == 1  # 512 sums of two float64
        products = re.findall(r"\t(?:mul|fma|rcp|sqrt)(?:\.\w+)*\.f64\b.*", ptx)
        assert bool(products) == (dtype == "float64"), products


def test_counting_reads_nothing_but_the_mask() -> None:
    compiled = nvrtc()
    job = job_of("loss", x=np.ones(5), y=0.5, where=np.ones(5, bool), reduction="mean")
    counting = plain.counting(job, np.float64)
    ptx = compiled(cuda(texts(counting)[1], counting))
    loads = set(re.findall(r"\tld\.global\S*", ptx))
    assert loads in ({"\tld.global.u8"}, {"\tld.global.nc.u8"})


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_public_functions_reach_the_kernels(
    monkeypatch: pytest.MonkeyPatch, reduction: str
) -> None:
    pytest.importorskip("cupy")
    from array_api_compat import cupy as xp

    class ReachedError(Exception):
        pass

    def reached(**text: Any) -> None:
        raise ReachedError(text)

    monkeypatch.setattr(xp, "ElementwiseKernel", reached)
    monkeypatch.setattr(xp, "empty", lambda *_, **__: None)  # of which a device is needed
    x = abstract(np.ones((3, 4), np.float32))
    keywords = {"weight": x, "label_smoothing": 0.1, "reduction": reduction}
    with pytest.raises(ReachedError) as error:
        portable_bce.bce_with_logits_value_and_grad(x, 1.0, **keywords)
    (text,) = error.value.args
    assert "exp(" in text["operation"]
    assert text["name"].endswith("_sum") == (reduction == "mean")
