"""NumPy's rows, compiled or sliced, give what plain operations give in the results' memory."""

from __future__ import annotations

import math
import sys
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import portable_bce
from portable_bce import _contract as contract
from portable_bce._formula import with_logits
from portable_bce._job import Runner, job_of
from portable_bce._kernels import levels
from portable_bce._runners import numpy as runner
from portable_bce._runners.numpy import Compiled
from portable_bce.testing import reference, ulp
from tests import rows
from tests.law import examples
from tests.strategies import calls

FUNCTIONS = {
    "bce_with_logits": ("bce_with_logits", "bce_with_logits_value_and_grad"),
    "bce": ("bce", "bce_value_and_grad"),
}


def values(name: str, given_arrays: list[Any], keywords: dict[str, Any]) -> list[Any]:
    """Return loss, loss and gradient, gradient and Hessian."""
    loss_of, both_of = (getattr(portable_bce, one) for one in FUNCTIONS[name])
    hess_of = getattr(portable_bce, f"{name}_grad_and_hess")
    both, curved = both_of(*given_arrays, **keywords), hess_of(*given_arrays, **keywords)
    return [loss_of(*given_arrays, **keywords), *both, *curved]


def test_the_table_has_the_first_compiled_level_if_there_is_one() -> None:
    first = runner.compiled(levels[0]) if levels else runner.SLICED
    assert first == runner.RUNNER


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_part_of_a_larger_array_is_divided_by_the_denominator_of_that(
    numpy_row: Runner, axis: int | None
) -> None:
    """Parts longer than a slice, too: Dask hands chunks to the row, with the whole's length."""
    x = np.linspace(-4, 4, 60_000).reshape(300, 200)
    whole: list[Any] = []
    parts: list[Any] = []
    for length, found in ((1.0, whole), (2.0**20, parts)):
        job = job_of(with_logits, ("loss", "grad"), x, 1.0, "mean", axis)
        found.extend(numpy_row.evaluate(job._replace(denominator=length)))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one * 2.0**-20, other)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 9])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_short_rows_add_up_to_their_losses(numpy_row: Runner, dtype: str, length: int) -> None:
    """As rows and as columns: short ones are added in another way."""
    x = np.linspace(-9, 9, 700 * length).reshape(700, length).astype(dtype)
    y = np.arange(x.size).reshape(x.shape) % 3 > 0
    each = portable_bce.bce_with_logits(x.astype(np.float64), y, reduction="none")
    exact = np.asarray([math.fsum(row) for row in each.tolist()]).astype(dtype)
    for got in (
        portable_bce.bce_with_logits(x, y, reduction="sum", axis=1),
        portable_bce.bce_with_logits(x.T, y.T, reduction="sum", axis=0),
        portable_bce.bce_with_logits(x[..., None], y[..., None], reduction="sum", axis=(1, 2)),
    ):
        assert got.dtype == dtype
        assert ulp.distance(got, exact).max() <= contract.SUM


@settings(deadline=None, max_examples=examples(150), suppress_health_check=list(HealthCheck))
@given(calls())
def test_slices_give_what_plain_operations_give(
    call: tuple[str, list[Any], dict[str, Any]],
) -> None:
    keywords = call[2]
    with rows.in_use(rows.PLAIN):
        plain = values(*call)
    # A denominator of float64 weights may round otherwise, and the quotients with it.
    weighted = "weight" in keywords and keywords["reduction"] == "weighted_mean"
    for row in (rows.FINELY, runner.SLICED):
        with rows.in_use(row):
            sliced = values(*call)
        for index, (got, wanted) in enumerate(zip(sliced, plain, strict=True)):
            assert type(got) is type(wanted)
            assert got.dtype == wanted.dtype
            assert got.shape == wanted.shape
            if keywords["reduction"] != "none" and (index < 2 or weighted):
                assert ulp.distance(got, wanted).max(initial=0) <= contract.SUM
            else:
                np.testing.assert_array_equal(got, wanted)


def lifted(x: Any, keywords: dict[str, Any]) -> Any:
    """Return what may multiply the rounding of a subnormal number on the way to a result."""
    w, p = (np.longdouble(keywords.get(name, 1.0)) for name in ("weight", "pos_weight"))
    factors = "pos_weight" in keywords or keywords["label_smoothing"]
    size = np.where(np.isfinite(x), np.abs(x.astype(np.longdouble)), 0) if factors else 0.0
    return np.maximum(1, w * (1 + p) * np.maximum(1, size)).max(initial=1)


