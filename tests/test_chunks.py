"""Dask's chunks give what arrays in memory give, in one evaluation each."""

from __future__ import annotations

import math
import pickle
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portable_bce
from portable_bce import _chunks, _runners, _tasks
from portable_bce import _contract as contract
from portable_bce._formula import with_logits
from portable_bce._inputs import gather
from portable_bce._reduce import Reduction, pairwise_total
from portable_bce.testing import ulp
from tests.test_blocks import calls

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

HOST = np.linspace(-4, 4, 60, dtype=np.float32)
KEEP = np.arange(60) % 3 > 0


@pytest.fixture(autouse=True)
def synchronous() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


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


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
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
    # A denominator of weights may round otherwise, and the quotients with it.
    weighted = "weight" in keywords and keywords["reduction"] == "weighted_mean"
    for index, (one, exact) in enumerate(zip(lazy, memory, strict=True)):
        got = one.compute()
        assert one.dtype == got.dtype == exact.dtype
        assert one.shape == got.shape == exact.shape
        assert isinstance(one._meta, np.ndarray)
        assert one._meta.dtype == exact.dtype
        if exact.shape == arrays[0].shape and keywords["reduction"] is not None and index > 2:
            assert one.chunks == chunked[0].chunks
        summed = index < 3 and keywords["reduction"] != "none"
        if summed or weighted or (index == 6 and exact.ndim == 0):
            assert ulp.distance(got, exact).max(initial=0) <= contract.SUM
        else:
            np.testing.assert_array_equal(got, exact)


def graph_of(*collections: Any) -> dict[Any, Any]:
    """Return what a scheduler would be given to run."""
    found: dict[Any, Any] = {}

    def capture(graph: Any, keys: Any, **_: Any) -> Any:
        found.update(graph.__dask_graph__() if hasattr(graph, "__dask_graph__") else graph)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        dask.compute(*collections, scheduler=capture)
    return found


