"""No value is looked at and nothing is computed, moved or copied to another device."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce import _reduction

lazy_xp_modules: list[object] = []

HOST = np.asarray([[0.25, 0.5, 0.75], [0.1, 0.9, 0.3]], dtype=np.float32)
KEEP = np.asarray([[True, True, False], [True, False, True]])


def everything(x: Any, keep: Any, reduction: str, axis: Any = None) -> list[Any]:
    """Call every function with every keyword."""
    keywords = {
        "weight": x,
        "pos_weight": x,
        "label_smoothing": 0.1,
        "where": keep,
        "reduction": reduction,
        "axis": axis,
    }
    results = [portable_bce.sigmoid(x), portable_bce.log_sigmoid(x), portable_bce.softplus(x)]
    for name, more in (("bce_with_logits", {}), ("bce", {"eps": 0.05})):
        functions = (
            getattr(portable_bce, f"{name}{suffix}")
            for suffix in ("", "_value_and_grad", "_grad_and_hess", "_vjp")
        )
        value, value_and_grad, grad_and_hess, vjp = functions
        loss, pullback = vjp(x, x, **keywords, **more)
        results += [value(x, x, **keywords, **more), loss, *pullback(loss), *pullback(2.0)]
        results += value_and_grad(x, x, **keywords, **more)
        results += grad_and_hess(x, x, **keywords, **more)
    return results


REDUCTIONS = [("none", None), ("sum", None), ("mean", 0), ("weighted_mean", (0, 1))]


@pytest.mark.parametrize(("reduction", "axis"), REDUCTIONS)
def test_jax_compiles_everything_at_once(reduction: str, axis: Any) -> None:
    jax = pytest.importorskip("jax")
    x, keep = jax.numpy.asarray(HOST), jax.numpy.asarray(KEEP)
    compiled = jax.jit(lambda x, keep: everything(x, keep, reduction, axis))(x, keep)
    for one, other in zip(compiled, everything(x, keep, reduction, axis), strict=True):
        got, wanted = np.asarray(one), np.asarray(other)
        # Of the largest, because gradients cancel; twice, for a product with the cotangent.
        unit = np.finfo(np.float32).eps * np.abs(wanted).max(initial=0)
        assert np.all(np.abs(got - wanted) <= 2 * contract.CONTRACTED * unit)


@pytest.mark.parametrize(("reduction", "axis"), REDUCTIONS)
def test_jax_calls_nothing_back_on_the_host(reduction: str, axis: Any) -> None:
    jax = pytest.importorskip("jax")
    x, keep = jax.numpy.asarray(HOST), jax.numpy.asarray(KEEP)
    traced = str(jax.make_jaxpr(lambda x, keep: everything(x, keep, reduction, axis))(x, keep))
    assert "callback" not in traced
    assert "device_put" not in traced


@pytest.mark.parametrize(("reduction", "axis"), REDUCTIONS)
def test_torch_needs_shapes_alone(reduction: str, axis: Any) -> None:
    """Tensors on the meta device have no values to look at."""
    torch = pytest.importorskip("torch")
    x = torch.asarray(HOST).to("meta")
    results = everything(x, torch.asarray(KEEP).to("meta"), reduction, axis)
    assert {result.device.type for result in results} == {"meta"}


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("computed")


@pytest.mark.parametrize(("reduction", "axis"), REDUCTIONS)
@pytest.mark.parametrize("chunks", [(2, 3), (1, 2), ((1, 1), (1, 1, 1))])
def test_dask_computes_nothing_before_it_is_asked(reduction: str, axis: Any, chunks: Any) -> None:
    dask = pytest.importorskip("dask")
    array = pytest.importorskip("dask.array")
    x, keep = array.from_array(HOST, chunks=chunks), array.from_array(KEEP, chunks=chunks)
    with dask.config.set(scheduler=refuse):
        results = everything(x, keep, reduction, axis)
    wanted = everything(HOST, KEEP, reduction, axis)
    with np.errstate(all="ignore"):
        for got, exact in zip(results, wanted, strict=True):
            np.testing.assert_array_max_ulp(got.compute(), np.asarray(exact), maxulp=8)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
def test_dask_needs_no_chunk_sizes(reduction: str) -> None:
    """After boolean indexing nobody knows how many elements there are."""
    dask = pytest.importorskip("dask")
    array = pytest.importorskip("dask.array")
    host = np.linspace(-3, 3, 30, dtype=np.float32)
    x = array.from_array(host, chunks=7)
    some = x[x > 0]
    with dask.config.set(scheduler=refuse):
        loss, grad = portable_bce.bce_with_logits_value_and_grad(
            some, some > 1, weight=some, reduction=reduction
        )
    part = host[host > 0]
    wanted = portable_bce.bce_with_logits_value_and_grad(
        part, part > 1, weight=part, reduction=reduction
    )
    for got, exact in zip((loss, grad), wanted, strict=True):
        np.testing.assert_array_max_ulp(got.compute(), np.asarray(exact), maxulp=4)


def test_dask_sums_in_chunks_of_their_own() -> None:
    """float64 along the first axis, where NumPy alone would add one by one."""
    array = pytest.importorskip("dask.array")
    host = np.random.default_rng(2).uniform(-2, 3, (100_000, 2))
    x = array.from_array(host, chunks=(50_000, 2))
    got = portable_bce.bce_with_logits(x, 1, reduction="sum", axis=0).compute()
    wanted = portable_bce.bce_with_logits(host, 1, reduction="sum", axis=0)
    np.testing.assert_array_max_ulp(got, wanted, maxulp=2)


def test_dask_adds_one_task_a_chunk_and_a_tree_to_sum() -> None:
    """Slicing in pairs across chunks would be right too, in many times the tasks."""
    array = pytest.importorskip("dask.array")
    x = array.zeros(6400, chunks=100)
    each = portable_bce.bce_with_logits(x, 1, reduction="none")
    total = portable_bce.bce_with_logits(x, 1, reduction="sum")
    assert len(total.__dask_graph__()) - len(each.__dask_graph__()) <= 2 * 64


def test_axis_of_unknown_length_is_summed_by_the_library() -> None:
    """The standard calls such a length None; no library under test has one, Dask says NaN."""
    lengthless = SimpleNamespace(shape=(3, None), dtype="float64")
    xp = SimpleNamespace(sum=lambda x, **keywords: (x, keywords))
    summed, keywords = _reduction._halve(xp, lengthless, 1)
    assert summed is lengthless
    assert keywords == {"axis": 1, "keepdims": True, "dtype": "float64"}


@pytest.mark.parametrize("device", ["device1", "no_float64"])
def test_nothing_leaves_the_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    xp = pytest.importorskip("array_api_strict")
    monkeypatch.setattr(type(xp.asarray(0)), "to_device", refuse)
    x = xp.asarray(HOST, device=xp.Device(device))
    results = everything(x, xp.asarray(KEEP, device=xp.Device(device)), "mean")
    assert {result.device for result in results} == {xp.Device(device)}


def test_check_inputs_is_the_one_that_computes() -> None:
    dask = pytest.importorskip("dask")
    array = pytest.importorskip("dask.array")
    x = array.from_array(HOST, chunks=2)
    check: Callable[..., None] = portable_bce.check_inputs
    with dask.config.set(scheduler=refuse), pytest.raises(AssertionError, match=r"^computed$"):
        check(x, x)
    check(x, x)
