"""Dask's chunks, where there are many, where they do not match, and where lengths are unknown."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.laws.test_lazy import refuse

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

pytestmark = pytest.mark.usefixtures("synchronous")

MANY = 10**4
KEYWORDS: dict[str, dict[str, Any]] = {
    "none": {"reduction": "none"},
    "sum": {"reduction": "sum"},
    "mean": {},
    "masked": {"where": True},
    "weighted": {"weight": True, "reduction": "weighted_mean"},
}


def keywords_of(option: str, x: Any) -> dict[str, Any]:
    arrays = {"where": x > 0, "weight": abs(x)}
    return {key: arrays.get(key, value) for key, value in KEYWORDS[option].items()}


@pytest.mark.parametrize("option", KEYWORDS)
def test_before_it_is_asked_nothing_is_built_but_the_tree(option: str) -> None:
    """Milliseconds for any number of chunks: Dask writes the other tasks down when it runs them."""
    from dask.highlevelgraph import MaterializedLayer

    x = da.zeros(MANY, chunks=1, dtype=np.float32)
    with dask.config.set(scheduler=refuse):
        both = portable_bce.bce_with_logits_value_and_grad(x, x > 1, **keywords_of(option, x))
    layers = {name: layer for one in both for name, layer in one.dask.layers.items()}
    built = sum(len(layer) for layer in layers.values() if isinstance(layer, MaterializedLayer))
    # Four sums are added at a time, and the four of the rest: n / 4 + n / 16 + ...
    assert built <= (0 if option == "none" else MANY / 3 + 10)


@pytest.mark.parametrize("option", KEYWORDS)
def test_a_task_is_as_small_among_many_chunks_as_among_few(option: str) -> None:
    """A plan of numbers and names goes to the workers; no chunk, and no list of chunks."""

    def largest(length: int) -> int:
        x = da.zeros(length, chunks=1, dtype=np.float32)
        both = portable_bce.bce_with_logits_value_and_grad(x, x > 1, **keywords_of(option, x))
        tasks = {key: task for one in both for key, task in dict(one.dask).items()}
        ours = [task for key, task in tasks.items() if key[0].startswith("bce-")]
        return max(len(pickle.dumps(task)) for task in ours)

    assert largest(500) <= largest(20) + 50  # longer numbers in the keys
    assert largest(500) <= 4096


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chunks", [10**5, 500, "unequal"])
def test_a_loss_of_many_chunks_is_that_of_memory(dtype: str, chunks: Any) -> None:
    """Terms of one sign over thirty powers of two, in two hundred chunks."""
    rng = np.random.default_rng(5)
    host = rng.uniform(-20, 20, 10**5).astype(dtype)
    ends = np.sort(rng.integers(0, host.size, 200))
    if chunks == "unequal":
        chunks = (tuple(np.diff([0, *ends, host.size]).tolist()),)
    x, weight = (da.from_array(one, chunks=chunks) for one in (host, abs(host)))
    for reduction in ("sum", "mean", "weighted_mean"):
        given = {
            "reduction": reduction,
            "compute_dtype": None if dtype == "float64" else np.float64,
        }
        got = portable_bce.bce_with_logits(x, x > 3, weight=weight / 64, **given).compute()
        exact = portable_bce.bce_with_logits(host, host > 3, weight=abs(host) / 64, **given)
        assert ulp.distance(got, exact).max() <= contract.SUM


@pytest.mark.parametrize("name", ["sigmoid", "log_sigmoid", "softplus"])
def test_the_sigmoid_family_keeps_the_chunks(name: str) -> None:
    function = getattr(portable_bce, name)
    host = np.linspace(-30, 30, 60, dtype=np.float32)
    x = da.from_array(host, chunks=((7, 0, 13, 40),))
    with dask.config.set(scheduler=refuse):
        whole, part = function(x), function(x[x > 0])
    assert whole.chunks == x.chunks
    np.testing.assert_array_equal(whole.compute(), function(host))
    np.testing.assert_array_equal(part.compute(), function(host[host > 0]))


@pytest.mark.parametrize("name", ["bce_with_logits", "bce"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
def test_every_function_does_without_chunk_sizes(name: str, reduction: str) -> None:
    host = np.linspace(0, 1, 60, dtype=np.float32)
    chunked = da.from_array(host, chunks=7)
    rows = np.arange(60) % 3 > 0
    some = chunked[da.from_array(rows, chunks=7)]

    def everything(x: Any) -> list[Any]:
        options = {"weight": x + 1, "pos_weight": 2 - x, "where": x > 0.2, "reduction": reduction}
        loss, pullback = getattr(portable_bce, f"{name}_vjp")(x, x > 0.5, **options)
        grad, hess = getattr(portable_bce, f"{name}_grad_and_hess")(x, x > 0.5, **options)
        return [loss, grad, hess, *pullback(2.0), *pullback(loss)]

    with dask.config.set(scheduler=refuse):
        lazy = everything(some)
    for got, exact in zip(dask.compute(*lazy), everything(host[rows]), strict=True):
        assert got.shape == exact.shape
        assert ulp.distance(got, exact).max() <= 2 * contract.SUM  # a quotient, times the loss


def test_operands_of_any_chunks_are_fitted_to_the_logits() -> None:
    """Targets, factors, mask and cotangent, each cut in its own way, one of them in one piece."""
    host = np.linspace(-4, 4, 60, dtype=np.float32).reshape(20, 3)
    keep = np.arange(60).reshape(20, 3) % 3 > 0

    def everything(x: Any, y: Any, weight: Any, where: Any, cotangent: Any) -> list[Any]:
        options = {"weight": weight, "where": where, "reduction": "none"}
        loss, pullback = portable_bce.bce_with_logits_vjp(x, y, **options)
        return [loss, *pullback(cotangent)]

    cut = ((5, 2), (7, 3), (20, 3), (3, 1), ((1, 18, 1), (2, 1)))
    whole = (host, host > 1, abs(host), keep, host / 2)
    arrays = [da.from_array(one, chunks=chunks) for one, chunks in zip(whole, cut, strict=True)]
    for got, exact in zip(everything(*arrays), everything(*whole), strict=True):
        assert got.chunks == arrays[0].chunks
        np.testing.assert_array_equal(got.compute(), exact)
