"""What comes in says what comes out: library, dtype, device; kinds of targets and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace

import portable_bce
from portable_bce import _libraries
from portable_bce._job import Runner
from tests.backends import Backend

lazy_xp_modules = [portable_bce]

VALUES = np.asarray([-2.0, -0.5, 0.0, 0.5, 3.0])
LABELS = np.asarray([0, 1, 1, 0, 1])


def everything(x: Any, y: Any, **keywords: Any) -> list[Any]:
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, **keywords)
    _, pullback = portable_bce.bce_with_logits_vjp(x, y, **keywords)
    q = portable_bce.sigmoid(x)
    of_q = portable_bce.bce_value_and_grad(q, y, **keywords)
    _, curve = portable_bce.bce_grad_and_hess(q, y, **keywords)
    family = [portable_bce.log_sigmoid(x), portable_bce.softplus(x)]
    return [loss, grad, hess, *pullback(), q, *of_q, curve, *family]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("kind", ["same", "int8", "int32", "uint8", "bool", "scalar"])
def test_results_have_library_dtype_and_device_of_the_logits(
    backend: Backend, dtype: str, kind: str
) -> None:
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    x = backend.array(VALUES, dtype)
    y: Any = 1
    if kind != "scalar":
        y = backend.array(LABELS.astype(kind if kind != "same" else np.float32))
        y = backend.xp.astype(y, x.dtype) if kind == "same" else y
    for result in everything(x, y):
        assert array_namespace(result) is array_namespace(x)
        assert result.dtype == x.dtype
        assert _libraries.device_of(result) == _libraries.device_of(x)


@pytest.mark.parametrize("kind", ["int8", "int32", "uint8", "bool"])
def test_integer_and_bool_targets_mean_their_floats(backend: Backend, kind: str) -> None:
    x = backend.array(VALUES.astype(np.float32))
    given = everything(x, backend.array(LABELS.astype(kind)))
    wanted = everything(x, backend.array(LABELS.astype(np.float32)))
    for one, other in zip(given, wanted, strict=True):
        np.testing.assert_array_equal(backend.numpy(one), backend.numpy(other))


@pytest.mark.parametrize("label", [0, 1, True, False, 0.25, np.float32(0.25), np.int8(1)])
def test_number_is_a_target_for_all(backend: Backend, label: Any) -> None:
    x = backend.array(VALUES.astype(np.float32))
    full = backend.array(np.full(5, float(label), dtype=np.float32))
    one = portable_bce.bce_with_logits_value_and_grad(x, label)
    other = portable_bce.bce_with_logits_value_and_grad(x, full)
    for got, wanted in zip(one, other, strict=True):
        np.testing.assert_array_equal(backend.numpy(got), backend.numpy(wanted))


@pytest.mark.parametrize("name", ["weight", "pos_weight"])
def test_number_is_a_weight_for_all(backend: Backend, name: str) -> None:
    x = backend.array(VALUES.astype(np.float32))
    y = backend.array(LABELS.astype(np.float32))
    for value in (2, 0.5, np.float64(4.0)):
        full = backend.array(np.full(5, float(value), dtype=np.float32))
        one = portable_bce.bce_with_logits(x, y, reduction="none", **{name: value})
        other = portable_bce.bce_with_logits(x, y, reduction="none", **{name: full})
        np.testing.assert_array_equal(backend.numpy(one), backend.numpy(other))


def test_wider_targets_and_weights_do_not_widen_the_result(backend: Backend) -> None:
    if not backend.wide:
        pytest.skip(f"{backend.name} has no float64")
    x = backend.array(VALUES.astype(np.float32))
    y = backend.array(LABELS.astype(np.float64))
    keywords = {"weight": y + 1.0, "pos_weight": y + 0.5}
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
    assert loss.dtype == grad.dtype == x.dtype
    _, pullback = portable_bce.bce_with_logits_vjp(x, y, **keywords)
    by_logits, by_targets = pullback(1.0)
    assert by_logits.dtype == x.dtype
    assert by_targets.dtype == y.dtype


def test_compute_dtype_does_not_change_the_result_dtype(backend: Backend) -> None:
    x = backend.array(VALUES.astype(np.float32))
    wide = backend.dtype("float64" if backend.wide else "float32")
    for result in everything(x, 1, compute_dtype=wide):
        assert result.dtype == x.dtype


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 2)])
def test_derivatives_have_the_shape_of_the_logits(backend: Backend, shape: tuple[int, ...]) -> None:
    x = backend.array(np.zeros(shape, dtype=np.float32))
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, x, reduction="none")
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, x)
    assert tuple(loss.shape) == tuple(grad.shape) == tuple(hess.shape) == shape


@pytest.mark.parametrize("view", ["step", "reverse", "transpose", "broadcast"])
def test_strides_do_not_matter(backend: Backend, view: str) -> None:
    library = backend.name.partition("-")[0]
    if library not in ("numpy", "torch", "cupy") or (view, library) == ("reverse", "torch"):
        pytest.skip(f"{backend.name} has no such view")
    base = backend.array(np.linspace(-5, 5, 24, dtype=np.float32).reshape(4, 6))
    views = {
        "step": lambda: base[::2, 1::3],
        "reverse": lambda: base[::-1, ::-1],
        "transpose": lambda: base.T,
        "broadcast": lambda: backend.xp.broadcast_to(base[:1], (4, 6)),
    }
    strided = views[view]()
    compact = backend.array(backend.numpy(strided).copy(order="C"))
    one = portable_bce.bce_with_logits_value_and_grad(strided, 1)
    other = portable_bce.bce_with_logits_value_and_grad(compact, 1)
    for got, wanted in zip(one, other, strict=True):
        np.testing.assert_array_max_ulp(backend.numpy(got), backend.numpy(wanted), maxulp=4)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "keywords", [{}, {"where": True}, {"where": True, "axis": 0}, {"reduction": "none"}], ids=str
)
def test_byte_order_does_not_matter(dtype: str, keywords: dict[str, Any]) -> None:
    """Files of other machines, FITS and netCDF come into NumPy in their own."""
    x = np.stack([VALUES, -VALUES]).astype(dtype)
    keywords = {**keywords, "where": x < 3} if "where" in keywords else keywords
    turned = x.astype(x.dtype.newbyteorder("S"))
    wide = np.dtype("float64").newbyteorder("S")
    for compute in ({}, {"compute_dtype": wide}):
        results = everything(turned, (turned > 0).astype(turned.dtype), **keywords, **compute)
        wanted = everything(x, (x > 0).astype(x.dtype), **keywords, **compute)
        for got, one in zip(results, wanted, strict=True):
            np.testing.assert_array_equal(got, one)
            assert got.dtype.newbyteorder("=") == x.dtype


@pytest.mark.parametrize("keywords", [{}, {"axis": 0}, {"reduction": "none"}], ids=str)
def test_results_from_a_file_are_arrays_in_memory(
    tmp_path: Path, numpy_row: Runner, keywords: dict[str, Any]
) -> None:
    """A memmap without a file behind it cannot be flushed, and says that it can."""
    x = np.memmap(tmp_path / "logits", dtype=np.float32, mode="w+", shape=(4, 5))
    for result in everything(x, x, weight=x, where=x == x, **keywords):
        assert type(result) in (np.ndarray, np.float32)


def test_numpy_is_silent_where_the_result_is_documented() -> None:
    """log(0), 0 / 0 and the mean of nothing warn in NumPy, and warnings are errors here."""
    q = np.asarray([0.0, 1.0, np.nan])
    portable_bce.bce_value_and_grad(q, 1.0)
    portable_bce.bce_with_logits_vjp(np.asarray([np.inf, -np.inf]), 1.0)[1](0.0)
    portable_bce.bce_with_logits_value_and_grad(np.zeros(0), 1.0)
    portable_bce.softplus(np.asarray([6e4, 1e4], dtype=np.float16))


def test_inputs_are_left_as_they_were(backend: Backend) -> None:
    host = VALUES.astype(np.float32)
    x, y = backend.array(host), backend.array(LABELS.astype(np.float32))
    where = backend.array(host > 0)
    everything(x, y, weight=y, pos_weight=y, where=where)
    np.testing.assert_array_equal(backend.numpy(x), host)
    np.testing.assert_array_equal(backend.numpy(y), LABELS)
