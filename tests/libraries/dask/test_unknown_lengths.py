"""Chunks whose lengths Dask does not know, and denominators that have to be counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.libraries.dask.chunks import HOST, chunked

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

pytestmark = pytest.mark.usefixtures("synchronous")


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
            assert ulp.distance(value, exact).max() <= contract.COUNTED


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
