"""NumPy's blocks give what whole arrays give, at no more memory than the results."""

from __future__ import annotations

import inspect
import math
import sys
import tracemalloc
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portable_bce
from portable_bce import _blocks, _cuts, _one_block, _plain, _runners
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from portable_bce.testing.strategies import arrays, logits, targets, weights

FUNCTIONS = {
    "bce_with_logits": ("bce_with_logits", "bce_with_logits_value_and_grad"),
    "bce": ("bce", "bce_value_and_grad"),
}
SHAPES = [(40,), (7, 9), (1, 33), (33, 1), (4, 3, 5), (2, 3, 2, 5)]


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[Any], dict[str, Any]]:
    """Draw a function, its arrays in any layout, and any of its keywords."""
    name = draw(st.sampled_from(list(FUNCTIONS)))
    dtype = draw(st.sampled_from(["float16", "float32", "float64"]))
    shape = draw(st.sampled_from(SHAPES))
    elements = logits(dtype) if name == "bce_with_logits" else st.floats(0, 1)
    x = laid_out(draw, draw(arrays(elements, shape, dtype)))
    y: Any = laid_out(
        draw, draw(arrays(targets(), shape, draw(st.sampled_from([dtype, "float64"]))))
    )
    kind = draw(st.sampled_from(["array", "bool", "int8", "number"]))
    y = 0.25 if kind == "number" else y if kind == "array" else np.round(y).astype(kind)
    keywords: dict[str, Any] = {"label_smoothing": draw(st.sampled_from([0.0, 0.1]))}
    for factor in draw(
        st.sampled_from([(), ("weight",), ("pos_weight",), ("weight", "pos_weight")])
    ):
        whole = draw(arrays(weights(), shape, dtype))
        keywords[factor] = draw(st.sampled_from([0.75, whole, whole[..., :1], whole[:1]]))
    if draw(st.booleans()):
        mask = np.asarray(
            draw(st.lists(st.booleans(), min_size=math.prod(shape), max_size=math.prod(shape)))
        )
        mask = mask.reshape(shape)
        keywords["where"] = laid_out(draw, draw(st.sampled_from([mask, mask[..., :1], mask[:1]])))
    keywords["reduction"] = draw(st.sampled_from(["none", "sum", "mean", "weighted_mean"]))
    if keywords["reduction"] != "none":
        axes = [None, 0, -1, tuple(range(len(shape)))]
        keywords["axis"] = draw(st.sampled_from(axes))
    if dtype != "float64":
        keywords["compute_dtype"] = draw(st.sampled_from([None, np.float64]))
    return name, [x, y], keywords


def laid_out(draw: st.DrawFn, values: Any) -> Any:
    """Return equal values in another memory layout."""
    how = draw(st.sampled_from(["C", "F", "reversed", "every second", "as it is"]))
    if how == "reversed":
        return values[::-1].copy()[::-1]
    if how == "every second":
        return np.repeat(values, 2, axis=-1)[..., ::2]
    return values if how == "as it is" else values.copy(order=how)