def bounds(call: tuple[str, list[Any], dict[str, Any]]) -> contract.Bounds:
    """Return by how much the plain formula may differ from a kernel, in ULP."""
    name, (x, _), keywords = call
    narrow = keywords.get("compute_dtype") is None and x.dtype != np.float16
    compute = None if narrow or x.dtype == np.float64 else "float64"
    weighted = "weight" in keywords
    factors = ("pos_weight" in keywords) + bool(keywords["label_smoothing"])
    plain = contract.bounds_for(x.dtype.name, compute, weighted=weighted, factors=factors)
    if name == "bce" and compute is None:
        more = contract.PER_FACTOR * factors + contract.WEIGHT * weighted
        first = contract.PROBABILITY
        plain = contract.Bounds(first, first, contract.PROBABILITY_HESS).widened(more)
    # Two roundings more for the mean; and once for the kernel.
    return plain.widened(1.0 + contract.ROUNDED_ONCE)


@pytest.mark.parametrize("row", rows.COMPILED)
@settings(deadline=None, max_examples=examples(150), suppress_health_check=list(HealthCheck))
@given(calls())
def test_kernels_agree_with_plain_operations(
    row: str, call: tuple[str, list[Any], dict[str, Any]]
) -> None:
    """Each is within its bound of the exact value, so one within both of the other."""
    name, (x, y), keywords = call
    if isinstance(y, np.ndarray) and y.dtype == np.float64:
        y = y.astype(x.dtype)  # a kernel reads float64 targets as they are
    call = name, [x, y], keywords
    with rows.in_use(rows.PLAIN):
        plain = values(*call)
    with rows.in_use(rows.COMPILED[row]):
        compiled = values(*call)
        # A gradient cancels; what it cancels from are the gradients for the labels 0 and 1.
        terms = [values(name, [x, label], keywords)[2] for label in (0.0, 1.0)]
    allowed, form = bounds(call), np.finfo(x.dtype)
    scale = np.minimum(*np.abs(terms)) if name == "bce_with_logits" else np.maximum(*np.abs(terms))
    by_output = (allowed.loss, allowed.loss, allowed.grad, allowed.grad, allowed.hess)
    floor = form.smallest_subnormal * np.longdouble(lifted(x, keywords))
    for index, (got, wanted, bound) in enumerate(zip(compiled, plain, by_output, strict=True)):
        assert type(got) is type(wanted)
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        summed = index < 2 and keywords["reduction"] != "none"
        # A term of a sum may be just above a power of two.
        within = 2 * bound + contract.SUM if summed else bound
        terms_of = scale if index in (2, 3) else 0
        assert distance(got, wanted, terms_of, floor, x.size) <= within, index


def distance(got: Any, wanted: Any, scale: Any, floor: Any, size: int) -> float:
    """Return how far two results are apart, in ULP of the larger of theirs and the scale."""
    form = np.finfo(got.dtype)
    wide, other = (np.asarray(one, dtype=np.longdouble) for one in (got, wanted))
    np.testing.assert_array_equal(np.isnan(wide), np.isnan(other))
    # The plain formula may overflow on the way, in a quotient that a mean makes smaller.
    far = np.isinf(other) | (np.abs(wide) > form.max / 2)
    assert np.all(np.abs(wide[far]) * size >= form.max / 4)
    assert np.all(np.sign(wide[far]) == np.sign(other[far]))
    near = ~far & ~np.isnan(wide)
    largest = np.maximum(np.abs(other), scale)[near]
    _, exponent = np.frexp(np.minimum(largest, form.max))
    unit = np.maximum(np.ldexp(np.longdouble(form.eps), exponent - 1), floor)
    return float((np.abs(wide[near] - other[near]) / unit).max(initial=0))


def test_results_lie_in_memory_as_the_logits_do(numpy_row: Runner) -> None:
    x = np.zeros((9, 9, 9)).transpose(2, 0, 1)
    for derivative in portable_bce.bce_with_logits_grad_and_hess(x, 1):
        assert derivative.strides == x.strides


