"""Dask's chunks give what arrays in memory give."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portable_bce
from portable_bce import _contract as contract
from portable_bce import _evaluate, _kernels
from portable_bce._arguments import check_arguments
from portable_bce._formula import with_logits
from portable_bce._job import Job
from portable_bce._reduction import Reduction
from portable_bce._runners.dask import Dask
from portable_bce.testing import ulp
from tests.law import examples
from tests.libraries.dask.chunks import HOST, KEEP, chunked, made
from tests.strategies import calls

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

pytestmark = pytest.mark.usefixtures("synchronous")


def cut(draw: st.DrawFn, array: Any) -> Any:
    """Draw the chunks of an array, unequal ones and empty ones too."""
    if not isinstance(array, np.ndarray):
        return array
    chunks = []
    for length in array.shape:
        ends = sorted(draw(st.lists(st.integers(0, length), max_size=3)))
        chunks.append(tuple(np.diff([0, *ends, length]).tolist()))
    return da.from_array(array, chunks=tuple(chunks))


def everything(name: str, arrays: list[Any], keywords: dict[str, Any]) -> list[Any]:
    """Call every function: losses, then derivatives, then sums of derivatives."""
    loss, grad = getattr(portable_bce, f"{name}_value_and_grad")(*arrays, **keywords)
    _, hess = getattr(portable_bce, f"{name}_grad_and_hess")(*arrays, **keywords)
    other, pullback = getattr(portable_bce, f"{name}_vjp")(*arrays, **keywords)
    alone = getattr(portable_bce, name)(*arrays, **keywords)
    return [loss, other, alone, grad, hess, *pullback(2.0)]


def sizes(name: str, arrays: list[Any], keywords: dict[str, Any]) -> Any:
    """Return the size of what the derivative by a target that is a number is the sum of."""
    x, y = arrays
    *_, terms = everything(name, [x, np.full(x.shape, y, x.dtype)], keywords)
    return np.abs(terms).sum(dtype=np.float64)


def assert_near_as_a_sum(got: Any, exact: Any, size: Any) -> None:
    """Its terms have either sign: only beside their sizes is a sum of them right."""
    if not np.isfinite(exact):
        np.testing.assert_array_equal(got, exact)
        return
    largest = np.minimum(np.maximum(size, np.abs(exact)), np.finfo(exact.dtype).max / 2)
    ulp_of_terms = np.spacing(largest.astype(exact.dtype))
    assert np.abs(np.float64(got) - np.float64(exact)) <= contract.SUM * ulp_of_terms


# The least weight that is drawn. As a denominator, with a cotangent of 2, it scales up what is
# subnormal in float64 while it waits, and the rounding of that with it.
LEAST_WEIGHT = 2.0**-10
SCALED_UP = 2.0 * float(np.finfo(np.float64).smallest_normal) / LEAST_WEIGHT


@settings(deadline=None, max_examples=examples(30), suppress_health_check=list(HealthCheck))
@given(calls(), st.data())
def test_chunks_of_any_size_give_what_arrays_in_memory_give(
    call: tuple[str, list[Any], dict[str, Any]], data: st.DataObject
) -> None:
    name, arrays, keywords = call
    draw = data.draw
    chunked = [cut(draw, array) for array in arrays]
    options = {key: cut(draw, value) for key, value in keywords.items()}
    lazy = everything(name, chunked, options)
    memory = everything(name, arrays, keywords)
    # A denominator of weights may round otherwise, and the quotients with it; derivatives wait
    # in float64 for one that is counted, and a pullback rounds its product besides.
    mean = keywords["reduction"] in ("mean", "weighted_mean")
    counted = mean and ("where" in keywords or "weight" in keywords)
    for index, (one, exact) in enumerate(zip(lazy, memory, strict=True)):
        got = one.compute()
        assert one.dtype == got.dtype == exact.dtype
        assert one.shape == got.shape == exact.shape
        assert isinstance(one._meta, np.ndarray)
        assert one._meta.dtype == exact.dtype
        if exact.shape == arrays[0].shape and keywords["reduction"] is not None and index > 2:
            assert one.chunks == chunked[0].chunks
        summed = index < 3 and keywords["reduction"] != "none"
        if index == 6 and isinstance(arrays[1], float):
            assert_near_as_a_sum(got, exact, sizes(name, arrays, keywords))
        elif summed or counted:
            bound = contract.SUM if summed else contract.COUNTED + contract.SUM
            distance = ulp.distance(got, exact)
            if not summed and exact.dtype == np.float64:
                distance = distance[np.abs(exact) >= SCALED_UP]
            assert distance.max(initial=0) <= bound, index
        else:
            np.testing.assert_array_equal(got, exact)


@pytest.mark.parametrize("compute_dtype", [None, "float64"])
@pytest.mark.parametrize("chunks", [45, 10, 1])
def test_a_derivative_that_waits_for_its_denominator_keeps_its_range(
    compute_dtype: str | None, chunks: int
) -> None:
    """Undivided it is -3.4e38 / 0.999, beyond float32; the quotient is -9.5e34."""
    q, y = np.zeros(45, dtype=np.float32), np.zeros(45, dtype=np.float32)
    q[-1] = np.finfo(np.float32).smallest_normal
    weight = np.full(45, 80.0, dtype=np.float32)
    options = {"label_smoothing": 0.1, "compute_dtype": compute_dtype, "reduction": "weighted_mean"}
    _, exact = portable_bce.bce_value_and_grad(q, y, weight=weight, **options)
    if compute_dtype or _kernels.levels:  # operation by operation, float32 overflows at once
        assert np.isfinite(exact[-1])
    _, lazy = portable_bce.bce_value_and_grad(
        chunked(q, chunks), chunked(y, chunks), weight=chunked(weight, chunks), **options
    )
    assert ulp.distance(lazy.compute(), exact).max() <= contract.COUNTED


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_chunk_rounds_its_derivatives_as_memory_does(dtype: str, reduction: str) -> None:
    """A half is rounded by way of float32 by the kernels, and straight from float64 by NumPy."""
    rng = np.random.default_rng(0)
    x, y = (8 * rng.normal(size=200_000)).astype(dtype), rng.random(200_000)
    options: dict[str, Any] = {"compute_dtype": "float64", "reduction": reduction}
    got = portable_bce.bce_with_logits_grad_and_hess(
        chunked(x, 60_000), chunked(y, 60_000), **options
    )
    wanted = portable_bce.bce_with_logits_grad_and_hess(x, y, **options)
    for one, exact in zip(dask.compute(*got), wanted, strict=True):
        np.testing.assert_array_equal(one, exact)


def test_nothing_leaks_from_under_the_mask() -> None:
    x, y = HOST.copy(), HOST > 1
    weight = np.ones_like(x)
    keywords: dict[str, Any] = {"reduction": "weighted_mean"}
    clean = portable_bce.bce_with_logits_value_and_grad(x, y, weight=weight, where=KEEP, **keywords)
    x[~KEEP], weight[~KEEP] = np.nan, np.inf
    got = portable_bce.bce_with_logits_value_and_grad(
        chunked(x), chunked(y), weight=chunked(weight), where=chunked(KEEP), **keywords
    )
    for one, exact in zip(dask.compute(*got), clean, strict=True):
        assert ulp.distance(one, exact).max() <= contract.COUNTED


def test_numpy_warns_of_nothing_when_results_are_computed() -> None:
    """At log(0), at 0 / 0, at infinities, and where a half overflows."""
    edges = chunked(np.asarray([-np.inf, np.inf, np.nan, 0.0, 1.0, 60000.0], dtype=np.float16), 2)
    ends = chunked(np.asarray([0.0, 1.0, 0.0, 1.0]), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, x in (("bce_with_logits", edges), ("bce", ends)):
            for y in (0.0, 0.5, 1.0):
                for where in (None, x == 7):
                    for reduction in ("none", "sum", "mean"):
                        keywords = {"where": where, "reduction": reduction}
                        dask.compute(everything(name, [x, y], keywords))
            loss, pullback = getattr(portable_bce, f"{name}_vjp")(x, 1.0)
            dask.compute(pullback(0.0), pullback(loss), pullback(1e30))
            dask.compute(everything(name, [x, 0.0], {"weight": 1e30, "reduction": "sum"}))


def test_a_sum_over_many_chunks_loses_nothing() -> None:
    """Of chunks that nearly cancel: float64 alone, in whatever tree, would give 0 or 2."""
    host = np.asarray([1e16, 1.0, -1e16, 1.0, 1.0, 1e16, 1.0, -1e16, -1.0] * 7)
    _, pullback = portable_bce.bce_with_logits_vjp(chunked(host, 1), 0.5, reduction="sum")
    assert pullback()[1].compute() == -math.fsum(host)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_an_infinite_loss_in_one_chunk_is_an_infinite_sum(bad: float) -> None:
    host = HOST.astype(np.float64)
    host[31] = bad
    np.testing.assert_equal(portable_bce.bce_with_logits(chunked(host), 0).compute(), bad)
    host[55] = np.nan
    assert np.isnan(portable_bce.bce_with_logits(chunked(host), 0).compute())


def test_long_doubles_travel_as_such() -> None:
    host = np.linspace(-4, 4, 60).astype(np.longdouble)
    got = portable_bce.bce_with_logits(chunked(host), 1).compute()
    assert got.dtype == host.dtype
    exact = portable_bce.bce_with_logits(host, 1)
    assert abs(got - exact) <= 4 * np.finfo(np.longdouble).eps * exact


def test_operands_are_read_and_not_written() -> None:
    arrays = [HOST.copy(), HOST > 1, np.abs(HOST), KEEP.copy()]
    before = [array.copy() for array in arrays]
    x, y, weight, where = (chunked(array, 60) for array in arrays)
    keywords = {"weight": weight, "where": where}
    dask.compute(
        everything("bce_with_logits", [x, y], keywords), everything("bce_with_logits", [x, y], {})
    )
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_tasks_can_be_sent_to_another_process() -> None:
    x, y, keywords = made("masked")
    for call in (portable_bce.bce_with_logits_value_and_grad, portable_bce.bce_value_and_grad):
        both = call(abs(x) / 5, y, **keywords)
        graph = pickle.loads(pickle.dumps(both[0].__dask_graph__()))
        keys = both[0].__dask_keys__()
        np.testing.assert_array_equal(
            dask.get(dict(graph), keys), both[0].compute(optimize_graph=False)
        )


def watching(jobs: list[Job]) -> Dask:
    """Return the row of Dask that keeps a note of what it asks of each chunk."""

    def watched(job: Job) -> Any:
        jobs.append(job)
        return _evaluate.evaluate(job)

    return Dask(watched)


def test_a_chunk_takes_the_row_of_its_own_library() -> None:
    jobs: list[Job] = []
    arguments = check_arguments("logits", chunked(HOST), 1.0)
    job = Job(with_logits, arguments, Reduction("mean", (0,)), ("loss", "grad"))
    loss, grad = watching(jobs).evaluate(job)
    assert not jobs
    dask.compute(loss, grad)
    assert [job.arguments.xp.__name__ for job in jobs] == ["array_api_compat.numpy"] * 10


@pytest.mark.parametrize("name", ["mean", "weighted_mean"])
def test_sums_of_float32_leave_a_chunk_in_float64(name: str) -> None:
    """Losses, and what the denominator counts; rounded by each chunk, they would lose digits."""
    jobs: list[Job] = []
    x = chunked(HOST)
    arguments = check_arguments("logits", x, 1.0, abs(x), where=x > 0, label_smoothing=0.1)
    (loss,) = watching(jobs).evaluate(Job(with_logits, arguments, Reduction(name, (0,)), ("loss",)))
    assert loss.compute().dtype == np.float32
    assert len(jobs) == 2 * 10
    for job in jobs:
        assert job.arguments.x.dtype == np.float32
        assert job.arguments.result_dtype == np.float64
        assert _evaluate.evaluate(job)[0].dtype == np.float64


def test_a_task_carries_no_namespace() -> None:
    """The worker takes that of the chunk: NumPy's or CuPy's, never Dask's."""
    x, y, keywords = made("masked")
    both = portable_bce.bce_value_and_grad(abs(x) / 5, y, **keywords, eps=0.1)
    tasks = [
        pickle.dumps(task)
        for one in both
        for key, task in dict(one.dask).items()
        if key[0].startswith("bce-")
    ]
    assert any(b"with_probabilities" in task for task in tasks)
    assert not any(b"array_api_compat" in task for task in tasks)