def values(name: str, given_arrays: list[Any], keywords: dict[str, Any]) -> list[Any]:
    """Return loss, loss and gradient, gradient and Hessian."""
    loss_of, both_of = (getattr(portable_bce, one) for one in FUNCTIONS[name])
    hess_of = getattr(portable_bce, f"{name}_grad_and_hess")
    both, curved = both_of(*given_arrays, **keywords), hess_of(*given_arrays, **keywords)
    return [loss_of(*given_arrays, **keywords), *both, *curved]


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(calls(), st.sampled_from([8, 24, 64, 512]))
def test_one_block_elements_and_blocks_of_any_size_give_what_plain_operations_give(
    call: tuple[str, list[Any], dict[str, Any]], size: int
) -> None:
    keywords = call[2]
    as_it_comes = values(*call)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_one_block, "takes", lambda *_: False)
        one_block = values(*call)
        patch.setattr(_blocks, "BLOCK_BYTES", size)
        blocks = values(*call)
        patch.setitem(
            _runners._ROWS, "numpy", replace(_runners._ROWS["numpy"], evaluate=_plain.evaluate)
        )
        plain = values(*call)
    summed = keywords["reduction"] in ("sum", "mean", "weighted_mean")
    # A denominator of float64 weights may round otherwise, and the quotients with it.
    weighted = "weight" in keywords and keywords["reduction"] == "weighted_mean"
    for index, wanted in enumerate(plain):
        for got in (as_it_comes[index], one_block[index], blocks[index]):
            assert type(got) is type(wanted)
            assert got.dtype == wanted.dtype
            assert got.shape == wanted.shape
            if summed and (index < 2 or weighted):
                assert ulp.distance(got, wanted).max(initial=0) <= contract.SUM
            else:
                np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("shape", [(100,), (10, 10), (3, 1, 40), (40, 1, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("size", [1, 7, 32, 1000])
def test_cuts_are_boxes_that_hold_each_element_once(
    shape: tuple[int, ...], order: Any, size: int
) -> None:
    seen = np.zeros(shape, dtype=int, order=order)
    for cut in _cuts.cuts(seen.shape, seen.strides, size):
        assert seen[cut].size <= size
        seen[cut] += 1
    assert np.all(seen == 1)


def test_results_lie_in_memory_as_the_logits_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 64)
    x = np.zeros((9, 9, 9)).transpose(2, 0, 1)
    for derivative in portable_bce.bce_with_logits_grad_and_hess(x, 1):
        assert derivative.strides == x.strides


def test_blocks_follow_the_memory() -> None:
    x = np.empty((64, 64), order="F")
    first, second = list(_cuts.cuts(x.shape, x.strides, 64))[:2]
    assert (first, second) == ((slice(0, 64), slice(0, 1)), (slice(0, 64), slice(1, 2)))


def test_what_fits_into_a_block_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blocks, "cuts", None)
    assert portable_bce.bce_with_logits(np.zeros(2**17, dtype=np.float32), 1) == np.float32(
        math.log(2)
    )


@pytest.mark.parametrize(
    ("reduction", "axis"),
    [
        ("none", None),
        *((name, axis) for name in ("mean", "weighted_mean") for axis in (None, 0, 1)),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_memory_is_that_of_the_results(reduction: str, axis: int | None, masked: bool) -> None:
    """DESIGN.md: the gradient plus at most 8 MiB, whatever the size."""
    shape = (2000, 2000)
    x = np.linspace(-9, 9, 4_000_000, dtype=np.float32).reshape(shape)
    y, weight = x > 0, np.linspace(1, 2, 2000, dtype=np.float32)
    keywords: dict[str, Any] = {"weight": weight, "pos_weight": 2.0, "label_smoothing": 0.1}
    if masked:
        keywords["where"] = x < 8
    tracemalloc.start()
    try:
        loss, grad = portable_bce.bce_with_logits_value_and_grad(
            x, y, reduction=reduction, axis=axis, **keywords
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= grad.nbytes + loss.nbytes + 2**23


def test_mean_of_a_hundred_million_float32_losses_is_that_of_the_losses() -> None:
    """Without storing them: a thousand different ones, broadcast."""
    few = np.linspace(-20, 20, 1000, dtype=np.float32)
    x = np.broadcast_to(few, (100_000, 1000))
    losses = portable_bce.bce_with_logits(few, 1, reduction="none")
    exact = sum(map(Fraction, losses.tolist())) / 1000
    mean = portable_bce.bce_with_logits(x, 1)
    assert ulp.error(mean, float(exact), "float32") <= contract.SUM


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_leaks_from_under_the_mask(
    name: str, dtype: str, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 64)
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
def test_masked_sum_is_that_of_what_is_kept(reduction: str) -> None:
    x = np.linspace(-3, 3, 100_000, dtype=np.float32)
    mask = np.arange(x.size) % 3 > 0
    got = portable_bce.bce_with_logits(x, 1, where=mask, reduction=reduction)
    wanted = portable_bce.bce_with_logits(x[mask], 1, reduction=reduction)
    assert ulp.distance(got, wanted) <= contract.SUM


def test_many_blocks_do_not_cost_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding a hundred thousand sums one after the other would lose 30 ULP here."""
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 16)
    x = np.full((100_000, 2), 0.1)
    losses = portable_bce.bce_with_logits(x[0], 1, reduction="none").tolist()
    for axis, exact in (
        (None, 100_000 * sum(map(Fraction, losses))),
        (0, 100_000 * Fraction(losses[0])),
    ):
        total = portable_bce.bce_with_logits(x, 1, reduction="sum", axis=axis)
        assert ulp.error(np.ravel(total)[0], float(exact), "float64") <= contract.SUM


def test_an_infinite_loss_in_one_block_is_an_infinite_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_blocks, "BLOCK_BYTES", 64)
    x = np.zeros(100)
    x[40] = np.inf
    assert portable_bce.bce_with_logits(x, 0.0) == np.inf
    x[70] = np.nan
    assert np.isnan(portable_bce.bce_with_logits(x, 0.0))


@pytest.mark.parametrize("size", range(1, 70))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_have_the_sum_of_the_logarithms(size: int, dtype: str) -> None:
    odds = np.exp(-np.linspace(0, 60, size, dtype=dtype))
    parts = list(_cuts.logarithms(np, odds, 0))
    assert sum(part.size for part in parts) <= size // 8 + 10
    wanted = math.fsum(math.log1p(one) for one in odds.tolist())
    got = math.fsum(one for part in parts for one in part.tolist())
    # Three products, each of three roundings, of numbers whose log1p is less sensitive; and
    # the logarithm's own.
    assert abs(got - wanted) <= 10 * np.finfo(dtype).eps * wanted


def test_sums_of_tiny_losses_are_not_lost() -> None:
    """log(prod(1 + e)) would be 0 here; log1p of the product without its 1 is not."""
    x = np.full(100_000, 40.0, dtype=np.float32)
    total = portable_bce.bce_with_logits(x, 1, reduction="sum")
    exact = 100_000 * math.log1p(math.exp(-40.0))
    assert ulp.error(total, exact, "float32") <= contract.SOFT.loss


def test_plain_and_blocks_are_one_formula() -> None:
    for module in (_plain, _blocks, _one_block, _cuts):
        assert "exp(" not in inspect.getsource(module)


@pytest.mark.parametrize(("size", "most"), [(1, 64), (2**20, 8 * 64)], ids=["few", "blocks"])
def test_a_call_takes_few_calls_of_python(size: int, most: int) -> None:
    """Their number is repeatable, where time is not: 57, and 53 a block, when this was written."""
    x, y = np.zeros(size, dtype=np.float32), np.ones(size, dtype=np.float32)
    portable_bce.bce_with_logits_value_and_grad(x, y)
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        portable_bce.bce_with_logits_value_and_grad(x, y)
    finally:
        sys.setprofile(before)
    assert calls <= most