@pytest.mark.parametrize(
    ("reduction", "axis"),
    [
        ("none", None),
        *((name, axis) for name in ("mean", "weighted_mean") for axis in (None, 0, 1)),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("row", [name for name in rows.ROWS if name != "sliced finely"])
def test_memory_is_that_of_the_results(
    row: str, reduction: str, axis: int | None, masked: bool
) -> None:
    """The results and 1 MiB, whatever the size; slices take twice that."""
    shape = (2000, 2000)
    x = np.linspace(-9, 9, 4_000_000, dtype=np.float32).reshape(shape)
    y, weight = x > 0, np.linspace(1, 2, 2000, dtype=np.float32)
    keywords: dict[str, Any] = {"weight": weight, "pos_weight": 2.0, "label_smoothing": 0.1}
    if masked:
        keywords["where"] = x < 8
    with rows.in_use(rows.ROWS[row]):
        tracemalloc.start()
        try:
            loss, grad = portable_bce.bce_with_logits_value_and_grad(
                x, y, reduction=reduction, axis=axis, **keywords
            )
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak <= grad.nbytes + loss.nbytes + (2**21 if row == "sliced" else 2**20)


def test_mean_of_a_hundred_million_float32_losses_is_that_of_the_losses() -> None:
    """Without storing them: a thousand different ones, broadcast."""
    few = np.linspace(-20, 20, 1000, dtype=np.float32)
    x = np.broadcast_to(few, (100_000, 1000))
    losses = portable_bce.bce_with_logits(few, 1, reduction="none", compute_dtype=np.float64)
    exact = sum(map(Fraction, losses.tolist())) / 1000
    # Each loss is rounded once in `losses`, and those of slices are computed in float32.
    bound = contract.SUM + (contract.ROUNDED_ONCE if levels else contract.SOFT.loss)
    mean = portable_bce.bce_with_logits(x, 1)
    assert ulp.error(mean, float(exact), "float32") <= bound


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_leaks_from_under_the_mask(
    numpy_row: Runner, name: str, dtype: str, bad: float
) -> None:
    mask = np.arange(100) % 3 > 0
    x, y, w = (np.full(100, 0.25, dtype=dtype) for _ in range(3))
    keywords: dict[str, Any] = {"weight": w, "pos_weight": w, "reduction": "weighted_mean"}
    clean = getattr(portable_bce, f"{name}_value_and_grad")(x, y, where=mask, **keywords)
    for array in (x, y, w):
        array[~mask] = bad
    dirty = getattr(portable_bce, f"{name}_value_and_grad")(x, y, where=mask, **keywords)
    for one, other in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.all(dirty[1][~mask] == 0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_masked_sum_is_that_of_what_is_kept(numpy_row: Runner, reduction: str) -> None:
    x = np.linspace(-3, 3, 10_000, dtype=np.float32)
    mask = np.arange(x.size) % 3 > 0
    got = portable_bce.bce_with_logits(x, 1, where=mask, reduction=reduction)
    wanted = portable_bce.bce_with_logits(x[mask], 1, reduction=reduction)
    assert ulp.distance(got, wanted) <= contract.SUM


def test_many_slices_do_not_cost_accuracy(numpy_row: Runner) -> None:
    """Adding ten thousand sums one after the other would lose 10 ULP here."""
    x = np.full((100_000, 2), 0.1)
    loss = reference.logit_loss(0.1, 1)
    for axis, count in ((None, 200_000), (0, 100_000)):
        total = portable_bce.bce_with_logits(x, 1, reduction="sum", axis=axis)
        error = ulp.error(np.ravel(total)[0], count * loss, "float64")
        # Operation by operation, each loss errs by the same.
        bound = contract.DOUBLE.loss + contract.SUM
        assert error <= (contract.FAITHFUL if isinstance(numpy_row, Compiled) else bound)


def test_an_infinite_loss_in_one_slice_is_an_infinite_sum(numpy_row: Runner) -> None:
    x = np.zeros((50, 2))
    x[20, 0] = np.inf
    for axis, wanted in ((None, np.inf), (0, [np.inf, 50 * math.log(2)])):
        total = portable_bce.bce_with_logits(x, 0.0, reduction="sum", axis=axis)
        np.testing.assert_allclose(total, wanted, rtol=1e-15)
    x[35, 1] = np.nan
    assert np.isnan(portable_bce.bce_with_logits(x, 0.0))


def test_sums_of_tiny_losses_are_not_lost(numpy_row: Runner) -> None:
    """Each is below half an ULP of one."""
    x = np.full(10_000, 40.0, dtype=np.float32)
    total = portable_bce.bce_with_logits(x, 1, reduction="sum")
    exact = x.size * math.log1p(math.exp(-40.0))
    assert ulp.error(total, exact, "float32") <= contract.SOFT.loss


@pytest.mark.parametrize(
    ("size", "most"), [(1, 104), (2**20, 64 * 75)], ids=["one element", "many slices"]
)
@pytest.mark.parametrize("row", [name for name in rows.ROWS if name != "sliced finely"])
def test_a_call_takes_few_calls_of_python(row: str, size: int, most: int) -> None:
    """Their number is repeatable, where time is not: 101 and 8,917 in slices, 23 compiled."""
    x, y = np.zeros(size, dtype=np.float32), np.ones(size, dtype=np.float32)
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    with rows.in_use(rows.ROWS[row]):
        portable_bce.bce_with_logits_value_and_grad(x, y)
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            portable_bce.bce_with_logits_value_and_grad(x, y)
        finally:
            sys.setprofile(before)
    assert calls <= (32 if row in rows.COMPILED else most)