def counting(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the chunks that are evaluated."""
    seen: Counter[str] = Counter()
    evaluate = _tasks.Evaluate.__call__

    def counted(self: Any, *blocks: Any) -> Any:
        seen[",".join(self.plan.wanted)] += 1
        return evaluate(self, *blocks)

    monkeypatch.setattr(_tasks.Evaluate, "__call__", counted)
    return seen


OPTIONS: dict[str, dict[str, Any]] = {
    "none": {"reduction": "none"},
    "sum": {"reduction": "sum"},
    "mean": {},
    "masked": {"where": KEEP},
    "weighted": {"weight": np.abs(HOST), "reduction": "weighted_mean"},
}


def chunked(value: Any, chunks: Any = 6) -> Any:
    return da.from_array(value, chunks=chunks) if isinstance(value, np.ndarray) else value


def made(option: str, chunks: Any = 6) -> tuple[Any, Any, dict[str, Any]]:
    given = {key: chunked(value, chunks) for key, value in OPTIONS[option].items()}
    return chunked(HOST, chunks), chunked(HOST > 1, chunks), given


@pytest.mark.parametrize("option", OPTIONS)
def test_loss_and_gradient_evaluate_each_chunk_once(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, keywords = made(option)
    both = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    seen = counting(monkeypatch)
    dask.compute(*both)
    assert seen == {"loss,grad": 10}


@pytest.mark.parametrize("option", OPTIONS)
def test_tasks_are_few(option: str) -> None:
    """One to evaluate a chunk, one to hand out each of its results, and the tree."""
    x, y, keywords = made(option, 1)
    arrays = [x, y, *(value for value in keywords.values() if hasattr(value, "chunks"))]
    inputs = len(graph_of(*arrays)) - len(arrays)
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    tree = 0 if option == "none" else 60 / 3 + 10
    finalized = 2
    assert len(graph_of(loss)) - inputs <= 60 + tree + finalized
    assert len(graph_of(loss, grad)) - inputs <= 3 * 60 + tree + finalized


def most_held(*results: Any) -> int:
    """Compute and return how many elements Dask had to keep at once."""
    from dask.callbacks import Callback

    held = []

    class Watch(Callback):  # type: ignore[misc]
        def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
            held.append(sum(map(elements, state["cache"].values())))

    with Watch():
        dask.compute(*results)
    return max(held)


@pytest.mark.parametrize("option", OPTIONS)
def test_chunks_are_let_go_as_they_are_used(option: str) -> None:
    """Of the inputs, of a mask made from the logits, and of a gradient that is used up."""
    length, pieces = 1000, 40
    halves = da.arange(length * pieces, chunks=length // 2, dtype=np.float64)
    x = halves.map_blocks(np.sin).rechunk(length)  # which Dask cannot fuse with what follows
    given = {"where": x > 0} if option == "masked" else {}
    given |= {"weight": x + 2} if option == "weighted" else {}
    given |= {"reduction": OPTIONS[option].get("reduction", "mean")}
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, x > 0.5, **given)
    loss = loss.sum()
    assert 0 < most_held(loss) <= 3 * length
    if option not in ("masked", "weighted"):  # there the last chunk changes every gradient
        assert most_held(loss, (grad * grad).sum()) <= 4 * length


def elements(result: Any) -> int:
    if isinstance(result, tuple | list):
        return sum(map(elements, result))
    return int(getattr(result, "size", 0))


@pytest.mark.parametrize("option", OPTIONS)
def test_results_and_names_depend_on_the_chunks_alone(option: str) -> None:
    x, y, keywords = made(option, 7)
    one = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    other = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    assert [array.name for array in one] == [array.name for array in other]
    for first, again in zip(
        dask.compute(*one), dask.compute(*one, scheduler="threads"), strict=True
    ):
        np.testing.assert_array_equal(first, again)


def test_different_calls_have_different_names() -> None:
    """Dask takes tasks of one name for one task."""
    x = chunked(np.linspace(0.1, 0.9, 60, dtype=np.float32))
    calls: list[dict[str, Any]] = [
        {},
        {"label_smoothing": 0.1},
        {"pos_weight": 2.0},
        {"weight": 2.0},
        {"weight": x},
        {"pos_weight": x},
        {"where": x > 0.5},
        {"compute_dtype": np.float64},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"reduction": "weighted_mean", "weight": 2.0},
    ]
    arrays: list[Any] = []
    for keywords in calls:
        arrays += portable_bce.bce_with_logits_value_and_grad(x, 0.5, **keywords)
        arrays += portable_bce.bce_value_and_grad(x, 0.5, **keywords)
        arrays += portable_bce.bce_value_and_grad(x, 0.5, eps=0.2, **keywords)
        _, pullback = portable_bce.bce_with_logits_vjp(x, 0.5, **keywords)
        arrays += pullback(3.0)
    arrays += [portable_bce.bce_with_logits(x, y) for y in (0.0, 1.0, x)]
    assert len({array.name for array in arrays}) == len(arrays)


@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_chunks_of_unknown_size_count_themselves(reduction: str, axis: Any) -> None:
    rows = np.arange(20) % 3 > 0
    host = HOST.reshape(20, 3)
    x = chunked(host, (6, 2))[chunked(rows, 6)]
    keywords: dict[str, Any] = {"reduction": reduction, "axis": axis}
    for weight in (None, np.asarray([1.0, 2.0, 4.0], dtype=np.float32)):
        got = portable_bce.bce_with_logits_value_and_grad(
            x, x > 1, weight=chunked(weight), **keywords
        )
        wanted = portable_bce.bce_with_logits_value_and_grad(
            host[rows], host[rows] > 1, weight=weight, **keywords
        )
        assert np.isnan(got[1].chunks[0]).all()
        assert got[1].chunks[1] == x.chunks[1]
        for one, exact in zip(dask.compute(*got), wanted, strict=True):
            assert one.shape == exact.shape
            assert ulp.distance(one, exact).max() <= contract.SUM


def test_an_unknown_length_goes_with_a_known_one_and_with_one_for_all() -> None:
    x = chunked(HOST)
    some = x[x > 1]
    known = chunked(HOST[HOST > 1], some.compute_chunk_sizes().chunks)
    some = x[x > 1]
    weight = chunked(np.asarray([3.0], dtype=np.float32))
    wanted = portable_bce.bce_with_logits_value_and_grad(
        HOST[HOST > 1], HOST[HOST > 1] > 2, weight=3.0
    )
    for one, other in ((some, known > 2), (known, some > 2)):
        got = portable_bce.bce_with_logits_value_and_grad(one, other, weight=weight)
        for value, exact in zip(dask.compute(*got), wanted, strict=True):
            np.testing.assert_array_equal(value, exact)


def test_lengths_that_turn_out_different_are_an_error_when_computed() -> None:
    x = chunked(HOST[:4], 2)
    few, many = x[x < -3.9], x[x < 9]
    with pytest.raises(
        ValueError, match=r"^`targets` must have the shape of `logits`, \(2,\); got \([01],\)"
    ):
        portable_bce.bce_with_logits(many, few).compute()
    with pytest.raises(
        ValueError, match=r"^`weight` must broadcast to the shape of `logits`, \(2,\)"
    ):
        portable_bce.bce_with_logits_value_and_grad(many, 1, weight=few)[1].compute()
    with pytest.raises(
        ValueError, match=r"^`where` must broadcast to the shape of `probabilities`"
    ):
        portable_bce.bce(many, 1, where=few > 0).compute()
    _, pullback = portable_bce.bce_with_logits_vjp(many, 1, reduction="none")
    with pytest.raises(
        ValueError, match=r"^`cotangent` must broadcast to the shape of `loss`, \(2"
    ):
        pullback(few)[0].compute()


def test_one_element_of_a_chunk_is_not_spread_over_it() -> None:
    """NumPy would: the logits have two elements in each chunk, the weight one."""
    x = chunked(HOST[:4], 2)
    one_each = chunked(HOST[:2], 1)[chunked(np.asarray([True, True]), 1)]
    with pytest.raises(ValueError, match="broadcast to"):
        portable_bce.bce_with_logits(x, 1, weight=one_each).compute()


def test_an_unknown_length_that_is_one_serves_all() -> None:
    x = chunked(HOST, 60)
    got = portable_bce.bce_with_logits(x, 1, weight=x[x == 4.0]).compute()
    assert got == portable_bce.bce_with_logits(HOST, 1, weight=4.0)


def test_chunks_of_unknown_sizes_that_cannot_be_matched_are_an_error_at_once() -> None:
    x, other = chunked(HOST, 6), chunked(HOST, 20)
    with pytest.raises(
        ValueError, match=r"^`targets` must have as many chunks as `logits` along an"
    ):
        portable_bce.bce_with_logits(x[x > 0], (other[other > 0] > 1))
    # In memory this is an error, and each chunk by itself would do.
    with pytest.raises(ValueError, match=r"^`weight` must have as many chunks as `logits`"):
        portable_bce.bce_with_logits(x[x < 9], 1, weight=chunked(HOST[:6]))


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
@pytest.mark.parametrize("kept", [0, 1, 60])
def test_a_denominator_is_counted_over_all_chunks(reduction: str, kept: int) -> None:
    """Also where whole chunks are masked, or all of them."""
    mask = np.arange(60) < kept
    weight = np.linspace(1, 2, 60, dtype=np.float32)
    keywords: dict[str, Any] = {"reduction": reduction}
    got = portable_bce.bce_with_logits_value_and_grad(
        chunked(HOST), 1, weight=chunked(weight), where=chunked(mask), **keywords
    )
    wanted = portable_bce.bce_with_logits_value_and_grad(
        HOST, 1, weight=weight, where=mask, **keywords
    )
    loss, grad = dask.compute(*got)
    assert ulp.distance(loss, wanted[0]).max() <= contract.SUM or np.isnan(loss) == (kept == 0)
    assert ulp.distance(grad, wanted[1]).max() <= contract.SUM
    assert np.all(grad[~mask] == 0)


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
        np.testing.assert_array_equal(one, exact)


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


def test_a_chunk_takes_the_row_of_its_own_library() -> None:
    rows: list[str] = []

    def watched(xp: Any) -> Any:
        rows.append(xp.__name__)
        return _runners.runner_of(xp)

    inputs = gather("logits", chunked(HOST), 1.0)
    reduction = Reduction("mean", (0,))
    loss, grad = _chunks.evaluate(
        watched, with_logits, inputs, reduction, ("loss", "grad"), True, pairwise_total
    )
    assert not rows
    dask.compute(loss, grad)
    assert rows == ["array_api_compat.numpy"] * 10
