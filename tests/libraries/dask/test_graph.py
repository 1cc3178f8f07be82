"""Dask evaluates each chunk once, in few tasks that are let go, and named by their contents."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce._runners.dask import Tasks
from tests.libraries.dask.chunks import OPTIONS, chunked, made

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

pytestmark = pytest.mark.usefixtures("synchronous")


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
    of_chunk = Tasks.of_chunk

    def counted(self: Any, *blocks: Any) -> Any:
        seen[",".join(self.job.outputs)] += 1
        return of_chunk(self, *blocks)

    monkeypatch.setattr(Tasks, "of_chunk", counted)
    return seen


@pytest.mark.parametrize("option", OPTIONS)
def test_loss_and_gradient_evaluate_each_chunk_once(
    option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, keywords = made(option)
    seen = counting(monkeypatch)
    both = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
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
